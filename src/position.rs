//! Snapshots, marks and positions: which log rows are settled (docs/tail.md has the proof).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::table::TableName;

/// A 64-bit transaction id (`xid8`).
pub type Xid = u64;

/// A snapshot as `pg_current_snapshot()` prints it: `xmin:xmax:xip,…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Oldest transaction that was still running.
    pub xmin: Xid,
    /// First transaction id that was not yet completed by anyone: this and all above were running or to come.
    pub xmax: Xid,
    /// Transactions between the two that were running, ascending.
    pub running: Vec<Xid>,
}

impl Snapshot {
    /// Returns the snapshot that sees nothing: where a pipeline starts when the whole log is unread.
    pub fn before_everything() -> Self {
        Self { xmin: 1, xmax: 1, running: Vec::new() }
    }

    /// Tells whether `xid` had not completed in this snapshot: it is invisible.
    pub fn is_running(&self, xid: Xid) -> bool {
        xid >= self.xmax || self.running.binary_search(&xid).is_ok()
    }

    /// Returns the oldest transaction that ran in `self` and had ended by `later`, or else `self.xmax`: every row
    /// that `later` sees and `self` did not see belongs to this transaction or to a younger one.
    pub fn oldest_ended_by(&self, later: &Snapshot) -> Xid {
        self.running.iter().copied().find(|&xid| !later.is_running(xid)).unwrap_or(self.xmax)
    }
}

/// A text that is no snapshot.
#[derive(Debug, thiserror::Error)]
#[error("not a snapshot: {0:?}")]
pub struct BadSnapshot(String);

impl FromStr for Snapshot {
    type Err = BadSnapshot;

    fn from_str(text: &str) -> Result<Self, BadSnapshot> {
        let bad = || BadSnapshot(text.to_owned());
        let mut parts = text.split(':');
        let mut number = || parts.next().and_then(|part| part.parse::<Xid>().ok()).ok_or_else(bad);
        let (xmin, xmax) = (number()?, number()?);
        let list = parts.next().ok_or_else(bad)?;
        let running = list
            .split(',')
            .filter(|xid| !xid.is_empty())
            .map(|xid| xid.parse().map_err(|_| bad()))
            .collect::<Result<Vec<Xid>, _>>()?;
        let ordered = running.is_sorted() && running.iter().all(|xid| (xmin..xmax).contains(xid));
        if xmin > xmax || !ordered || parts.next().is_some() {
            return Err(bad());
        }
        Ok(Self { xmin, xmax, running })
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.xmin, self.xmax)?;
        for (i, xid) in self.running.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write!(f, "{xid}")?;
        }
        Ok(())
    }
}

impl Serialize for Snapshot {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Snapshot {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A mark: transactions younger than `xid` draw ids above `id`, because the sequence stood at `id` before `xid` was
/// assigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Transaction id of the mark's own transaction.
    pub xid: Xid,
    /// Value of the sequence, read before.
    pub id: u64,
}

/// The marks that are still of use, oldest first.
#[derive(Debug, Clone)]
pub struct Marks(Vec<Mark>);

impl Marks {
    /// Starts from a stored position: the one mark that is known is (B.xmin − 1, offset).
    pub fn resume(base: &Snapshot, offset: u64) -> Self {
        Self(vec![Mark { xid: base.xmin - 1, id: offset }])
    }

    /// Adds a mark. Marks come in the order in which they were taken.
    pub fn push(&mut self, mark: Mark) {
        self.0.push(mark);
    }

    /// Returns the id of the youngest mark below `xid`: rows of `xid` and of younger transactions lie above it.
    pub fn floor(&self, xid: Xid) -> u64 {
        self.0.iter().rev().find(|mark| mark.xid < xid).map_or(0, |mark| mark.id)
    }

    /// Tells whether `later` certainly shows no log row that `base` did not show, when the sequence stood at `last_id`
    /// behind `later`.
    ///
    /// With all ids drawn before the youngest mark, transactions younger than it have no rows. An older one matters only
    /// if it ran at `base`, which lists it when the mark is older than `base`, and has ended since.
    pub fn rule_out(&self, base: &Snapshot, later: &Snapshot, last_id: u64) -> bool {
        let mark = self.last();
        let older = base.running.iter().take_while(|&&xid| xid < mark.xid);
        mark.id == last_id && mark.xid < base.xmax && older.copied().all(|xid| later.is_running(xid))
    }

    /// Returns the youngest mark.
    pub fn last(&self) -> Mark {
        self.0.last().copied().unwrap_or(Mark { xid: 0, id: 0 })
    }

    /// Drops the marks that no later question can need, given the new base snapshot.
    pub fn forget_below(&mut self, base: &Snapshot) {
        let useless = self.0.iter().skip(1).take_while(|mark| mark.xid < base.xmin).count();
        self.0.drain(..useless);
    }
}

/// Where a pipeline stands at its source: what the offset file and every cuts record hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Number of the pass that is complete or, with `inside`, running.
    pub pass: u64,
    /// Snapshot B: everything visible in it is published.
    pub base: Snapshot,
    /// The `cdc_id` at and below which everything is settled.
    pub offset: u64,
    /// Set inside a pass that takes several parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside: Option<Inside>,
    /// The copying of existing rows that is under way, or was last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
}

/// How far the copying of one table's existing rows is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Number of the request.
    pub run: u64,
    /// Schema version of the table when its first row was read.
    pub version: u32,
    /// Rows that are published.
    pub rows: u64,
    /// Key of the last of them: PostgreSQL's text of every key column, in key order. Empty before the first.
    pub after: Vec<String>,
    /// All of them are published.
    pub done: bool,
}

/// Progress inside a pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inside {
    /// Snapshot T of the pass.
    pub until: Snapshot,
    /// The last published `cdc_id` of this pass.
    pub cursor: u64,
    /// Number of the next part.
    pub part: u32,
}

impl Position {
    /// Returns the position of a pipeline that has published nothing.
    pub fn start() -> Self {
        Self { pass: 0, base: Snapshot::before_everything(), offset: 0, inside: None, load: None }
    }

    /// Tells whether nothing is published at this position, whatever its pass is counted as.
    pub fn is_start(&self) -> bool {
        self.base == Snapshot::before_everything() && self.inside.is_none()
    }
}

/// What tells one source from another.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
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
    /// Tells whether this names a source: a pipeline that has not started yet has none.
    pub fn is_known(&self) -> bool {
        self.system != 0
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
    /// When it was logged, microseconds since 1970.
    pub at_micros: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(text: &str) -> Snapshot {
        text.parse().unwrap()
    }

    #[test]
    fn snapshots_read_back_as_they_print() {
        for text in ["1:1:", "10:20:10,14,15", "7:9:7"] {
            assert_eq!(snapshot(text).to_string(), text);
        }
        for text in ["", "1:2", "2:1:", "1:9:8,7", "1:9:9", "a:b:", "1:2:3:4"] {
            assert!(text.parse::<Snapshot>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_oldest_that_ended_bounds_what_is_new() {
        let base = snapshot("10:20:10,14,15");
        assert_eq!(base.oldest_ended_by(&snapshot("10:30:10,15,25")), 14);
        assert_eq!(base.oldest_ended_by(&snapshot("10:30:10,14,15,20,25")), 20);
        assert_eq!(base.oldest_ended_by(&snapshot("30:30:")), 10);
    }

    #[test]
    fn floors_come_from_the_youngest_mark_below() {
        let mut marks = Marks::resume(&snapshot("10:20:10,14,15"), 100);
        marks.push(Mark { xid: 14, id: 140 });
        marks.push(Mark { xid: 22, id: 190 });
        assert_eq!((marks.floor(14), marks.floor(15), marks.floor(23), marks.floor(9)), (100, 140, 190, 0));
        marks.forget_below(&snapshot("15:30:15"));
        assert_eq!(marks.floor(15), 140, "the youngest mark below xmin stays");
        assert_eq!(marks.last(), Mark { xid: 22, id: 190 });
        marks.forget_below(&snapshot("40:40:"));
        assert_eq!(marks.floor(40), 190);
    }

    #[test]
    fn only_older_transactions_that_ended_can_have_rows_below_a_mark() {
        let mut marks = Marks::resume(&snapshot("10:20:10,14,15"), 100);
        let rests = |marks: &Marks, base, later| marks.rule_out(&snapshot(base), &snapshot(later), 100);
        assert!(rests(&marks, "10:20:10,14,15", "30:30:"), "all that ran at B draw ids above the offset");
        marks.push(Mark { xid: 22, id: 100 });
        assert!(!rests(&marks, "10:20:10,14,15", "10:30:10,14,15"), "21 is not listed and may have ended");
        assert!(rests(&marks, "10:25:10,24", "10:30:10,26"), "24 is younger than the mark");
        assert!(!rests(&marks, "10:25:10,24", "24:30:24"), "10 is older and has ended");
        assert!(!marks.rule_out(&snapshot("10:25:10"), &snapshot("10:25:10"), 101), "an id was drawn");
    }
}
