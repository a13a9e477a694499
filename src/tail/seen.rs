//! What the source says of itself beside its rows: its clock, its sequence, and how long a transaction has been open.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::position::{Snapshot, Xid};

/// Time between two notes of which transaction came when.
const NOTE_EVERY: Duration = Duration::from_secs(1);
/// Notes that are kept; when there are more, every second one is dropped.
const NOTES: usize = 4_096;

/// What the source last said of itself.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Its clock, microseconds since 1970, and when it showed that.
    pub clock: Option<(i64, Instant)>,
    /// Where its sequence stands; 0 before it was asked.
    pub last_id: u64,
    /// It had nothing to read when it was last asked.
    pub idle: bool,
    open: Open,
}

impl Seen {
    pub(super) fn note(&mut self, snapshot: &Snapshot, clock_micros: i64, last_id: Option<u64>) {
        let now = Instant::now();
        self.clock = Some((clock_micros, now));
        self.last_id = last_id.unwrap_or(self.last_id);
        self.open.note(snapshot, now);
    }

    /// Returns since when the oldest open transaction that has a number is known to be, to about a second; `None` when there
    /// is none. Right for prepared transactions and those of other databases, and without a right to see their sessions.
    pub fn oldest_open(&self) -> Option<Instant> {
        self.open.since
    }
}

/// Tells since when the oldest open transaction has been there, from snapshots alone.
#[derive(Debug, Clone, Default)]
struct Open {
    /// First moment at which numbers below this one were given out, oldest first.
    notes: VecDeque<(Xid, Instant)>,
    since: Option<Instant>,
}

impl Open {
    fn note(&mut self, snapshot: &Snapshot, now: Instant) {
        let last = self.notes.back();
        if last.is_none_or(|(xmax, at)| snapshot.xmax > *xmax && now.duration_since(*at) >= NOTE_EVERY) {
            self.notes.push_back((snapshot.xmax, now));
        }
        if self.notes.len() > NOTES {
            let mut keep = false;
            self.notes.retain(|_| {
                keep = !keep;
                keep
            });
        }
        // The first note above the transaction is when it was seen first.
        while self.notes.len() > 1 && self.notes[0].0 <= snapshot.xmin {
            self.notes.pop_front();
        }
        let open = snapshot.xmin < snapshot.xmax;
        let first = self.notes.front().filter(|(xmax, _)| *xmax > snapshot.xmin);
        self.since = open.then(|| first.map_or(now, |(_, at)| *at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_open_transaction_is_as_old_as_the_first_snapshot_that_had_it() {
        let (mut open, start) = (Open::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut age = |text: &str, seconds| {
            open.note(&text.parse().unwrap(), at(seconds));
            open.since.map(|since| at(seconds).duration_since(since).as_secs())
        };
        assert_eq!(age("100:100:", 0), None);
        assert_eq!(age("100:101:100", 10), Some(0));
        assert_eq!(age("100:110:100,105", 70), Some(60));
        assert_eq!(age("100:200:100,150", 100), Some(90));
        // 100 has ended; 150 was first seen at 100 s.
        assert_eq!(age("150:300:150,250", 130), Some(30));
        assert_eq!(age("250:300:250", 140), Some(10));
        assert_eq!(age("300:300:", 150), None);
    }

    #[test]
    fn notes_stay_few_however_long_a_transaction_is_open() {
        let (mut open, start) = (Open::default(), Instant::now());
        for second in 0..20_000 {
            let now = start + Duration::from_secs(second);
            let snapshot = Snapshot { xmin: 1, xmax: 10 + second * 100, running: vec![1] };
            open.note(&snapshot, now);
            assert_eq!(open.since, Some(start));
        }
        assert!(open.notes.len() <= NOTES);
    }
}
