//! Acknowledgements: what the broker confirmed of one part, and where it stands on the topics.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What has been acknowledged since [`Acks::begin`].
#[derive(Debug, Default)]
struct State {
    acked: usize,
    /// Acknowledgements that somebody waits for: below this nobody is woken.
    wanted: usize,
    failed: Option<String>,
    /// By topic slot and partition.
    ranges: Vec<Vec<Option<Moved>>>,
}

/// Counts delivery reports. The position moves only over what stands here.
#[derive(Debug, Default)]
pub(super) struct Acks {
    state: Mutex<State>,
    changed: Condvar,
}

/// One partition's share of a part, by topic slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) slot: usize,
    pub(super) partition: i32,
    pub(super) first: i64,
    pub(super) next: i64,
    pub(super) messages: u64,
}

/// Why a part was not confirmed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotConfirmed {
    /// The first delivery that failed, in librdkafka's words.
    Failed(String),
    /// No report in time.
    TimedOut,
}

impl Acks {
    fn state(&self) -> MutexGuard<'_, State> {
        // A poisoned lock means that a delivery callback panicked: its counts are still the counts.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the last part.
    pub(super) fn begin(&self) {
        *self.state() = State { wanted: usize::MAX, ..State::default() };
    }

    /// Notes a message that the broker acknowledged.
    pub(super) fn delivered(&self, slot: usize, partition: i32, offset: i64) {
        let mut state = self.state();
        state.acked += 1;
        let index = usize::try_from(partition).unwrap_or(0);
        if state.ranges.len() <= slot {
            state.ranges.resize_with(slot + 1, Vec::new);
        }
        let partitions = &mut state.ranges[slot];
        if partitions.len() <= index {
            partitions.resize(index + 1, None);
        }
        let none = Moved { slot, partition, first: offset, next: offset + 1, messages: 0 };
        let moved = partitions[index].get_or_insert(none);
        moved.first = moved.first.min(offset);
        moved.next = moved.next.max(offset + 1);
        moved.messages += 1;
        let enough = state.acked >= state.wanted;
        drop(state);
        if enough {
            self.changed.notify_one();
        }
    }

    /// Notes a message that was given up.
    pub(super) fn failed(&self, why: String) {
        self.state().failed.get_or_insert(why);
        self.changed.notify_one();
    }

    /// Returns the first failure so far.
    pub(super) fn failure(&self) -> Option<String> {
        self.state().failed.clone()
    }

    /// Waits until `sent` messages are acknowledged; the first failure ends it.
    pub(super) fn wait(&self, sent: usize, timeout: Duration) -> Result<(), NotConfirmed> {
        let deadline = Instant::now() + timeout;
        let mut state = self.state();
        state.wanted = sent;
        loop {
            if let Some(why) = &state.failed {
                return Err(NotConfirmed::Failed(why.clone()));
            }
            if state.acked >= sent {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(NotConfirmed::TimedOut);
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Returns every partition that moved.
    pub(super) fn moved(&self) -> Vec<Moved> {
        self.state().ranges.iter().flatten().flatten().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_span_what_was_acknowledged() {
        let acks = Acks::default();
        acks.begin();
        for (slot, partition, offset) in [(1, 0, 7), (1, 0, 9), (0, 2, 4), (1, 0, 8)] {
            acks.delivered(slot, partition, offset);
        }
        acks.wait(4, Duration::ZERO).unwrap();
        let expected = [
            Moved { slot: 0, partition: 2, first: 4, next: 5, messages: 1 },
            Moved { slot: 1, partition: 0, first: 7, next: 10, messages: 3 },
        ];
        assert_eq!(acks.moved(), expected);
    }

    #[test]
    fn one_failure_fails_the_part_and_missing_reports_time_out() {
        let acks = Acks::default();
        acks.begin();
        acks.delivered(0, 0, 1);
        assert_eq!(acks.wait(2, Duration::ZERO), Err(NotConfirmed::TimedOut));
        acks.failed("first".into());
        acks.failed("second".into());
        acks.delivered(0, 0, 2);
        assert_eq!(acks.wait(2, Duration::ZERO), Err(NotConfirmed::Failed("first".into())));
        acks.begin();
        assert_eq!((acks.wait(0, Duration::ZERO), acks.moved()), (Ok(()), Vec::new()));
    }
}
