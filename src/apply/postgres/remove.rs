//! Taking a pipeline away from the destination, for `uninstall --all`.

use tokio_postgres::{Client, GenericClient};

use super::super::sql;
use super::error::{NAME, setup};
use super::session;
use crate::consume::TargetError;
use crate::table::quote_literal;

/// Longest wait for a lock that an applier of another pipeline holds.
const LOCK_TIMEOUT: &str = "set local lock_timeout = '5s'";

/// Returns what the destination keeps of a pipeline beside its tables, in words. The schema is among it when no other
/// pipeline uses it.
pub async fn kept(url: &str, pipeline: &str) -> Result<Vec<String>, TargetError> {
    let client = session::open(url, "uninstall").await?;
    if !has_schema(&client).await? {
        return Ok(Vec::new());
    }
    let known = match session::is_installed(&client).await? {
        true => pipelines(&client).await?,
        false => Vec::new(),
    };
    let mut kept = Vec::new();
    if known.iter().any(|known| known == pipeline) {
        kept.push(format!("positions of pipeline {pipeline} at the destination"));
    }
    if known.iter().all(|known| known == pipeline) {
        kept.push("schema tripline at the destination".to_owned());
    }
    Ok(kept)
}

/// Takes that away in one transaction. Refuses while an applier of the pipeline is at work.
pub async fn remove(url: &str, pipeline: &str) -> Result<(), TargetError> {
    let mut client = session::open(url, "uninstall").await?;
    let failed = |error| setup("cannot remove what is kept in schema tripline", error);
    if !has_schema(&client).await? {
        return Ok(());
    }
    let transaction = client.transaction().await.map_err(failed)?;
    let lock = format!("select pg_try_advisory_xact_lock({})", sql::lock_key(pipeline));
    if !transaction.query_one(&lock, &[]).await.map_err(failed)?.get::<_, bool>(0) {
        let why = format!("an applier of pipeline {pipeline} is at work here; stop it first");
        return Err(TargetError::Setup { target: NAME, why, source: None });
    }
    transaction.batch_execute(LOCK_TIMEOUT).await.map_err(failed)?;
    if !session::is_installed(&transaction).await? {
        // Of an older release, or half of it: made whole first, so that one way takes all of it away.
        transaction.batch_execute(session::SCHEMA).await.map_err(failed)?;
    }
    for table in ["positions", "cuts", "sweeps", "tables"] {
        let forget = format!("delete from tripline.{table} where pipeline = {}", quote_literal(pipeline));
        transaction.batch_execute(&forget).await.map_err(failed)?;
    }
    if pipelines(&transaction).await?.is_empty() {
        transaction.batch_execute(include_str!("../../../sql/apply/remove.sql")).await.map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)
}

async fn has_schema(client: &Client) -> Result<bool, TargetError> {
    let asked = client.query_one("select to_regnamespace('tripline') is not null", &[]).await;
    Ok(asked.map_err(|error| setup("cannot look around", error))?.get(0))
}

async fn pipelines(client: &impl GenericClient) -> Result<Vec<String>, TargetError> {
    let rows = client
        .query(include_str!("../../../sql/apply/pipelines.sql"), &[])
        .await
        .map_err(|error| setup("cannot read schema tripline", error))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
