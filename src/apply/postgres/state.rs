//! What the destination knows about a pipeline, for `status` and `offset reset`.

use tokio_postgres::{Client, Row};

use super::super::sql;
use super::error::{NAME, setup};
use super::session;
use crate::consume::{Positions, Resumed, TargetError};
use crate::table::{TableName, quote_literal};
use crate::wire::Step;

/// What a destination has applied of a pipeline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Next Kafka offset by topic and partition; empty when nothing was applied yet.
    pub positions: Positions,
    /// By partition: what the cuts topic says before this offset is applied.
    pub covered: Positions,
    /// The last part of a pass that was applied.
    pub cut: Option<LastCut>,
}

/// The last part of a pass that a destination has applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastCut {
    /// Epoch of the publisher.
    pub epoch: i64,
    /// Number of the pass.
    pub pass: i64,
    /// Number of the part inside the pass.
    pub part: i64,
    /// True when the pass is complete: the destination shows a state that the source showed.
    pub done: bool,
    /// Log rows in this part.
    pub rows: i64,
    /// Settled `cdc_id` behind this part.
    pub cdc_offset: i64,
    /// The source's clock when the pass was taken, microseconds since 1970.
    pub source_micros: i64,
    /// The destination's clock when the part was applied, microseconds since 1970.
    pub applied_micros: i64,
}

/// Reads where a pipeline goes on.
pub(super) async fn resumed(client: &Client, pipeline: &str) -> Result<Resumed, TargetError> {
    Ok(standing(client, pipeline).await?.0)
}

/// Reads the same, and the last cut as it is stored.
async fn standing(client: &Client, pipeline: &str) -> Result<(Resumed, Option<LastCut>), TargetError> {
    let rows = client
        .query(include_str!("../../../sql/apply/positions.sql"), &[&pipeline])
        .await
        .map_err(|error| setup("cannot read tripline.positions", error))?;
    let cut = cut(client, pipeline).await?;
    let at = |row: &Row, column: usize| ((row.get(0), row.get(1)), row.get(column));
    let resumed = Resumed {
        positions: rows.iter().map(|row| at(row, 2)).collect(),
        covered: rows.iter().map(|row| at(row, 3)).collect(),
        epochs: rows.iter().map(|row| at(row, 4)).collect(),
        last: cut.as_ref().map(|cut| Step {
            pass: u64::try_from(cut.pass).unwrap_or(0),
            part: u32::try_from(cut.part).unwrap_or(0),
            done: cut.done,
        }),
    };
    Ok((resumed, cut))
}

/// Reads what the destination has applied of a pipeline. Takes no lock and changes nothing.
pub async fn progress(url: &str, pipeline: &str) -> Result<Applied, TargetError> {
    let client = session::open(url, "status").await?;
    if !session::is_installed(&client).await? {
        return Ok(Applied::default());
    }
    let (Resumed { positions, covered, .. }, cut) = standing(&client, pipeline).await?;
    Ok(Applied { positions, covered, cut })
}

async fn cut(client: &Client, pipeline: &str) -> Result<Option<LastCut>, TargetError> {
    let cut = client
        .query_opt(include_str!("../../../sql/apply/cut.sql"), &[&pipeline])
        .await
        .map_err(|error| setup("cannot read tripline.cuts", error))?;
    Ok(cut.map(|row| LastCut {
        epoch: row.get(0),
        pass: row.get(1),
        part: row.get(2),
        done: row.get(3),
        rows: row.get(4),
        cdc_offset: row.get(5),
        source_micros: row.get(6),
        applied_micros: row.get(7),
    }))
}

/// Forgets what the destination has applied of a pipeline and empties `tables` there, in one transaction.
///
/// Refuses while an applier of the pipeline is at work.
pub async fn reset(url: &str, pipeline: &str, tables: &[TableName]) -> Result<(), TargetError> {
    let mut client = session::open(url, "reset").await?;
    let installed = session::is_installed(&client).await?;
    let failed = |error| setup("cannot reset the destination", error);
    let transaction = client.transaction().await.map_err(failed)?;
    let lock = format!("select pg_try_advisory_xact_lock({})", sql::lock_key(pipeline));
    if !transaction.query_one(&lock, &[]).await.map_err(failed)?.get::<_, bool>(0) {
        let why = format!("an applier of pipeline {pipeline} is at work here; stop it first");
        return Err(TargetError::Setup { target: NAME, why, source: None });
    }
    if installed {
        let pipeline = quote_literal(pipeline);
        let forget = format!(
            "delete from tripline.positions where pipeline = {pipeline}; \
             delete from tripline.cuts where pipeline = {pipeline}; \
             delete from tripline.sweeps where pipeline = {pipeline}"
        );
        transaction.batch_execute(&forget).await.map_err(failed)?;
    }
    if !tables.is_empty() {
        let names: Vec<String> = tables.iter().map(TableName::quoted).collect();
        transaction.batch_execute(&format!("truncate {}", names.join(", "))).await.map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)
}
