//! Requests for existing rows: what `init` and `tripline snapshot` ask for, and how far it is.
//!
//! The publisher works them off (`tail::load`). A request is numbered by the sequence of the `cdc_id`s, so everything
//! that was published before it has a lower id.

use serde::Deserialize;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::error::CaptureError;
use super::query;
use super::registry::Captured;
use super::render::{render, rows_of};
use crate::table::{TableName, quote_ident, quote_literal};

/// Why the publisher does nothing about a request.
pub const NOT_CAPTURED: &str = "not captured, or without a key";

/// A request as it stands.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Requested {
    /// Its number.
    pub run: u64,
    /// Object id of the table.
    pub relation: u32,
    /// Rows that are gone at the source are removed at the targets.
    pub sweeps: bool,
    /// Only rows that meet a condition.
    pub partial: bool,
    /// `"schema"."table"`.
    pub table: String,
    /// Rows that were read.
    pub rows: u64,
    /// Rows to expect, as the server's statistics say; unknown before the first ANALYZE.
    pub expected: Option<u64>,
    /// The publisher has begun and is not through.
    pub running: bool,
    /// It is through, or was given up.
    pub ended: bool,
    /// Why nothing was done.
    pub note: Option<String>,
    /// How long it runs, or ran.
    pub seconds: Option<f64>,
}

impl Requested {
    /// Returns how many seconds it takes yet at the pace so far.
    pub fn seconds_left(&self) -> Option<f64> {
        let (seconds, expected) = (self.seconds?, self.expected?);
        let left = expected.saturating_sub(self.rows) as f64;
        (self.running && self.rows > 0).then(|| seconds / self.rows as f64 * left)
    }
}

/// What is asked for of one table.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Rows that are gone at the source are removed at the targets.
    pub sweeps: bool,
    /// Only these rows, an SQL condition over the columns of `t`.
    pub condition: Option<&'a str>,
}

/// Reads a pipeline's requests, oldest first; none where `init` of an older release installed capture.
pub async fn requested(
    client: &Client,
    schema: &str,
    pipeline: &str,
) -> Result<Vec<Requested>, CaptureError> {
    let sql = render(
        include_str!("../../sql/capture/requested.sql"),
        &[("schema", &quote_ident(schema)), ("pipeline", &quote_literal(pipeline))],
    );
    match query::json(client, "the snapshot requests", &sql).await {
        Err(CaptureError::Query { source, .. }) if source.code() == Some(&SqlState::UNDEFINED_TABLE) => {
            Ok(Vec::new())
        }
        requests => requests,
    }
}

/// Requests the rows of a table. Returns the number of the request.
///
/// A condition is tried out first, so that one that cannot be read never reaches the publisher.
pub async fn request(
    client: &mut Client,
    schema: &str,
    pipeline: &str,
    captured: &Captured,
    what: Request<'_>,
) -> Result<u64, CaptureError> {
    let name = &captured.table.name;
    let failed =
        |source| CaptureError::Query { what: format!("request the existing rows of {name}"), source };
    let transaction = query::begin(client).await?;
    if let Some(condition) = what.condition {
        let sql = format!("explain select from {} t where (\n{condition}\n)", rows_of(captured));
        transaction.query(&sql, &[]).await.map_err(failed)?;
    }
    let sql = render(include_str!("../../sql/capture/request.sql"), &[("schema", &quote_ident(schema))]);
    let (quoted, Request { sweeps, condition }) = (name.quoted(), what);
    let row = transaction
        .query_one(&sql, &[&pipeline, &captured.oid, &quoted, &sweeps, &condition])
        .await
        .map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    Ok(u64::try_from(row.get::<_, i64>(0)).unwrap_or(0))
}

/// Requests the rows of every table that the pipeline has not met before, in the order of `tables`. Returns their names.
/// `installed`: tables that are captured since a moment ago; of others, rows that are gone are removed at the targets.
pub async fn request_initial(
    client: &mut Client,
    schema: &str,
    pipeline: &str,
    tables: &[&Captured],
    installed: impl Fn(&TableName) -> bool,
) -> Result<Vec<TableName>, CaptureError> {
    let known = requested(client, schema, pipeline).await?;
    let is_new = |captured: &&Captured| {
        let counts = |request: &&Requested| request.note.as_deref() != Some(NOT_CAPTURED);
        let known = known.iter().filter(counts).any(|request| request.relation == captured.oid);
        !captured.table.is_append_only() && !known
    };
    let mut names = Vec::new();
    for captured in tables.iter().copied().filter(is_new) {
        let what = Request { sweeps: !installed(&captured.table.name), condition: None };
        request(client, schema, pipeline, captured, what).await?;
        names.push(captured.table.name.clone());
    }
    Ok(names)
}

/// Gives up the requests for a table that are not through. Returns their numbers.
pub async fn give_up(
    client: &Client,
    schema: &str,
    pipeline: &str,
    captured: &Captured,
) -> Result<Vec<i64>, CaptureError> {
    let sql = render(include_str!("../../sql/capture/give_up.sql"), &[("schema", &quote_ident(schema))]);
    let rows = client.query(&sql, &[&pipeline, &captured.oid]).await;
    let failed = |source| CaptureError::Query { what: "give up a snapshot request".into(), source };
    Ok(rows.map_err(failed)?.iter().map(|row| row.get(0)).collect())
}

/// Forgets which passes of a pipeline carried rows: the numbers begin anew.
pub async fn forget_passes(client: &Client, schema: &str, pipeline: &str) -> Result<(), CaptureError> {
    let sql = format!("update {}.snapshots set pass = 0 where pipeline = $1", quote_ident(schema));
    let done = client.execute(&sql, &[&pipeline]).await;
    done.map(drop).map_err(|source| CaptureError::Query { what: "forget former snapshots".into(), source })
}

/// Reads which tables reference which: (referencing, referenced) object ids.
pub async fn references(client: &Client) -> Result<Vec<(u32, u32)>, CaptureError> {
    query::json(client, "the foreign keys", include_str!("../../sql/capture/parents.sql")).await
}
