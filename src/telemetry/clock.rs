//! The source's clock, as far as this process knows it: what the source last said, and the time that has passed since.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Microseconds by which the source's clock may go on otherwise than the time that passed here: a slow answer is less.
const JUMP: i64 = 30_000_000;

/// The source's clock. This machine's time of day has no part in it.
#[derive(Debug, Default)]
pub(crate) struct SourceClock(Mutex<Heard>);

/// What the clock showed, in microseconds since 1970, and when.
#[derive(Debug, Default)]
struct Heard {
    /// Where it stands at least.
    last: Option<(i64, Instant)>,
    /// What the source itself said, which cuts do not: theirs is from when a pass was taken.
    said: Option<(i64, Instant)>,
}

impl SourceClock {
    /// Says what the source's clock showed at a moment, microseconds since 1970. Returns by how many microseconds it has
    /// jumped since it was last heard of, if it has: it was set, or this machine slept.
    pub(crate) fn set(&self, micros: i64, at: Instant) -> Option<i64> {
        let mut heard = self.lock();
        heard.last = Some((micros, at));
        let former = heard.said.replace((micros, at));
        let expected = former.map(|(micros, then)| micros.saturating_add(passed(at.duration_since(then))));
        expected.map(|expected| micros - expected).filter(|jump| jump.abs() > JUMP)
    }

    /// Says that the source's clock has shown this: it stands there or later.
    pub(crate) fn has_shown(&self, micros: i64) {
        if self.now().is_none_or(|now| now < micros) {
            self.lock().last = Some((micros, Instant::now()));
        }
    }

    /// Returns what the source's clock shows now, `None` before anything was heard of it.
    pub(crate) fn now(&self) -> Option<i64> {
        let (micros, at) = self.lock().last?;
        Some(micros.saturating_add(passed(at.elapsed())))
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn passed(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_runs_on_from_what_was_heard_and_never_goes_back_for_what_is_old() {
        let clock = SourceClock::default();
        assert_eq!(clock.now(), None);
        clock.has_shown(5_000_000);
        clock.has_shown(1_000_000);
        assert!(clock.now() >= Some(5_000_000));
        // The source itself may go back.
        clock.set(1_000_000, Instant::now());
        assert!(clock.now().is_some_and(|now| (1_000_000..5_000_000).contains(&now)));
    }

    #[test]
    fn a_jump_is_what_time_passing_does_not_explain() {
        const HOUR: i64 = 3_600_000_000;
        let (clock, start) = (SourceClock::default(), Instant::now());
        clock.has_shown(7 * HOUR);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(clock.set(0, at(0)), None, "nothing was heard of it before");
        assert_eq!(clock.set(600_000_000, at(600)), None);
        assert_eq!(clock.set(612_000_000, at(601)), None, "an answer that took long");
        assert_eq!(clock.set(613_000_000 + HOUR, at(602)), Some(HOUR));
        assert_eq!(clock.set(614_000_000 + HOUR, at(603)), None, "it is said once");
        assert_eq!(clock.set(615_000_000, at(604)), Some(-HOUR));
    }
}
