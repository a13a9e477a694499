//! Rounds: keys that are in flight at one cut are compared at a later one.

use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use super::VerifyError;
use crate::table::TableName;

/// Most rounds for one table.
const ROUNDS: u32 = 5;
/// Pause behind the first round, in which the target gets on; each one is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Differing keys that are named.
pub(super) const NAMED: usize = 10;

/// How a row differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Difference {
    /// The source has it, the target does not.
    Missing,
    /// The target has it, the source does not.
    Extra,
    /// Both have it, with different values.
    Changed,
}

/// A row that differs.
#[derive(Debug, Clone, Serialize)]
pub struct Differing {
    /// Its key as on the topic.
    pub key: Box<RawValue>,
    /// How it differs.
    pub difference: Difference,
}

/// What comparing a table with a target found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Compared {
    /// Rows of the source that were compared, each once.
    pub rows: u64,
    /// Keys that were changing at every cut that was looked at, and were not compared.
    pub in_flight: u64,
    /// Rows that differ.
    pub differing: u64,
    /// The first of them.
    pub keys: Vec<Differing>,
    /// Columns that were not compared, because the destination computes them.
    pub left_out: Vec<String>,
    /// The pass whose end was looked at last.
    pub pass: u64,
    /// Cuts that were looked at.
    pub rounds: u32,
}

impl Compared {
    /// Notes a row that differs; its key is only asked for where it is named.
    pub(super) fn note<E>(
        &mut self,
        difference: Difference,
        key: impl FnOnce() -> Result<Box<RawValue>, E>,
    ) -> Result<(), E> {
        self.differing += 1;
        if self.keys.len() < NAMED {
            self.keys.push(Differing { key: key()?, difference });
        }
        Ok(())
    }

    fn add(&mut self, round: Self) {
        self.rows += round.rows;
        self.differing += round.differing;
        self.keys.extend(round.keys);
        self.keys.truncate(NAMED);
        self.left_out = round.left_out;
        self.pass = round.pass;
    }
}

/// Compares in rounds until every key was compared once, or there have been enough rounds.
///
/// `round` gets the keys that are still to be compared (`None`: all of them) and returns what it found and which of
/// them were in flight, or `None` when all were: nothing of that round counts then.
pub(super) async fn in_rounds<K>(
    table: &TableName,
    mut round: impl AsyncFnMut(Option<Vec<K>>) -> Result<Option<(Compared, Vec<K>)>, VerifyError>,
) -> Result<Compared, VerifyError>
where
    K: Clone,
{
    let mut all = Compared::default();
    let mut waiting: Option<Vec<K>> = None;
    let mut pause = FIRST_PAUSE;
    for number in 1..=ROUNDS {
        if number > 1 {
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        all.rounds = number;
        let Some((found, in_flight)) = round(waiting.clone()).await? else { continue };
        all.add(found);
        all.in_flight = in_flight.len() as u64;
        waiting = Some(in_flight);
        if all.in_flight == 0 {
            break;
        }
    }
    match waiting {
        Some(_) => Ok(all),
        None => Err(VerifyError::NeverStill { table: table.clone(), rounds: ROUNDS }),
    }
}
