//! Moves a position back, for a person who has decided that rows are to be published again.

use super::TailError;
use super::postgres::Session;
use crate::capture;
use crate::config::Config;
use crate::position::{Identity, Position, Snapshot, Xid};
use crate::table::{TableName, quote_literal};

/// Up to where a position is moved back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Back {
    /// Rows above this `cdc_id` are published again.
    Id(u64),
    /// Rows logged at or after this moment, as PostgreSQL reads a `timestamptz`.
    Time(String),
}

/// A position that was moved back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewound {
    /// Where the pipeline goes on.
    pub position: Position,
    /// The source, which is accepted as it is now.
    pub source: Identity,
    /// Committed log rows above the new offset.
    pub rows: u64,
}

/// Finds the position from which everything behind `back`, and everything that `published` does not cover, is
/// published. Reads the log tables at `url` and changes nothing.
///
/// Above the new offset, the new snapshot B shows nothing: its xmin is the oldest transaction that owns a row there or
/// is still open. What lies below the offset is settled, because the offset never rises here; at a source that is not
/// `known` (another timeline or cluster), because no transaction is open at all, and up to what its sequence says.
pub async fn rewind(
    config: &Config,
    url: &str,
    back: &Back,
    published: &Position,
    known: &Identity,
) -> Result<Rewound, TailError> {
    const WHAT: &str = "looking for the position";
    let session = Session::open(url, &config.capture.schema, config.tail.lock_timeout_ms).await?;
    let source = session.identity().await?;
    source.check(source.in_recovery, source.timeline)?;
    let captured = capture::load(session.client(), &config.capture.schema).await?;
    let selects = captured
        .iter()
        .map(|captured| format!("select cdc_id, cdc_txid, cdc_at from {}", captured.log_table.quoted()));
    let logs = selects.collect::<Vec<_>>().join(" union all ");
    let wanted = match back {
        Back::Id(id) => *id,
        Back::Time(time) => {
            let sql = include_str!("../../sql/tail/before.sql");
            let sql = sql.replace("{{logs}}", &logs).replace("{{time}}", &quote_literal(time));
            let row = session.row(WHAT, &sql).await?;
            row.get(0).and_then(|id| id.parse().ok()).unwrap_or(published.offset)
        }
    };
    if let Some(removed) = capture::removed(session.client(), &config.capture.schema).await? {
        let (gone, wanted) = match back {
            Back::Id(id) => (*id < removed.to, format!("cdc_id {id}")),
            Back::Time(time) => {
                let schema = &config.capture.schema;
                (capture::removed_since(session.client(), schema, time).await?, time.clone())
            }
        };
        if gone {
            return Err(TailError::removed(&removed, wanted));
        }
    }
    let mut offset = wanted.min(published.offset);
    if (known.system, known.timeline) != (source.system, source.timeline) {
        let sequence = TableName::new(&config.capture.schema, "cdc_id_seq");
        let sql = include_str!("../../sql/tail/open.sql");
        let sql = sql.replace("{{sequence}}", &quote_literal(&sequence.quoted()));
        let row = session.row(WHAT, &sql).await?;
        if row.get(0) != Some("f") {
            return Err(TailError::OpenTransactions);
        }
        offset = offset.min(row.get(1).and_then(|id| id.parse().ok()).unwrap_or(0));
    }
    let sql = include_str!("../../sql/tail/rewind.sql");
    let sql = sql.replace("{{logs}}", &logs).replace("{{offset}}", &offset.to_string());
    let row = session.row(WHAT, &sql).await?;
    let number = |column: usize| row.get(column).and_then(|text| text.parse::<u64>().ok());
    let oldest: Xid = number(0).ok_or(TailError::Answer(WHAT))?.min(published.base.xmin);
    let base = Snapshot { xmin: oldest, xmax: oldest, running: Vec::new() };
    let position = Position { pass: published.pass, base, offset, inside: None, load: None };
    Ok(Rewound { position, source, rows: number(1).ok_or(TailError::Answer(WHAT))? })
}
