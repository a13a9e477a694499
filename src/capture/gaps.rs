//! Gaps: tables of which nothing is logged any more, because their log was full (`[[table]] on_full = "stop"`).

use serde::Deserialize;
use tokio_postgres::GenericClient;
use tokio_postgres::error::SqlState;

use super::error::CaptureError;
use super::query;
use super::render::{Stop, render};
use crate::table::{TableName, quote_ident};

/// The last gap of a table.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Gap {
    pub(super) relation: u32,
    /// The table.
    #[serde(flatten)]
    pub table: TableName,
    /// Name of its log table.
    pub log_table: String,
    /// Which functions it concerns.
    pub(super) generation: u64,
    /// It has not ended: nothing of the table is logged.
    pub open: bool,
    /// How long ago it was noted, by the source's clock.
    pub seconds: f64,
    /// What the table's log takes now.
    pub bytes: u64,
}

/// Reads the gaps; none where an older release installed capture. Not inside a transaction.
pub async fn gaps(client: &impl GenericClient, schema: &str) -> Result<Vec<Gap>, CaptureError> {
    let sql = render(include_str!("../../sql/capture/gaps_of.sql"), &[("schema", &quote_ident(schema))]);
    match query::json(client, "the gaps of captured tables", &sql).await {
        Err(CaptureError::Query { source, .. }) if source.code() == Some(&SqlState::UNDEFINED_TABLE) => {
            Ok(Vec::new())
        }
        gaps => gaps,
    }
}

/// Decides how a table is guarded, given its last gap, and whether `init` ends the gap: not while its log is as full as it
/// was, because the next statement would note another one. `rows_bytes`: what `init` would log in the same moment.
pub(super) fn guarded(gap: Option<&Gap>, most_bytes: Option<u64>, rows_bytes: u64) -> (Option<Stop>, bool) {
    let is_full = gap.is_some_and(|gap| most_bytes.is_some_and(|most| gap.bytes + rows_bytes >= most));
    let open = gap.is_some_and(|gap| gap.open);
    let last = gap.map_or(0, |gap| gap.generation);
    let generation = if open && is_full { last } else { last + 1 };
    (most_bytes.map(|most_bytes| Stop { most_bytes, generation }), open && !is_full)
}

/// Says what keeps the gap of a table from ending, `None` when nothing does.
pub(super) fn stays_full(gap: Option<&Gap>, most_bytes: Option<u64>, rows_bytes: u64) -> Option<String> {
    let (gap, most) = (gap.filter(|gap| gap.open)?, most_bytes?);
    if gap.bytes < most && gap.bytes + rows_bytes >= most {
        return Some(format!(
            "warning: nothing of it is logged: its log was full, and its rows, which have to be logged anew, take {rows_bytes} \
             bytes where the log takes {} and may take {most}: raise max_log_bytes, then run tripline init again",
            gap.bytes
        ));
    }
    (gap.bytes >= most).then(|| {
        format!(
            "warning: nothing of it is logged, because its log takes {} bytes and may take {most}: let its pipelines publish \
             and retention remove what is there (retention.keep_hours), vacuum the log table, or raise max_log_bytes; then run \
             tripline init again, which copies its rows anew",
            gap.bytes
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_ends_with_the_next_generation_once_there_is_room() {
        let gap = |open, bytes| Gap {
            relation: 1,
            table: TableName::new("public", "t"),
            log_table: "t_cdc".into(),
            generation: 4,
            open,
            seconds: 1.0,
            bytes,
        };
        let guard = |most_bytes, generation| Some(Stop { most_bytes, generation });
        assert_eq!(guarded(None, None, 0), (None, false));
        assert_eq!(guarded(None, Some(9), 0), (guard(9, 1), false));
        assert_eq!(guarded(Some(&gap(true, 8)), Some(9), 0), (guard(9, 5), true));
        assert_eq!(guarded(Some(&gap(true, 9)), Some(9), 0), (guard(9, 4), false), "it is as full as it was");
        assert_eq!(guarded(Some(&gap(true, 8)), Some(9), 1), (guard(9, 4), false), "its rows would fill it");
        assert_eq!(guarded(Some(&gap(false, 8)), Some(9), 0), (guard(9, 5), false), "as init left it");
        assert_eq!(guarded(Some(&gap(true, 9)), None, 0), (None, true), "it stops no more");
        assert!(stays_full(Some(&gap(true, 9)), Some(9), 0).is_some());
        assert!(stays_full(Some(&gap(true, 8)), Some(9), 0).is_none());
        assert!(stays_full(Some(&gap(true, 8)), Some(9), 1).is_some());
        assert!(stays_full(Some(&gap(false, 9)), Some(9), 1).is_none());
    }
}
