//! Who the source is, and proof that it is still the one whose position is stored.

use super::TailError;
use crate::position::{Anchor, Identity, Xid};

const RESET: &str = "decide with `tripline offset reset`, or point source.url at the right server";

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

impl Anchor {
    /// Accepts what the log holds now under the anchor's id.
    pub(super) fn accept(&self, found: Option<(Xid, i64)>) -> Result<(), TailError> {
        match found {
            Some(found) if found == (self.txid, self.at_micros) => Ok(()),
            Some((txid, _)) => Err(TailError::Identity {
                found: format!(
                    "{} holds another row under cdc_id {} (of transaction {txid}) than the one that was published (of \
                     transaction {}): the source lost commits (crash without flush, or restore)",
                    self.log_table, self.cdc_id, self.txid
                ),
                way_out: RESET,
            }),
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
