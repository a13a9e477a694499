//! `tripline uninstall`: removes capture from the source, and proves it.

use serde::{Deserialize, Serialize};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, GenericClient};

use crate::table::{quote_ident, quote_literal};

use super::error::CaptureError;
use super::query;
use super::render::render;

/// What was removed.
#[derive(Debug, Clone, Serialize)]
pub struct Uninstalled {
    /// Every object, in the order in which they went.
    pub removed: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Step {
    what: String,
    sql: String,
}

async fn steps(client: &impl GenericClient, schema: &str) -> Result<Vec<Step>, CaptureError> {
    let sql = render(
        include_str!("../../sql/capture/uninstall_list.sql"),
        &[("schema_literal", &quote_literal(schema))],
    );
    query::json(client, "what is installed", &sql).await
}

/// Drops triggers, functions, log tables, registry, sequence and schema, each in its own short transaction, triggers
/// first: whatever fails half-way, the application's writes work. Nothing is dropped with CASCADE.
///
/// Then asks the catalog again: `Ok` promises that nothing is left.
pub async fn uninstall(client: &mut Client, schema: &str) -> Result<Uninstalled, CaptureError> {
    let transaction = query::begin(client).await?;
    let steps_before = steps(&transaction, schema).await?;
    drop(transaction);
    let mut removed = Vec::new();
    for step in steps_before {
        let failed = |source| CaptureError::Query { what: format!("drop the {}", step.what), source };
        let transaction = query::begin(client).await?;
        transaction.batch_execute(&step.sql).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        removed.push(step.what);
    }
    let transaction = query::begin(client).await?;
    let left: Vec<String> = steps(&transaction, schema).await?.into_iter().map(|step| step.what).collect();
    if left.is_empty() { Ok(Uninstalled { removed }) } else { Err(CaptureError::LeftOver { left }) }
}

/// Returns everything that is installed, in words, in the order in which it would go.
pub async fn installed(client: &mut Client, schema: &str) -> Result<Vec<String>, CaptureError> {
    let transaction = query::begin(client).await?;
    Ok(steps(&transaction, schema).await?.into_iter().map(|step| step.what).collect())
}

/// Returns the other pipelines that read the log tables; none where capture is not installed.
pub async fn others(client: &Client, schema: &str, pipeline: &str) -> Result<Vec<String>, CaptureError> {
    match query::json(
        client,
        "the pipelines",
        &of(include_str!("../../sql/capture/others.sql"), schema, pipeline),
    )
    .await
    {
        Err(CaptureError::Query { source, .. }) if source.code() == Some(&SqlState::UNDEFINED_TABLE) => {
            Ok(Vec::new())
        }
        others => others,
    }
}

/// Forgets a pipeline and leaves the log tables to others.
pub async fn leave(client: &Client, schema: &str, pipeline: &str) -> Result<(), CaptureError> {
    let sql = of(include_str!("../../sql/capture/leave.sql"), schema, pipeline);
    let failed = |source| CaptureError::Query { what: format!("forget pipeline {pipeline}"), source };
    client.batch_execute(&sql).await.map_err(failed)
}

/// Tells whether the source still knows a pipeline.
pub async fn knows(client: &Client, schema: &str, pipeline: &str) -> Result<bool, CaptureError> {
    // Of every other name this one is another.
    let everybody = others(client, schema, "").await?;
    Ok(everybody.iter().any(|known| known == pipeline))
}

fn of(sql: &str, schema: &str, pipeline: &str) -> String {
    render(sql, &[("schema", &quote_ident(schema)), ("pipeline", &quote_literal(pipeline))])
}
