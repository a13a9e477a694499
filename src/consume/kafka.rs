//! The consumer: one queue per partition, drawn from exactly as far as a cut says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{FutureExt as _, StreamExt};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::stream_consumer::StreamPartitionQueue;
use rdkafka::consumer::{CommitMode, Consumer, DefaultConsumerContext, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use super::{ConsumeError, Positions, Share};
use crate::config::{self, Config};
use crate::event::{Images, Op};
use crate::publish::{client_config, patiently, room_for_a_message, without_value};
use crate::wire::{Envelope, Stamp, cuts_topic, schemas_topic};

/// Longest wait for an answer of the cluster.
const ASK: Duration = Duration::from_secs(20);
/// Time without a message before the broker is asked whether it has more.
const QUIET: Duration = Duration::from_secs(15);
/// Longest wait for that answer.
const LOOK: Duration = Duration::from_secs(5);
/// Memory for messages that were fetched ahead, over all partitions.
const AHEAD_KBYTES: usize = 8 * 1024;
/// Bytes that one answer of a broker holds, compressed: narrow rows are ten times as much once they are unpacked, and more
/// with what the client keeps beside each message.
const FETCH_BYTES: u64 = 1 << 20;
/// The same for one partition.
const PARTITION_FETCH_BYTES: &str = "262144";

type Queue = StreamPartitionQueue<DefaultConsumerContext>;

/// One message, copied out of librdkafka.
pub(super) struct Record {
    pub(super) offset: i64,
    pub(super) body: Body,
}

/// What a message is.
pub(super) enum Body {
    /// A change that the publisher wrote; its table follows from topic and version.
    Change { stamp: Stamp, cdc_id: u64, op: Op, images: Images },
    /// A key without a value.
    Tombstone,
    /// The value of any other message: of the cuts topic, of the schemas topic, or a stranger's.
    Other(Box<[u8]>),
}

impl Record {
    /// Returns the value of a message that is no change.
    pub(super) fn value(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Other(value) => Some(value),
            Body::Change { .. } | Body::Tombstone => None,
        }
    }
}

/// A consumer of the pipeline's topics from given positions.
pub(super) struct Reader {
    consumer: Arc<StreamConsumer>,
    queues: BTreeMap<(String, i32), Queue>,
    /// Where each partition was begun.
    starts: BTreeMap<(String, i32), i64>,
    watch: Mutex<Watch>,
}

/// What was found when nothing had come for a while.
struct Watch {
    /// When to look again.
    due: Instant,
    /// The partition that was waited for, its next offset, and whether the broker had more or gave no answer.
    found: Option<(String, i32, i64, bool)>,
}

impl Watch {
    fn new() -> Self {
        Self { due: Instant::now() + QUIET, found: None }
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("partitions", &self.queues.len()).finish_non_exhaustive()
    }
}

pub(super) fn failed(what: &'static str) -> impl Fn(KafkaError) -> ConsumeError {
    move |source| ConsumeError::Kafka { what, source: without_value(source) }
}

/// Consumers read committed messages only and never reset by themselves.
pub(super) fn consumer_config(kafka: &config::Kafka, group: &str) -> rdkafka::ClientConfig {
    let mut client = client_config(kafka);
    client.set("group.id", group);
    // librdkafka refuses to fetch less than a message may have.
    let fetch = room_for_a_message(kafka, FETCH_BYTES).to_string();
    for (name, value) in [
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("auto.offset.reset", "error"),
        ("isolation.level", "read_committed"),
        // A request that waits for one partition holds up the others: while a part is put together from all of them,
        // that is the usual case.
        ("fetch.wait.max.ms", "10"),
        ("fetch.queue.backoff.ms", "5"),
        ("fetch.max.bytes", &fetch),
        ("max.partition.fetch.bytes", PARTITION_FETCH_BYTES),
    ] {
        if !kafka.options.contains_key(name) {
            client.set(name, value);
        }
    }
    client
}

impl Reader {
    /// Reads the pipeline's topics from `positions`, or from offset 0 where there is none: all partitions, or of the
    /// data topics those of a share. Blocking.
    pub(super) fn open(
        config: &Config,
        group: &str,
        positions: &Positions,
        share: Option<&Share>,
    ) -> Result<Self, ConsumeError> {
        let mut client = consumer_config(&config.kafka, group);
        let probe: StreamConsumer = client.create().map_err(failed("creating the consumer"))?;
        let mut partitions = topics(&probe, config.topic_prefix())?;
        drop(probe);
        if let Some(share) = share {
            let common = [cuts_topic(config.topic_prefix()), schemas_topic(config.topic_prefix())];
            partitions.retain(|partition| common.contains(&partition.0) || share.contains(partition));
        }
        let share = (AHEAD_KBYTES / partitions.len().max(1)).clamp(64, 2048);
        client.set("queued.max.messages.kbytes", share.to_string());
        loop {
            // Rarely a message comes between assigning and splitting: a new client begins where this one did.
            if let Some(reader) = Self::assigned(&client, &partitions, positions)? {
                return Ok(reader);
            }
        }
    }

    /// Makes a client with a queue for every partition; `None` when a message came before its partition's queue.
    fn assigned(
        client: &ClientConfig,
        partitions: &[(String, i32)],
        positions: &Positions,
    ) -> Result<Option<Self>, ConsumeError> {
        let consumer: Arc<StreamConsumer> =
            Arc::new(client.create().map_err(failed("creating the consumer"))?);
        let mut assignment = TopicPartitionList::new();
        for (topic, partition) in partitions {
            let next = positions.get(&(topic.clone(), *partition)).copied().unwrap_or(0);
            assignment
                .add_partition_offset(topic, *partition, Offset::Offset(next))
                .map_err(failed("assigning partitions"))?;
        }
        consumer.assign(&assignment).map_err(failed("assigning partitions"))?;
        let mut queues = BTreeMap::new();
        let start = |slot: (String, i32)| (slot.clone(), positions.get(&slot).copied().unwrap_or(0));
        let starts = partitions.iter().cloned().map(start).collect();
        for (topic, partition) in partitions {
            let queue = consumer
                .split_partition_queue(topic, *partition)
                .ok_or_else(|| ConsumeError::NoTopic { topic: topic.clone() })?;
            queues.insert((topic.clone(), *partition), queue);
        }
        // What came early is in the main queue by now; nothing else will come there but errors.
        match consumer.recv().now_or_never() {
            Some(Ok(_)) => return Ok(None),
            Some(Err(source)) => return Err(failed("reading")(source)),
            None => {}
        }
        Ok(Some(Self { consumer, queues, starts, watch: Mutex::new(Watch::new()) }))
    }

    /// Tells whether this reader has the partition.
    pub(super) fn has(&self, topic: &str, partition: i32) -> bool {
        self.queues.contains_key(&(topic.to_owned(), partition))
    }

    /// Returns the next message of a partition. Cancel-safe.
    ///
    /// Errors of the whole client (broker gone, login refused) come over the main queue, which is watched too.
    pub(super) async fn next(&self, topic: &str, partition: i32) -> Result<Record, ConsumeError> {
        let queue = self.queue(topic, partition)?;
        loop {
            let due = self.watch().due;
            tokio::select! {
                biased;
                message = queue.recv() => {
                    *self.watch() = Watch::new();
                    return record(topic, partition, message);
                }
                event = self.consumer.recv() => return match event {
                    Err(source) => Err(failed("reading")(source)),
                    Ok(message) => Err(ConsumeError::Foreign {
                        topic: message.topic().to_owned(),
                        partition: message.partition(),
                        offset: message.offset(),
                    }),
                },
                () = tokio::time::sleep_until(due.into()) => {
                    tokio::task::block_in_place(|| self.look(topic, partition))?;
                }
            }
        }
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the broker whether it has more of a partition that nothing comes from. What it had at two looks and has not
    /// handed over will not come, nor an answer that did not come twice: behind a restart of its broker a consumer of
    /// librdkafka may wait for ever, without an error and without a connection. A new one finds the broker. Blocking.
    fn look(&self, topic: &str, partition: i32) -> Result<(), ConsumeError> {
        let start = self.starts.get(&(topic.to_owned(), partition)).copied().unwrap_or(0);
        let next = self.position(topic, partition).unwrap_or(start);
        let mut watch = self.watch();
        watch.due = Instant::now() + QUIET;
        let answer = self.consumer.fetch_watermarks(topic, partition, LOOK);
        let missing = answer.map_or(true, |(_, end)| end > next);
        let found = (topic.to_owned(), partition, next, missing);
        let stalled = missing && watch.found.as_ref() == Some(&found);
        watch.found = Some(found);
        if stalled {
            return Err(ConsumeError::Stalled { topic: topic.to_owned(), partition, next });
        }
        Ok(())
    }

    /// Hands every message of a partition that is at hand to `each`, until it returns false.
    pub(super) async fn drain(
        &self,
        topic: &str,
        partition: i32,
        mut each: impl FnMut(Record) -> bool,
    ) -> Result<(), ConsumeError> {
        let mut stream = self.queue(topic, partition)?.stream();
        while let Some(Some(message)) = futures_util::FutureExt::now_or_never(stream.next()) {
            if !each(record(topic, partition, message)?) {
                break;
            }
        }
        Ok(())
    }

    /// Returns the next offset of a partition: it passes over control records and removed messages. `None` before the first.
    pub(super) fn position(&self, topic: &str, partition: i32) -> Option<i64> {
        let position = self.consumer.position().ok()?.find_partition(topic, partition)?.offset().to_raw();
        position.filter(|next| *next >= 0)
    }

    fn queue(&self, topic: &str, partition: i32) -> Result<&Queue, ConsumeError> {
        let missing = || ConsumeError::NoTopic { topic: topic.to_owned() };
        self.queues.get(&(topic.to_owned(), partition)).ok_or_else(missing)
    }
}

/// Returns the partitions of the pipeline's own topics and of every data topic under its prefix.
fn topics(consumer: &StreamConsumer, prefix: &str) -> Result<Vec<(String, i32)>, ConsumeError> {
    let metadata = consumer.fetch_metadata(None, ASK).map_err(failed("asking for the topics"))?;
    let ours = |name: &str| name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'));
    let found = metadata.topics().iter().filter(|topic| ours(topic.name()) && topic.error().is_none());
    let partitions: Vec<(String, i32)> = found
        .flat_map(|topic| {
            topic.partitions().iter().map(|partition| (topic.name().to_owned(), partition.id()))
        })
        .collect();
    for topic in [cuts_topic(prefix), schemas_topic(prefix)] {
        if !partitions.iter().any(|(name, _)| *name == topic) {
            return Err(ConsumeError::NoTopic { topic });
        }
    }
    Ok(partitions)
}

fn record(
    topic: &str,
    partition: i32,
    message: Result<BorrowedMessage<'_>, KafkaError>,
) -> Result<Record, ConsumeError> {
    let message = message.map_err(|source| match &source {
        KafkaError::MessageConsumption(
            RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange,
        ) => ConsumeError::Gone { topic: topic.to_owned(), partition },
        _ => failed("reading")(source),
    })?;
    let body = match message.payload() {
        None => Body::Tombstone,
        Some(value) => {
            change(message.key().unwrap_or_default(), value).unwrap_or_else(|| Body::Other(value.into()))
        }
    };
    Ok(Record { offset: message.offset(), body })
}

/// Reads a message of a data topic; `None` where it is none that the publisher wrote.
fn change(key: &[u8], value: &[u8]) -> Option<Body> {
    let Envelope { stamp, cdc_id, op, row } = Envelope::read(value)?;
    Some(Body::Change { stamp: stamp?, cdc_id, op, images: Images::new(key, &value[row]) })
}

/// Positions kept as the offsets of a consumer group: the mirror's, and what people see of the applier.
pub struct GroupOffsets {
    consumer: StreamConsumer,
    partitions: Vec<(String, i32)>,
    /// Topics without changes of tables.
    common: [String; 2],
}

impl std::fmt::Debug for GroupOffsets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupOffsets").field("partitions", &self.partitions.len()).finish_non_exhaustive()
    }
}

impl GroupOffsets {
    /// Opens the offsets of `group` over the pipeline's topics. Blocking.
    pub fn open(config: &Config, group: &str) -> Result<Self, ConsumeError> {
        let consumer: StreamConsumer =
            consumer_config(&config.kafka, group).create().map_err(failed("creating the consumer"))?;
        let topics = topics(&consumer, config.topic_prefix())?;
        let common = [cuts_topic(config.topic_prefix()), schemas_topic(config.topic_prefix())];
        Ok(Self { consumer, partitions: topics, common })
    }

    /// Returns the partitions that changes of tables are in.
    pub fn data_partitions(&self) -> impl Iterator<Item = &(String, i32)> {
        self.partitions.iter().filter(|(topic, _)| !self.common.contains(topic))
    }

    /// Returns the committed offsets. Blocking.
    pub fn load(&self) -> Result<Positions, ConsumeError> {
        let mut asked = TopicPartitionList::new();
        for (topic, partition) in &self.partitions {
            asked.add_partition(topic, *partition);
        }
        let committed = patiently(|| self.consumer.committed_offsets(asked.clone(), ASK))
            .map_err(failed("reading the group's offsets"))?;
        let positions = committed.elements().into_iter().filter_map(|element| match element.offset() {
            Offset::Offset(next) => Some(((element.topic().to_owned(), element.partition()), next)),
            _ => None,
        });
        Ok(positions.collect())
    }

    /// Commits offsets. Blocking.
    pub fn save(&self, positions: &Positions) -> Result<(), ConsumeError> {
        let mut list = TopicPartitionList::new();
        for ((topic, partition), next) in positions {
            list.add_partition_offset(topic, *partition, Offset::Offset(*next))
                .map_err(failed("committing the group's offsets"))?;
        }
        patiently(|| self.consumer.commit(&list, CommitMode::Sync))
            .map_err(failed("committing the group's offsets"))
    }
}
