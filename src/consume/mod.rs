//! The destination side of Kafka: reads the cuts and what they cover, and hands it to a target in order.

mod kafka;
mod parts;
mod target;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::config::Config;
use crate::table::{Table, TableName};
use crate::wire::{WireError, cuts_topic};

pub use kafka::GroupOffsets;
pub use target::{Batch, Positions, Progress, Target, TargetError};

use parts::{Part, Parts};

/// Why consuming stopped. No position moved past what the target confirmed.
#[derive(Debug, thiserror::Error)]
pub enum ConsumeError {
    /// librdkafka or the broker refused.
    #[error("Kafka: {what} failed")]
    Kafka {
        /// What was being done.
        what: &'static str,
        /// Why.
        #[source]
        source: rdkafka::error::KafkaError,
    },
    /// A topic is missing.
    #[error("topic {topic} does not exist: run `tripline init`")]
    NoTopic {
        /// The topic.
        topic: String,
    },
    /// A cut names a topic that was created after this consumer started; it starts again with it.
    #[error("topic {topic} is new")]
    NewTopic {
        /// The topic.
        topic: String,
    },
    /// Messages that were not applied yet are no longer there.
    #[error(
        "{topic}[{partition}] no longer holds the messages that come next: retention removed them, or the topic was \
         recreated; decide with `tripline offset reset`"
    )]
    Gone {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
    },
    /// A message on one of our topics is not ours.
    #[error("{topic}[{partition}] holds a message at offset {offset} that tripline did not write")]
    Foreign {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// Kafka offset.
        offset: i64,
    },
    /// A message carries our headers but its value cannot be read.
    #[error("{topic}[{partition}] holds a message at offset {offset} that cannot be read")]
    Unreadable {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// Kafka offset.
        offset: i64,
        /// Why.
        #[source]
        source: WireError,
    },
    /// The cuts topic was written by a newer version.
    #[error(
        "{topic} holds a record at offset {offset} in a format that this version does not know: upgrade tripline"
    )]
    Format {
        /// Topic.
        topic: String,
        /// Kafka offset.
        offset: i64,
    },
    /// The schemas topic lacks a version that a message names.
    #[error("the schemas topic lacks version {version} of the table behind {topic}")]
    NoSchema {
        /// Data topic.
        topic: String,
        /// Schema version.
        version: u64,
    },
    /// The target did not take a batch.
    #[error(transparent)]
    Target(#[from] TargetError),
}

/// How much goes into one batch.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most changes (a part is never split).
    pub rows: usize,
    /// Most bytes of messages.
    pub bytes: usize,
    /// Longest wait for more.
    pub wait: Duration,
    /// Most changes of an unfinished pass that stay uncommitted: 0 commits every batch, [`u64::MAX`] whole passes only.
    pub uncommitted: u64,
}

/// A batch and the table shapes that first appear in it.
type Gathered = (Batch, Vec<Arc<Table>>);

/// Consumes until `stop`, applying batch by batch to `target`. On stop the batches at hand are still applied.
///
/// `observe` hears `None` once the positions are read, then of every batch that was applied. A topic that appears
/// later ends this call with [`ConsumeError::NewTopic`].
pub async fn run<T: Target>(
    config: &Config,
    target: &mut T,
    limits: Limits,
    stop: &CancellationToken,
    mut observe: impl FnMut(Option<&Batch>) + Send,
) -> Result<(), ConsumeError> {
    let positions = tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(()),
        positions = target.resume() => positions?,
    };
    let group = group(config, target.name());
    let parts = tokio::task::block_in_place(|| Parts::open(config, &group, &positions))?;
    observe(None);
    let (sender, mut batches) = mpsc::channel(1);
    let gatherer = Gatherer {
        parts,
        positions,
        cuts: cuts_topic(config.topic_prefix()),
        limits,
        seen: BTreeMap::new(),
        pending: None,
        parked: None,
        uncommitted: 0,
        since: Instant::now(),
    };
    let reading = AbortOnDropHandle::new(tokio::spawn(gatherer.run(sender, stop.clone())));
    while let Some((batch, tables)) = batches.recv().await {
        for table in &tables {
            target.prepare(table).await?;
        }
        target.apply(&batch).await?;
        observe(Some(&batch));
    }
    match reading.await {
        Ok(ended) => ended,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// Returns the consumer group of a target.
pub fn group(config: &Config, target: &str) -> String {
    format!("{}-{target}", config.pipeline)
}

/// Puts parts together into batches while the target works on the last one.
struct Gatherer {
    parts: Parts,
    positions: Positions,
    cuts: String,
    limits: Limits,
    seen: BTreeMap<TableName, u32>,
    pending: Option<Gathered>,
    /// The first part of a pass that gets a batch of its own, so that the passes before it can be committed.
    parked: Option<Part>,
    /// Changes that were handed over since the last batch that commits.
    uncommitted: u64,
    since: Instant,
}

impl Gatherer {
    async fn run(
        mut self,
        sender: mpsc::Sender<Gathered>,
        stop: CancellationToken,
    ) -> Result<(), ConsumeError> {
        loop {
            let full = self.parked.is_some()
                || self.pending.as_ref().is_some_and(|(batch, _)| {
                    batch.changes.len() >= self.limits.rows || batch.bytes >= self.limits.bytes
                });
            let due = tokio::time::Instant::from_std(self.since + self.limits.wait);
            tokio::select! {
                biased;
                // First of all: a stop drops the part that is half read; it is read again at the next start.
                () = stop.cancelled() => return Ok(()),
                // Then hand over what is at hand, when it is full, or when it ends a pass, has waited long enough and the
                // target is free.
                permit = ready(&sender, due, full), if full || self.ends_pass() => {
                    let Some(permit) = permit else { return Ok(()) };
                    if let Some(gathered) = self.take() {
                        permit.send(gathered);
                    }
                }
                // Else read on; cancel-safe, so a hand-over may interrupt it.
                part = self.parts.next(), if !full => {
                    let part = part?;
                    if self.limits.uncommitted > 0 && self.ends_pass() && !part.cut.done {
                        self.parked = Some(part);
                    } else {
                        self.add(part);
                    }
                }
            }
        }
    }

    /// Takes the batch at hand, and says whether it is committed.
    fn take(&mut self) -> Option<Gathered> {
        let (mut batch, tables) = self.pending.take()?;
        self.uncommitted += batch.changes.len() as u64;
        batch.commit = batch.cut.done || self.uncommitted >= self.limits.uncommitted;
        if batch.commit {
            self.uncommitted = 0;
        }
        if let Some(part) = self.parked.take() {
            self.add(part);
        }
        Some((batch, tables))
    }

    fn ends_pass(&self) -> bool {
        self.pending.as_ref().is_some_and(|(batch, _)| batch.cut.done)
    }

    fn add(&mut self, part: Part) {
        let mut steps = Vec::with_capacity(part.cut.ranges.len() + 1);
        steps
            .extend(part.cut.ranges.iter().map(|range| ((range.topic.clone(), range.partition), range.next)));
        steps.push(((self.cuts.clone(), 0), part.offset + 1));
        let (batch, tables) = self.pending.get_or_insert_with(|| {
            self.since = Instant::now();
            let cut = part.cut.clone();
            let batch = Batch { changes: Vec::new(), cut, progress: Vec::new(), bytes: 0, commit: true };
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
        for change in &part.changes {
            let table = &change.table;
            if self.seen.get(&table.name) != Some(&table.version) {
                self.seen.insert(table.name.clone(), table.version);
                tables.push(Arc::clone(table));
            }
        }
        batch.changes.extend(part.changes);
        batch.bytes += part.bytes;
        batch.cut = part.cut;
    }
}

/// Waits until a batch may be handed over: it is due or full, and the target is free. `None` when the target is gone.
async fn ready(
    sender: &mpsc::Sender<Gathered>,
    due: tokio::time::Instant,
    full: bool,
) -> Option<mpsc::Permit<'_, Gathered>> {
    if !full {
        tokio::time::sleep_until(due).await;
    }
    sender.reserve().await.ok()
}
