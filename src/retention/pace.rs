//! How much is removed at a time, and how long to rest in between. Pure.

use std::time::Duration;

/// How long a batch should take: others wait for its locks no longer.
const BATCH: Duration = Duration::from_millis(50);
/// Rows of a batch at first, at least and at most.
const ROWS: (u32, u32, u32) = (2_000, 100, 10_000);
/// How many times as long as a batch took it is to the next one: a fifth of one process of the source.
const REST: u32 = 4;
/// The same while rows wait that should be gone long since: half of one.
const REST_LATE: u32 = 1;
/// What rows may be late by before that counts.
const LATE: Duration = Duration::from_secs(600);
/// How many times as long as a look took it is to the next one, and what that may become.
const LOOK_REST: u32 = 200;
const LOOK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Finds how many rows a batch may have: rows differ in size by a factor of thousands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    rows: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { rows: ROWS.0 }
    }
}

impl Pace {
    /// Returns how many rows the next batch may have.
    pub(crate) fn rows(self) -> u32 {
        self.rows
    }

    /// A full batch took this long.
    pub(crate) fn took(&mut self, took: Duration) {
        let fitting = f64::from(self.rows) * BATCH.as_secs_f64() / took.as_secs_f64().max(1e-4);
        // Not at once: what others did at the time counts too.
        let next = fitting.clamp(f64::from(self.rows) / 2.0, f64::from(self.rows) * 1.5);
        self.rows = (next as u32).clamp(ROWS.1, ROWS.2);
    }
}

/// Returns the rest behind a batch. `age` of the oldest row that may go, `keep` of those that may not.
pub(crate) fn rest(took: Duration, age: Duration, keep: Duration) -> Duration {
    took * if is_late(age, keep) { REST_LATE } else { REST }
}

/// Tells whether rows of this age should be gone long since.
pub(crate) fn is_late(age: Duration, keep: Duration) -> bool {
    age > keep + keep / 10 + LATE
}

/// Returns the time to the next look behind one that took this long: of thousands of tables it takes a while.
pub(crate) fn until_next_look(took: Duration) -> Duration {
    (took * LOOK_REST).clamp(LOOK.0, LOOK.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn batches_come_to_take_as_long_as_they_should() {
        for micros_a_row in [1, 10, 100, 1_000] {
            let mut pace = Pace::default();
            for _ in 0..20 {
                pace.took(Duration::from_micros(micros_a_row) * pace.rows());
            }
            let took = Duration::from_micros(micros_a_row) * pace.rows();
            let limited = matches!(pace.rows(), 100 | 10_000);
            assert!(limited || (took > millis(40) && took < millis(60)), "{micros_a_row}: {took:?}");
        }
        let mut pace = Pace::default();
        pace.took(Duration::ZERO);
        assert_eq!(pace.rows(), 3_000);
        pace.took(Duration::from_secs(9));
        assert_eq!(pace.rows(), 1_500, "one that waited says little");
    }

    #[test]
    fn it_rests_less_while_it_is_late() {
        let day = Duration::from_secs(86_400);
        assert_eq!(rest(millis(50), day + millis(1), day), millis(200));
        assert_eq!(rest(millis(50), day * 2, day), millis(50));
        assert_eq!(rest(millis(50), Duration::from_secs(599), Duration::ZERO), millis(200));
    }

    #[test]
    fn a_look_that_takes_long_is_rare() {
        assert_eq!(until_next_look(millis(1)), Duration::from_secs(1));
        assert_eq!(until_next_look(millis(100)), Duration::from_secs(20));
        assert_eq!(until_next_look(Duration::from_secs(5)), Duration::from_secs(60));
    }
}
