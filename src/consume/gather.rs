//! Puts parts together into batches while the target works on the last one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;

use super::parts::{Part, Parts};
use super::thin::thin;
use super::{Batch, ConsumeError, Limits, Positions, Progress, Share};
use crate::event::Change;
use crate::table::{Table, TableName};
use crate::telemetry::{Taken, TargetWatch};

/// Time between two batches that say of all partitions of a share how far they are, also of those at rest.
const SAY_ALL: Duration = Duration::from_secs(5);

/// Full batches between two looks at what is overtaken, where the last look found little.
const REST: u32 = 8;

/// A batch and the table shapes that first appear in it.
pub(super) type Gathered = (Batch, Vec<Arc<Table>>);

/// What turns parts into batches.
pub(super) struct Gatherer {
    parts: Parts,
    positions: Positions,
    /// Name of the cuts topic.
    cuts: String,
    share: Option<Arc<Share>>,
    limits: Limits,
    seen: BTreeMap<TableName, u32>,
    pending: Option<Gathered>,
    /// The first part of a pass that gets a batch of its own, so that the passes before it can be committed.
    parked: Option<Part>,
    /// Changes of the batch at hand, with those that were left out.
    gathered: u64,
    /// Full batches that are handed over as they are, after one in which little was overtaken.
    rest: u32,
    /// Changes that were handed over since the last batch that commits.
    uncommitted: u64,
    /// When the batch at hand was begun.
    since: Instant,
    /// When a batch last spoke of all partitions of the share.
    said_all: Instant,
    /// Hears what is read.
    watch: Arc<TargetWatch>,
}

impl Gatherer {
    pub(super) fn new(
        parts: Parts,
        positions: Positions,
        cuts: String,
        share: Option<Arc<Share>>,
        limits: Limits,
        watch: Arc<TargetWatch>,
    ) -> Self {
        Self {
            parts,
            positions,
            cuts,
            share,
            limits,
            seen: BTreeMap::new(),
            pending: None,
            parked: None,
            gathered: 0,
            rest: 0,
            uncommitted: 0,
            since: Instant::now(),
            said_all: Instant::now(),
            watch,
        }
    }

    /// Gathers until the stop, or until nobody takes batches any more. `free` has a permit while the target has nothing to do.
    pub(super) async fn run(
        mut self,
        sender: mpsc::Sender<Gathered>,
        free: Arc<Semaphore>,
        stop: CancellationToken,
    ) -> Result<(), ConsumeError> {
        loop {
            let full = self.parked.is_some() || self.is_full();
            let due = tokio::time::Instant::from_std(self.since + self.limits.wait);
            tokio::select! {
                biased;
                // First of all: a stop drops the part that is half read; it is read again at the next start.
                () = stop.cancelled() => return Ok(()),
                // Then hand over what is at hand, when it is full, or when it ends a pass, has waited long enough and the
                // target is free.
                turn = ready(&free, due, full), if full || self.ends_pass() => {
                    if let Some(gathered) = self.take() {
                        turn.forget();
                        if sender.send(gathered).await.is_err() {
                            return Ok(());
                        }
                    }
                }
                // Else read on; cancel-safe, so a hand-over may interrupt it.
                part = self.parts.next(), if !full => {
                    let part = part?;
                    // What a copy of all rows has to tell apart by its age is committed before it begins.
                    let begins = part.sweep.as_ref().is_some_and(|sweep| sweep.begins);
                    let large = self.limits.uncommitted > 0 && !part.cut.done;
                    if self.ends_pass() && (large || begins) {
                        self.parked = Some(part);
                    } else {
                        self.add(part);
                    }
                }
            }
        }
    }

    /// Tells whether the batch at hand is full, also after what is overtaken in it was left out.
    fn is_full(&mut self) -> bool {
        let Some((batch, _)) = &mut self.pending else { return false };
        if batch.changes.len() < self.limits.rows && batch.bytes < self.limits.bytes {
            return false;
        }
        if !self.limits.thin || self.rest > 0 {
            self.rest = self.rest.saturating_sub(1);
            return true;
        }
        let left_out = thin(&mut batch.changes);
        if left_out > 0 {
            batch.thinned = true;
            batch.bytes = batch.changes.iter().map(Change::bytes).sum();
        }
        // As many again have to come before the next look, which so costs a little for each of them.
        let worth = left_out >= batch.changes.len();
        if self.gathered < 2 * batch.changes.len() as u64 {
            self.rest = REST;
        }
        !worth
    }

    /// Takes the batch at hand, and says whether it is committed.
    fn take(&mut self) -> Option<Gathered> {
        let (mut batch, tables) = self.pending.take()?;
        self.uncommitted += std::mem::take(&mut self.gathered);
        // Where a pass was given up there is nothing to commit, and no number to go on from.
        let split = self.uncommitted >= self.limits.uncommitted && !batch.cut.restart;
        batch.commit = batch.cut.done || self.limits.uncommitted == 0 || split;
        if batch.commit {
            self.uncommitted = 0;
        }
        if let Some(part) = self.parked.take() {
            self.add(part);
        }
        Some((batch, tables))
    }

    fn ends_pass(&self) -> bool {
        let shared = self.share.is_some();
        self.pending.as_ref().is_some_and(|(batch, _)| batch.cut.done || shared)
    }

    fn add(&mut self, part: Part) {
        let steps = self.steps(&part);
        let (micros, rows) = (part.cut.source_micros, part.cut.rows);
        self.watch.task.clock.has_shown(micros);
        if steps.is_empty() && self.pending.is_none() && part.sweep.is_none() {
            // Another member's part.
            self.watch.task.lag.passed_over(part.offset, rows);
            return;
        }
        let taken = Taken { number: part.offset, micros, rows, reaches: Some(micros) };
        self.watch.task.lag.taken(taken);
        let (batch, tables) = self.pending.get_or_insert_with(|| {
            self.since = Instant::now();
            let batch = Batch {
                changes: Vec::new(),
                cut: part.cut.clone(),
                progress: Vec::new(),
                bytes: 0,
                commit: true,
                covered: 0,
                sweeps: Vec::new(),
                thinned: false,
            };
            (batch, Vec::new())
        });
        for ((topic, partition), next) in steps {
            let step =
                batch.progress.iter_mut().find(|step| step.topic == topic && step.partition == partition);
            match step {
                Some(step) => step.next = next,
                None => {
                    let expected = self.positions.get(&(topic.clone(), partition)).copied();
                    batch.progress.push(Progress { topic: topic.clone(), partition, expected, next });
                }
            }
            self.positions.insert((topic, partition), next);
        }
        let swept = part.sweep.iter().map(|sweep| &sweep.table);
        for table in part.changes.iter().map(|change| &change.table).chain(swept) {
            if self.seen.get(&table.name) != Some(&table.version) {
                self.seen.insert(table.name.clone(), table.version);
                tables.push(Arc::clone(table));
            }
        }
        self.gathered += part.changes.len() as u64;
        batch.changes.extend(part.changes);
        batch.sweeps.extend(part.sweep);
        batch.bytes += part.bytes;
        batch.cut = part.cut;
        batch.covered = part.offset + 1;
    }

    /// Returns where a part leads each partition. Who applies all partitions counts the cuts topic as one of them; a
    /// member says now and then how far all of its share is, at rest or not.
    fn steps(&mut self, part: &Part) -> Vec<((String, i32), i64)> {
        let ranges = part.cut.ranges.iter();
        let mut steps: Vec<_> =
            ranges.map(|range| ((range.topic.clone(), range.partition), range.next)).collect();
        let Some(share) = &self.share else {
            steps.push(((self.cuts.clone(), 0), part.offset + 1));
            return steps;
        };
        if self.said_all.elapsed() >= SAY_ALL {
            self.said_all = Instant::now();
            for partition in share.iter() {
                if !steps.iter().any(|(moved, _)| moved == partition) {
                    steps.push((partition.clone(), self.positions.get(partition).copied().unwrap_or(0)));
                }
            }
        }
        steps
    }
}

/// Waits until a batch may be handed over: it is due or full, and the target is free.
async fn ready(free: &Semaphore, due: tokio::time::Instant, full: bool) -> SemaphorePermit<'_> {
    if !full {
        tokio::time::sleep_until(due).await;
    }
    free.acquire().await.expect("nobody closes it")
}
