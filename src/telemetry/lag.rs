//! How far a half or a target is behind what comes before it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What was taken over and is not done: a window that is not published, a part that is not applied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    /// Its number; numbers ascend.
    pub(crate) number: i64,
    /// What the source's clock showed when the oldest of it began to wait.
    pub(crate) micros: i64,
    pub(crate) rows: u64,
    /// Once it is done, so is all that the source showed up to here.
    pub(crate) reaches: Option<i64>,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Taken>,
    /// Number behind what was taken over.
    next: i64,
    /// Rows that are known to come behind what was taken over.
    unread: u64,
    /// Number behind those.
    counted: i64,
    /// Rows at or above `counted` that were taken over since the counting that is under way began.
    meanwhile: u64,
    /// Everything that the source showed up to here is done, microseconds since 1970.
    through: Option<i64>,
    /// What comes is noticed at once, so that nothing waiting means nothing behind.
    attended: bool,
    pass: Option<u64>,
}

impl Inner {
    /// Rows that come no more, because they are here.
    fn came(&mut self, number: i64, rows: u64) {
        self.next = number + 1;
        if self.next < self.counted {
            self.unread = self.unread.saturating_sub(rows);
        } else if self.next == self.counted {
            self.unread = 0;
        } else {
            self.unread = 0;
            self.meanwhile += rows;
        }
    }
}

/// Rows and seconds behind. A lock per window or part, none per row.
#[derive(Debug, Default)]
pub(crate) struct Lag(Mutex<Inner>);

impl Lag {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what was taken over: whoever took it starts again, at this number.
    pub(crate) fn restart(&self, next: i64) {
        let mut inner = self.lock();
        *inner = Inner { next, counted: next, through: inner.through, pass: inner.pass, ..Inner::default() };
    }

    /// Says that whatever comes is noticed at once from now on.
    pub(crate) fn attend(&self) {
        self.lock().attended = true;
    }

    /// Something was taken over.
    pub(crate) fn taken(&self, taken: Taken) {
        let mut inner = self.lock();
        inner.came(taken.number, taken.rows);
        inner.waiting.push_back(taken);
    }

    /// Something came by that is for somebody else.
    pub(crate) fn passed_over(&self, number: i64, rows: u64) {
        self.lock().came(number, rows);
    }

    /// Everything below `number` is done.
    pub(crate) fn done_below(&self, number: i64, pass: u64) {
        let mut inner = self.lock();
        while let Some(first) = inner.waiting.front().copied().filter(|first| first.number < number) {
            inner.waiting.pop_front();
            inner.through = first.reaches.or(inner.through);
        }
        inner.pass = Some(pass);
    }

    /// Says how many rows come behind what was taken over.
    pub(crate) fn set_unread(&self, rows: u64) {
        self.lock().unread = rows;
    }

    /// Counting begins, of what comes from the returned number on.
    pub(crate) fn begin_counting(&self) -> i64 {
        let mut inner = self.lock();
        inner.meanwhile = 0;
        inner.counted = inner.counted.max(inner.next);
        inner.counted
    }

    /// Up to `last` so many rows were found. Some of them may have been taken over meanwhile.
    pub(crate) fn counted(&self, last: i64, rows: u64) {
        let mut inner = self.lock();
        inner.counted = inner.counted.max(last + 1);
        inner.unread = match inner.next < inner.counted {
            true => inner.unread + rows.saturating_sub(inner.meanwhile),
            false => 0,
        };
    }

    /// Nothing waits: all that the source showed up to here is done.
    pub(crate) fn rest(&self, micros: i64) {
        let mut inner = self.lock();
        if inner.waiting.is_empty() {
            inner.unread = 0;
            inner.through = Some(micros);
        }
    }

    /// Tells whether nothing is known to come behind what was taken over.
    pub(crate) fn is_read(&self) -> bool {
        self.lock().unread == 0
    }

    /// Returns the last pass of which something is done.
    pub(crate) fn pass(&self) -> Option<u64> {
        self.lock().pass
    }

    /// Returns the rows that wait.
    pub(crate) fn rows(&self) -> u64 {
        let inner = self.lock();
        inner.unread + inner.waiting.iter().map(|waiting| waiting.rows).sum::<u64>()
    }

    /// Returns for how long the oldest of it has waited when the source's clock shows `now`; `None` when that is not known.
    pub(crate) fn seconds(&self, now: Option<i64>) -> Option<f64> {
        let inner = self.lock();
        if inner.attended && inner.waiting.is_empty() && inner.unread == 0 {
            return Some(0.0);
        }
        let since = inner.waiting.front().map(|first| first.micros).or(inner.through)?;
        Some((now? - since).max(0) as f64 / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn taken(number: i64, seconds: i64, rows: u64) -> Taken {
        Taken { number, micros: seconds * SECOND, rows, reaches: None }
    }

    #[test]
    fn the_oldest_that_waits_says_how_late_it_is() {
        let lag = Lag::default();
        assert_eq!(lag.seconds(Some(SECOND)), None, "nothing is known yet");
        lag.rest(10 * SECOND);
        lag.taken(taken(1, 10, 5));
        lag.taken(Taken { reaches: Some(13 * SECOND), ..taken(2, 12, 7) });
        assert_eq!((lag.rows(), lag.seconds(Some(15 * SECOND))), (12, Some(5.0)));
        lag.done_below(2, 1);
        assert_eq!((lag.rows(), lag.seconds(Some(15 * SECOND))), (7, Some(3.0)));
        lag.done_below(3, 2);
        assert_eq!((lag.rows(), lag.seconds(Some(15 * SECOND)), lag.pass()), (0, Some(2.0), Some(2)));
        lag.attend();
        assert_eq!(lag.seconds(Some(15 * SECOND)), Some(0.0), "who attends and has nothing is not late");
        lag.restart(0);
        assert_eq!(lag.seconds(Some(20 * SECOND)), Some(7.0), "who does not attend is later every second");
        assert_eq!(lag.seconds(Some(SECOND)), Some(0.0), "a clock that went back makes nothing negative");
    }

    #[test]
    fn what_was_counted_and_taken_over_meanwhile_counts_once() {
        let lag = Lag::default();
        lag.restart(1);
        assert_eq!(lag.begin_counting(), 1);
        lag.taken(taken(1, 0, 10));
        lag.counted(3, 40);
        assert_eq!(lag.rows(), 40);
        lag.taken(taken(2, 0, 5));
        assert_eq!(lag.rows(), 40, "it was counted");
        // More has come: only that is counted.
        assert_eq!(lag.begin_counting(), 4);
        lag.counted(9, 100);
        assert_eq!(lag.rows(), 140);
        lag.passed_over(3, 25);
        assert_eq!(lag.rows(), 115);
        lag.done_below(4, 1);
        assert_eq!(lag.rows(), 100);
        lag.taken(taken(9, 0, 60));
        assert_eq!(lag.rows(), 60, "nothing is left of what was counted, whatever that was");
        lag.taken(taken(10, 0, 1));
        lag.done_below(11, 1);
        assert_eq!(lag.rows(), 0);
    }
}
