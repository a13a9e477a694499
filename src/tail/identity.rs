//! Who the source is, and proof that it is still the one whose position is stored.

use super::TailError;
use super::postgres::Standing;
use crate::position::{Anchor, Identity, Position, Snapshot, Xid};

/// The commands that decide.
const DECIDE: &str = "point source.url at the right server, or decide from where to publish again: `tripline offset \
     rewind --to <cdc_id|time>`, or `tripline offset reset` for the whole log";

/// The same, where it may only be the sequence.
const SET_BACK: &str = "if it was only set back, set it to where it was (`select setval(…)`) before anything is written; \
    else point source.url at the right server, or decide from where to publish again: `tripline offset rewind --to \
    <cdc_id|time>`, or `tripline offset reset` for the whole log";

impl Identity {
    /// Accepts the server at connect, given the identity stored with the position.
    pub(super) fn accept(&self, known: Option<&Identity>) -> Result<(), TailError> {
        self.check(self.in_recovery, self.timeline)?;
        let Some(known) = known else { return Ok(()) };
        let refuse = |found: String| Err(TailError::Identity { found, way_out: DECIDE });
        if known.system != self.system {
            return refuse(format!(
                "the source is another cluster (system identifier {}, the position belongs to {})",
                self.system, known.system
            ));
        }
        // A position that was rebuilt from the cuts topic does not know the database.
        if !known.database.is_empty() && known.database != self.database {
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
                way_out: DECIDE,
            });
        }
        Ok(())
    }
}

/// Accepts where the source stands, given what was published: transaction ids and the sequence never go back, unless the
/// source lost commits.
pub(super) fn accept_standing(
    now: &Standing,
    position: &Position,
    anchors: &[Anchor],
) -> Result<(), TailError> {
    let inside = position.inside.as_ref();
    let seen = [Some(&position.base), inside.map(|inside| &inside.until)].into_iter().flatten();
    if let Some(xid) = seen.filter_map(|snapshot| ended_from(snapshot, now.next_xid)).max() {
        return Err(TailError::Identity {
            found: format!(
                "transaction {xid} had ended when it was published, and the source gives out {} next: an older backup was \
                 restored, or the source lost commits in a crash",
                now.next_xid
            ),
            way_out: DECIDE,
        });
    }
    let published = anchors.iter().map(|anchor| anchor.cdc_id).chain(inside.map(|inside| inside.cursor));
    let highest = published.chain([position.offset, now.highest_logged]).max().unwrap_or(0);
    accept_sequence(now.last_id, highest)
}

/// Accepts a value of the sequence, given the highest id that is known to be drawn.
pub(super) fn accept_sequence(last_id: u64, highest: u64) -> Result<(), TailError> {
    if last_id >= highest {
        return Ok(());
    }
    Err(TailError::Identity {
        found: format!(
            "the sequence of the log stands at {last_id}, below {highest}, which was drawn before: it was set back, an older \
             backup was restored, or the source lost commits in a crash"
        ),
        way_out: SET_BACK,
    })
}

/// Returns the highest transaction, not below `next`, that had ended in `snapshot`.
fn ended_from(snapshot: &Snapshot, next: Xid) -> Option<Xid> {
    (next..snapshot.xmax).rev().find(|&xid| !snapshot.is_running(xid))
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
                way_out: DECIDE,
            }),
            None => Err(TailError::Identity {
                found: format!(
                    "{} no longer holds cdc_id {}, which was published: the source lost commits (crash without \
                     flush, or restore), or its log was emptied by hand",
                    self.log_table, self.cdc_id
                ),
                way_out: DECIDE,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(next_xid: Xid, last_id: u64) -> Standing {
        Standing { next_xid, highest_logged: 0, last_id }
    }

    fn position(base: &str, offset: u64) -> Position {
        Position { pass: 1, base: base.parse().unwrap(), offset, inside: None, load: None }
    }

    #[test]
    fn transaction_ids_that_had_ended_are_not_given_out_again() {
        let accepts = |base, next| accept_standing(&standing(next, 9), &position(base, 0), &[]).is_ok();
        assert!(accepts("100:100:", 100));
        assert!(!accepts("100:101:", 100), "100 had ended");
        assert!(accepts("100:101:100", 100), "100 ran, and a crash ended it");
        assert!(accepts("100:103:101,102", 101));
        assert!(!accepts("100:103:101", 101), "102 had ended");
        assert!(!accepts("100:100:", 99), "99 had ended");
    }

    #[test]
    fn a_sequence_below_anything_that_is_known_is_refused() {
        let refuses = |now: Standing, offset| accept_standing(&now, &position("1:1:", offset), &[]).is_err();
        assert!(!refuses(standing(2, 9), 9));
        assert!(refuses(standing(2, 9), 10));
        assert!(refuses(Standing { highest_logged: 10, ..standing(2, 9) }, 0));
        let anchor = Anchor {
            log_table: crate::table::TableName::new("cdc", "t_cdc"),
            cdc_id: 10,
            txid: 1,
            at_micros: 0,
        };
        assert!(accept_standing(&standing(2, 9), &position("1:1:", 0), &[anchor]).is_err());
    }
}
