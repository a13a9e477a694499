//! The same message again and again: said once a minute, with how often it was not.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Time between two times that the same message is said.
const EVERY: Duration = Duration::from_secs(60);

/// Messages that were said lately.
#[derive(Debug, Default)]
pub(super) struct Repeats(HashMap<String, (Instant, u64)>);

impl Repeats {
    /// Tells whether a message is to be said now, and how often it was not since it was the last time.
    pub(super) fn say(&mut self, message: &str, now: Instant) -> Option<u64> {
        if let Some((said, unsaid)) = self.0.get_mut(message) {
            if now.duration_since(*said) < EVERY {
                *unsaid += 1;
                return None;
            }
            *said = now;
            return Some(std::mem::take(unsaid));
        }
        // What is over is over, but for what is still to be said of it.
        self.0.retain(|_, (said, unsaid)| *unsaid > 0 || now.duration_since(*said) < EVERY);
        self.0.insert(message.to_owned(), (now, 0));
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_message_is_said_once_a_minute_with_a_count_and_others_at_once() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(repeats.say("away", at(0)), Some(0));
        assert_eq!(repeats.say("away", at(1)), None);
        assert_eq!(repeats.say("refused", at(2)), Some(0));
        assert_eq!(repeats.say("away", at(59)), None);
        assert_eq!(repeats.say("away", at(61)), Some(2));
        assert_eq!(repeats.say("away", at(62)), None);
        assert_eq!(repeats.say("refused", at(70)), Some(0));
    }

    #[test]
    fn messages_of_long_ago_are_forgotten() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        for n in 0..1_000 {
            repeats.say(&format!("{n}"), start + EVERY * n);
        }
        assert!(repeats.0.len() < 3);
    }
}
