//! The destination side of Kafka: reads the cuts and what they cover, and hands it to a target in order.

mod kafka;
mod members;
mod parts;
mod gather;
mod target;
mod thin;

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{counter, histogram};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::config::Config;
use crate::error::chain;
use crate::publish::count_cuts;
use crate::telemetry::{TargetWatch, catalog};
use crate::wire::{Step, cuts_topic};

pub use kafka::GroupOffsets;
pub use members::Share;
pub use target::{Batch, Positions, Progress, Resumed, Sweep, Target, TargetError};

use gather::Gatherer;
use members::Membership;
use parts::Parts;

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
    /// A range starts before the offset up to which everything is applied.
    #[error(
        "{topic}[{partition}] goes back to offset {first} after {applied}: the topic was deleted and created again, or \
         Kafka has lost data; compare the stores, then decide with `tripline offset reset`"
    )]
    Recreated {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// First Kafka offset of the range.
        first: i64,
        /// Next Kafka offset behind what is applied.
        applied: i64,
    },
    /// Records of the cuts topic are missing.
    #[error(
        "{topic} holds pass {} part {} at offset {offset}, behind pass {} part {}: records between them are gone (topic \
         deleted and created again, or Kafka has lost data); compare the stores, then decide with `tripline offset reset`",
        found.pass, found.part, last.pass, last.part
    )]
    Gap {
        /// The cuts topic.
        topic: String,
        /// Kafka offset.
        offset: i64,
        /// What was applied last.
        last: Step,
        /// What stands there.
        found: Step,
    },
    /// Messages that a cuts record counts are not there.
    #[error(
        "{topic}[{partition}] holds {found} of the {expected} messages that pass {pass} put there from offset {first} on: \
         retention or compaction removed them, or the topic was deleted and created again; decide with \
         `tripline offset reset`"
    )]
    Incomplete {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// Number of the pass.
        pass: u64,
        /// First Kafka offset of the range.
        first: i64,
        /// Messages that are there.
        found: u64,
        /// Messages that were published.
        expected: u64,
    },
    /// The client hands nothing over: the broker has more, or does not answer.
    #[error(
        "nothing comes from {topic}[{partition}] at offset {next}: the broker has more, or does not answer"
    )]
    Stalled {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// Kafka offset that was waited for.
        next: i64,
    },
    /// The group's thread does not start.
    #[error("no thread for the consumer group")]
    Thread {
        /// Why.
        #[source]
        source: std::io::Error,
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
    /// The topics belong to another pipeline.
    #[error("{topic} is written by pipeline {pipeline}: give every pipeline a kafka.topic_prefix of its own")]
    OtherPipeline {
        /// The cuts topic.
        topic: String,
        /// Who writes it.
        pipeline: String,
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
    /// Most bytes of keys and rows.
    pub bytes: usize,
    /// Longest wait for more.
    pub wait: Duration,
    /// Most changes of an unfinished pass that stay uncommitted: 0 commits every batch, [`u64::MAX`] whole passes only.
    pub uncommitted: u64,
    /// Leave out what later changes overtake, before the target sees it. Ends by itself when a target needs all of them.
    pub thin: bool,
}

/// Time between two looks at how much stands on the topics, while the target does not keep up.
const COUNT_EVERY: Duration = Duration::from_secs(5);

/// Consumes until `stop`, applying batch by batch to `target`. On stop the batches at hand are still applied.
///
/// `watch` hears what is read and applied. A topic that appears later ends this call with [`ConsumeError::NewTopic`].
pub(crate) async fn run<T: Target>(
    config: &Config,
    target: &mut T,
    limits: Limits,
    stop: &CancellationToken,
    watch: &Arc<TargetWatch>,
) -> Result<(), ConsumeError> {
    consume(config, target, limits, stop, watch, None).await
}

/// Consumes until `stop` as one of several processes, each with the partitions that a consumer group deals out to it.
/// Changes of one key stay in order; there is no order between keys.
pub(crate) async fn run_shared<T: Target>(
    config: &Config,
    target: &mut T,
    limits: Limits,
    stop: &CancellationToken,
    watch: &Arc<TargetWatch>,
) -> Result<(), ConsumeError> {
    let mut members = Membership::join(config, &group(config, target.name()))?;
    loop {
        let share = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            share = members.dealt() => share,
        };
        let Some(share) = share else { continue };
        tracing::info!(partitions = share.len(), "the group dealt out partitions");
        let until = stop.child_token();
        let consumed = async {
            let consumed = consume(config, target, limits, &until, watch, Some(share)).await;
            until.cancel();
            consumed
        };
        let dealing = async {
            tokio::select! {
                () = until.cancelled() => {}
                () = members.changed() => until.cancel(),
            }
        };
        match tokio::join!(consumed, dealing).0 {
            Ok(()) => {}
            // Whoever had the partition before has just finished with it: look again where it stands.
            Err(ConsumeError::Target(TargetError::Overtaken { topic, partition, .. })) => {
                tracing::info!(topic, partition, "another member was still at work on the partition");
            }
            Err(error) => return Err(error),
        }
        if stop.is_cancelled() {
            return Ok(());
        }
    }
}

/// Consumes with changes left out, and from where the target stands with all of them once it needs that.
async fn consume<T: Target>(
    config: &Config,
    target: &mut T,
    mut limits: Limits,
    stop: &CancellationToken,
    watch: &Arc<TargetWatch>,
    share: Option<Arc<Share>>,
) -> Result<(), ConsumeError> {
    loop {
        match attend(config, target, limits, stop, watch, share.clone()).await {
            Err(ConsumeError::Target(TargetError::NeedsAll)) if limits.thin => {
                tracing::info!(
                    "constraints of the target want every change of a key, in order: reading again"
                );
                counter!(catalog::NEEDS_ALL, "target" => target.name()).increment(1);
                limits.thin = false;
            }
            ended => return ended,
        }
    }
}

async fn attend<T: Target>(
    config: &Config,
    target: &mut T,
    limits: Limits,
    stop: &CancellationToken,
    watch: &Arc<TargetWatch>,
    share: Option<Arc<Share>>,
) -> Result<(), ConsumeError> {
    let resumed = tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(()),
        resumed = target.resume() => resumed?,
    };
    let group = group(config, target.name());
    let opening = watch.stage.step("opening the topics");
    let parts = tokio::task::block_in_place(|| Parts::open(config, &group, &resumed, share.clone()))?;
    drop(opening);
    let lag = &watch.task.lag;
    lag.restart(parts.place());
    lag.attend();
    let _counting = AbortOnDropHandle::new(tokio::spawn(count(Arc::new(config.clone()), Arc::clone(watch))));
    let (sender, mut batches) = mpsc::channel(1);
    let free = Arc::new(Semaphore::new(0));
    let cuts = cuts_topic(config.topic_prefix());
    let gatherer = Gatherer::new(parts, resumed.positions, cuts, share, limits, Arc::clone(watch));
    let reading = AbortOnDropHandle::new(tokio::spawn(gatherer.run(sender, Arc::clone(&free), stop.clone())));
    loop {
        // What is gathered waits in one place, where it can still grow.
        free.add_permits(1);
        let Some((batch, tables)) = batches.recv().await else { break };
        let applying = watch.stage.step("applying a batch");
        let began = Instant::now();
        for table in &tables {
            target.prepare(table).await?;
        }
        target.apply(&batch).await?;
        drop(applying);
        tell(target.name(), &batch, began.elapsed(), watch);
    }
    match reading.await {
        Ok(ended) => ended,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// Tells that a batch is applied.
fn tell(target: &'static str, batch: &Batch, took: Duration, watch: &TargetWatch) {
    let (pass, changes) = (batch.cut.pass, batch.changes.len());
    tracing::debug!(target_name = target, pass, changes, "applied");
    counter!(catalog::BATCHES, "target" => target).increment(1);
    counter!(catalog::APPLIED, "target" => target).increment(changes as u64);
    histogram!(catalog::BATCH_ROWS, "target" => target).record(changes as f64);
    histogram!(catalog::BATCH_BYTES, "target" => target).record(batch.bytes as f64);
    histogram!(catalog::APPLY_TIME, "target" => target).record(took);
    if batch.commit {
        watch.task.lag.done_below(batch.covered, pass);
    }
    // Also in the middle of a pass whose rest nobody publishes yet.
    watch.ready();
}

/// Counts what stands on the topics and was not read: at the start, and then while the target does not keep up. Where that
/// cannot be told, what consumes says why.
async fn count(config: Arc<Config>, watch: Arc<TargetWatch>) {
    let task = &watch.task;
    loop {
        let from = task.lag.begin_counting();
        let config = Arc::clone(&config);
        match tokio::task::spawn_blocking(move || count_cuts(&config, from)).await {
            Ok(Ok(Some(ahead))) => {
                task.clock.has_shown(ahead.source_micros);
                task.lag.counted(ahead.last, ahead.rows);
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => {
                tracing::debug!(error = chain(&error), "the cuts topic cannot be counted");
            }
            // Ends with the process.
            Err(_) => return,
        }
        // What is read and not applied waits for the rest of its pass, which nobody may publish for a long time.
        if task.lag.is_read() && watch.stage.is_waiting() {
            watch.ready();
        }
        loop {
            tokio::time::sleep(COUNT_EVERY).await;
            let late = task.lag.seconds(task.clock.now());
            if late.is_some_and(|seconds| seconds > COUNT_EVERY.as_secs_f64()) {
                break;
            }
        }
    }
}

/// Returns the consumer group of a target.
pub fn group(config: &Config, target: &str) -> String {
    format!("{}-{target}", config.pipeline)
}
