//! Acknowledgements: what the broker confirmed of one part, and where it stands on the topics.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What has been acknowledged since [`Acks::begin`].
#[derive(Debug, Default)]
struct State {
    acked: usize,
    /// Messages that were given up.
    lost: usize,
    /// Acknowledgements that somebody waits for: below this nobody is woken.
    wanted: usize,
    failed: Option<String>,
    /// The largest of those that the broker refused for their size.
    too_large: Option<TooLarge>,
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

/// A message that the broker refused for its size or for that of the batch it was sent in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLarge {
    pub(super) slot: usize,
    pub(super) cdc_id: u64,
    /// Key and value.
    pub(super) bytes: usize,
}

/// Why a part was not confirmed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotConfirmed {
    /// The first delivery that failed, in librdkafka's words.
    Failed(String),
    /// No report in time.
    TimedOut,
}

/// Once a message was refused for its size: longest wait for reports of the others, which may be larger.
const OTHERS: Duration = Duration::from_secs(2);

impl Acks {
    fn state(&self) -> MutexGuard<'_, State> {
        // A poisoned lock means that a delivery callback panicked: its counts are still the counts.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the last part.
    pub(super) fn begin(&self) {
        *self.state() = State { wanted: usize::MAX, ..State::default() };
    }

    /// Notes a message that the broker acknowledged; a tombstone does not count as one of its range.
    pub(super) fn delivered(&self, slot: usize, partition: i32, offset: i64, counts: bool) {
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
        moved.messages += u64::from(counts);
        let enough = state.acked >= state.wanted;
        drop(state);
        if enough {
            self.changed.notify_one();
        }
    }

    /// Notes a message that was given up.
    pub(super) fn failed(&self, why: String) {
        let mut state = self.state();
        state.lost += 1;
        state.failed.get_or_insert(why);
        self.changed.notify_one();
    }

    /// Notes that a message was refused for its size, before [`Acks::failed`] gives it up.
    pub(super) fn refused(&self, message: TooLarge) {
        let mut state = self.state();
        if state.too_large.is_none_or(|largest| largest.bytes < message.bytes) {
            state.too_large = Some(message);
        }
    }

    /// Returns the largest message of this part that was refused for its size.
    pub(super) fn too_large(&self) -> Option<TooLarge> {
        self.state().too_large
    }

    /// Returns the first failure so far.
    pub(super) fn failure(&self) -> Option<String> {
        self.state().failed.clone()
    }

    /// Waits until `sent` messages are acknowledged; the first failure ends it.
    pub(super) fn wait(&self, sent: usize, timeout: Duration) -> Result<(), NotConfirmed> {
        let mut deadline = Instant::now() + timeout;
        let mut state = self.state();
        state.wanted = sent;
        loop {
            if let Some(why) = &state.failed {
                if state.too_large.is_none() || state.acked + state.lost >= sent || deadline <= Instant::now()
                {
                    return Err(NotConfirmed::Failed(why.clone()));
                }
                deadline = deadline.min(Instant::now() + OTHERS);
            }
            if state.acked >= sent {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() && state.failed.is_none() {
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
            acks.delivered(slot, partition, offset, offset != 8);
        }
        acks.wait(4, Duration::ZERO).unwrap();
        let expected = [
            Moved { slot: 0, partition: 2, first: 4, next: 5, messages: 1 },
            Moved { slot: 1, partition: 0, first: 7, next: 10, messages: 2 },
        ];
        assert_eq!(acks.moved(), expected);
    }

    #[test]
    fn the_largest_of_a_refused_batch_is_named() {
        let acks = Acks::default();
        acks.begin();
        for (cdc_id, bytes) in [(4, 10), (5, 900), (6, 20)] {
            acks.refused(TooLarge { slot: 2, cdc_id, bytes });
            acks.failed("too large".into());
        }
        assert_eq!(acks.wait(3, Duration::from_secs(60)), Err(NotConfirmed::Failed("too large".into())));
        assert_eq!(acks.too_large(), Some(TooLarge { slot: 2, cdc_id: 5, bytes: 900 }));
        assert_eq!(acks.wait(4, Duration::ZERO), Err(NotConfirmed::Failed("too large".into())));
        acks.begin();
        assert_eq!(acks.too_large(), None);
    }

    #[test]
    fn one_failure_fails_the_part_and_missing_reports_time_out() {
        let acks = Acks::default();
        acks.begin();
        acks.delivered(0, 0, 1, true);
        assert_eq!(acks.wait(2, Duration::ZERO), Err(NotConfirmed::TimedOut));
        acks.failed("first".into());
        acks.failed("second".into());
        acks.delivered(0, 0, 2, true);
        assert_eq!(acks.wait(2, Duration::ZERO), Err(NotConfirmed::Failed("first".into())));
        acks.begin();
        assert_eq!((acks.wait(0, Duration::ZERO), acks.moved()), (Ok(()), Vec::new()));
    }
}
