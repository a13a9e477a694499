//! Who the source is, and proof that it is still the one whose position is stored.

use serde::{Deserialize, Serialize};

use super::TailError;
use crate::position::Xid;
use crate::table::TableName;

const RESET: &str = "decide with `tripline offset reset`, or point source.url at the right server";

/// What tells one source from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// System identifier of the cluster.
    pub system: u64,
    /// Timeline: changes when a standby is promoted or a backup restored to a point in time.
    pub timeline: u32,
    /// When the server was started, microseconds since 1970: changes with every restart and crash.
    pub postmaster_start: i64,
    /// Database.
    pub database: String,
    /// True while the server replays somebody else's log.
    #[serde(skip)]
    pub in_recovery: bool,
}

impl Identity {
    /// Accepts the server at connect, given the identity stored with the position.
    pub(super) fn accept(&self, known: Option<&Identity>) -> Result<(), TailError> {
        self.check(self.in_recovery, self.timeline)?;
        let Some(known) = known else { return Ok(()) };
        let refuse = |found: String| Err(TailError::Identity { found, way_out: RESET });
        if known.system != self.system {
            return refuse(format!(
                "the source is another cluster (system identifier {}, the position belongs to {})",
                self.system, known.system
            ));
        }
        if known.database != self.database {
            return refuse(format!(
                "the source is database {}, the position belongs to {}",
                self.database, known.database
            ));
        }
        known.check(false, self.timeline)
    }

    /// Checks what can change under an open session.
    pub(super) fn check(&self, in_recovery: bool, timeline: u32) -> Result<(), TailError> {
        if in_recovery {
            return Err(TailError::Identity {
                found: "the source is a standby (in recovery): transaction ids and the log cannot be trusted there".into(),
                way_out: "point source.url at the primary",
            });
        }
        if timeline != self.timeline {
            return Err(TailError::Identity {
                found: format!(
                    "the source moved from timeline {} to {timeline}: a standby was promoted or a backup restored, and \
                     changes that were already published may be missing there",
                    self.timeline
                ),
                way_out: RESET,
            });
        }
        Ok(())
    }
}

/// A published log row, by which a source is recognised after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// Log table.
    pub log_table: TableName,
    /// The row.
    pub cdc_id: u64,
    /// Transaction that wrote it.
    pub txid: Xid,
}

impl Anchor {
    /// Accepts what the log holds now under the anchor's id.
    pub(super) fn accept(&self, found: Option<Xid>) -> Result<(), TailError> {
        match found {
            Some(txid) if txid != self.txid => Err(TailError::Identity {
                found: format!(
                    "{} holds cdc_id {} of transaction {txid}, but transaction {} was published under that id: the \
                     source lost commits (crash without flush, or restore)",
                    self.log_table, self.cdc_id, self.txid
                ),
                way_out: RESET,
            }),
            Some(_) => Ok(()),
            None => Err(TailError::Identity {
                found: format!(
                    "{} no longer holds cdc_id {}, which was published: the source lost commits (crash without \
                     flush, or restore), or its log was emptied by hand",
                    self.log_table, self.cdc_id
                ),
                way_out: RESET,
            }),
        }
    }
}
