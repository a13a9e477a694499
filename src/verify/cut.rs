//! Which state of the source a target is known to hold.

use super::VerifyError;
use crate::config::Config;
use crate::position::Snapshot;
use crate::publish::read_cuts;
use crate::table::TableName;

/// What a target is known to have applied: everything that `snapshot` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Base {
    /// Epoch of the publisher.
    pub(super) epoch: u64,
    /// Number of the pass.
    pub(super) pass: u64,
    /// Number of the next part of it, while it is not complete.
    pub(super) part: Option<u32>,
    /// B of the last applied part: the end of its pass, or of the pass before while it is not complete.
    pub(super) snapshot: Snapshot,
    /// Log rows that it does not show have ids above this one.
    pub(super) offset: u64,
    /// System identifier of the source; 0 in the record with which the first publisher took the pipeline over.
    pub(super) system: u64,
}

/// Reads the record up to which `target` has applied: the one in front of Kafka offset `next`. Blocking.
pub(super) fn base(config: &Config, target: &'static str, next: i64) -> Result<Base, VerifyError> {
    let offset = next - 1;
    let cuts = read_cuts(config, offset)?;
    let Some(recorded) = cuts.into_iter().next().filter(|recorded| recorded.offset == offset) else {
        return Err(VerifyError::CutGone { target, offset });
    };
    let cut = recorded.cut;
    Ok(Base {
        epoch: cut.epoch,
        pass: cut.pass,
        part: cut.position.inside.as_ref().map(|inside| inside.part),
        snapshot: cut.position.base,
        offset: cut.position.offset,
        system: cut.system,
    })
}

impl Base {
    /// Refuses a source that is another cluster, or whose snapshot `seen` does not show all that this one shows.
    pub(super) fn accept(&self, seen: &Snapshot, system: u64) -> Result<(), VerifyError> {
        if self.system != 0 && system != self.system {
            let why = format!("its system identifier is {system}, that of the cuts {}", self.system);
            return Err(VerifyError::OtherSource { why });
        }
        let hidden = seen.running.iter().find(|&&xid| !self.snapshot.is_running(xid));
        if hidden.is_some() || seen.xmax < self.snapshot.xmax {
            let why = format!("its snapshot {seen} is older than {} of the last cut", self.snapshot);
            return Err(VerifyError::OtherSource { why });
        }
        Ok(())
    }
}

/// When the existing rows of a table are all at a target.
#[derive(Debug)]
pub(super) struct Copied {
    pub(super) table: TableName,
    /// The pass of the last of them.
    pub(super) pass: i64,
}

impl Copied {
    /// Refuses a target that may lack some of them.
    pub(super) fn accept(self, base: &Base) -> Result<(), VerifyError> {
        let all = i64::try_from(base.pass).is_ok_and(|applied| applied >= self.pass);
        if all { Ok(()) } else { Err(VerifyError::Copying(self.table)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_shows_less_or_is_another_one_is_refused() {
        let snapshot = "10:20:10,14".parse().expect("a snapshot");
        let base = Base { epoch: 1, pass: 1, part: None, snapshot, offset: 5, system: 7 };
        let accepts = |seen: &str, system| base.accept(&seen.parse().expect("a snapshot"), system).is_ok();
        assert!(accepts("10:20:10,14", 7) && accepts("14:30:14,25", 7) && accepts("30:30:", 7));
        assert!(!accepts("10:20:10,14", 8), "another cluster");
        let first = Base { system: 0, snapshot: Snapshot::before_everything(), ..base.clone() };
        assert!(first.accept(&"10:20:10".parse().expect("a snapshot"), 8).is_ok(), "nothing is known yet");
        assert!(!accepts("10:19:10,14", 7), "19 has ended in the cut");
        assert!(!accepts("10:20:10,14,15", 7), "15 has ended in the cut");
    }
}
