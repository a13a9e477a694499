//! The source's clock, as far as this process knows it: what the source last said, and the time that has passed since.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The source's clock. This machine's time of day has no part in it.
#[derive(Debug, Default)]
pub(crate) struct SourceClock(Mutex<Option<(i64, Instant)>>);

impl SourceClock {
    /// Says what the source's clock showed at a moment, microseconds since 1970.
    pub(crate) fn set(&self, micros: i64, at: Instant) {
        *self.lock() = Some((micros, at));
    }

    /// Says that the source's clock has shown this: it stands there or later.
    pub(crate) fn has_shown(&self, micros: i64) {
        if self.now().is_none_or(|now| now < micros) {
            self.set(micros, Instant::now());
        }
    }

    /// Returns what the source's clock shows now, `None` before anything was heard of it.
    pub(crate) fn now(&self) -> Option<i64> {
        let (micros, at) = (*self.lock())?;
        Some(micros.saturating_add(i64::try_from(at.elapsed().as_micros()).unwrap_or(i64::MAX)))
    }

    fn lock(&self) -> MutexGuard<'_, Option<(i64, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
}
