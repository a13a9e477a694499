//! The producer: librdkafka behind a handful of blocking calls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BlockingRetryable, ConstantBuilder};
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};

use super::PublishError;
use super::acks::{Acks, Moved, NotConfirmed, TooLarge};
use super::poller::Poller;
use super::topics::failed;
use crate::config;
use crate::wire::Envelope;

/// Longest wait for an answer to a question to the cluster.
const ASK: Duration = Duration::from_secs(20);
/// Longest wait for the answer to one question whether a transaction is committed, and how many of them one line is for.
const ASK_COMMIT: Duration = Duration::from_secs(4);
const SAY_EVERY: u32 = 5;
/// Longest wait until acknowledged messages are handed back.
const HANDED_BACK: Duration = Duration::from_millis(20);
/// Memory for messages that wait to be sent.
const QUEUE_BYTES: u64 = 16 << 20;
/// Wait while the producer's queue is full.
const QUEUE_FULL: Duration = Duration::from_millis(2);

/// Client settings that producers and consumers share; the config's own options come last.
pub(crate) fn client_config(kafka: &config::Kafka) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &kafka.bootstrap_servers);
    client.set("client.id", "tripline");
    client.set("reconnect.backoff.max.ms", "2000");
    for (name, value) in &kafka.options {
        client.set(name, value);
    }
    client
}

/// Takes the value of a property out of librdkafka's complaint about it: it may be a password.
pub(crate) fn without_value(error: KafkaError) -> KafkaError {
    match error {
        KafkaError::ClientConfig(result, why, key, value) => {
            let why = if value.is_empty() { why } else { why.replace(&value, "…") };
            KafkaError::ClientConfig(result, why, key, String::new())
        }
        other => other,
    }
}

/// Asks, and asks again for a few seconds while what was just created, or a broker that just started, finds its place.
pub(crate) fn patiently<T>(ask: impl FnMut() -> Result<T, KafkaError>) -> Result<T, KafkaError> {
    let settling = |error: &KafkaError| {
        matches!(
            error.rdkafka_error_code(),
            Some(
                RDKafkaErrorCode::NotLeaderForPartition
                    | RDKafkaErrorCode::LeaderNotAvailable
                    | RDKafkaErrorCode::NotCoordinator
                    | RDKafkaErrorCode::CoordinatorNotAvailable
                    | RDKafkaErrorCode::CoordinatorLoadInProgress
            )
        )
    };
    ask.retry(ConstantBuilder::new().with_delay(Duration::from_millis(100)).with_max_times(100))
        .when(settling)
        .call()
}

/// Turns delivery reports into [`Acks`].
struct Context(Arc<Acks>);

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "producer");
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, slot: usize) {
        match result {
            Ok(message) => {
                let counts = message.payload().is_some();
                self.0.delivered(slot, message.partition(), message.offset(), counts);
            }
            Err((error, message)) => {
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) {
                    self.0.refused(too_large(message, slot));
                }
                self.0.failed(error.to_string());
            }
        }
    }
}

fn too_large(message: &BorrowedMessage<'_>, slot: usize) -> TooLarge {
    // Other records stand for no row.
    let envelope = message.payload().and_then(Envelope::read);
    let bytes = message.key_len() + message.payload_len();
    TooLarge { slot, cdc_id: envelope.map_or(0, |envelope| envelope.cdc_id), bytes }
}

/// One message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) topic: &'a str,
    pub(super) slot: usize,
    /// `None`: by the key's murmur2, as Java clients do.
    pub(super) partition: Option<i32>,
    pub(super) key: &'a [u8],
    /// `None`: a tombstone.
    pub(super) value: Option<&'a [u8]>,
}

/// Why a message was not even queued.
#[derive(Debug)]
pub(super) enum SendError {
    TooLarge,
    Kafka(KafkaError),
    Delivery(String),
}

impl SendError {
    /// For records that stand for no single row.
    pub(super) fn into_publish(self, pass: u64) -> PublishError {
        match self {
            Self::TooLarge => PublishError::Delivery { pass, why: "message too large".into() },
            Self::Kafka(source) => PublishError::Kafka { what: "sending", source },
            Self::Delivery(why) => PublishError::Delivery { pass, why },
        }
    }
}

/// A producer, transactional or idempotent.
pub(super) struct Producer {
    pipeline: String,
    producer: Arc<BaseProducer<Context>>,
    poller: Poller,
    acks: Arc<Acks>,
    transactional: bool,
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("transactional", &self.transactional).finish_non_exhaustive()
    }
}

impl Producer {
    /// Opens a transactional producer: fences the former owner of the id and ends what it left open.
    pub(super) fn transactional(
        kafka: &config::Kafka,
        pipeline: &str,
        turn: usize,
    ) -> Result<Self, PublishError> {
        let mut client = producer_config(kafka);
        client.set("transactional.id", format!("{pipeline}-{turn}"));
        if !kafka.options.contains_key("transaction.timeout.ms") {
            client.set("transaction.timeout.ms", "60000");
        }
        let producer = Self::create(&client, pipeline, true)?;
        producer
            .producer
            .init_transactions(Duration::from_secs(30))
            .map_err(|source| producer.error("opening the transactional producer", source))?;
        Ok(producer)
    }

    pub(super) fn idempotent(kafka: &config::Kafka, pipeline: &str) -> Result<Self, PublishError> {
        Self::create(&producer_config(kafka), pipeline, false)
    }

    fn create(client: &ClientConfig, pipeline: &str, transactional: bool) -> Result<Self, PublishError> {
        let acks = Arc::new(Acks::default());
        let creating = failed("creating the producer");
        let producer: BaseProducer<Context> =
            client.create_with_context(Context(Arc::clone(&acks))).map_err(&creating)?;
        let producer = Arc::new(producer);
        let poller = Poller::start(Arc::clone(&producer))
            .map_err(|error| creating(KafkaError::ClientCreation(error.to_string())))?;
        Ok(Self { pipeline: pipeline.to_owned(), producer, poller, acks, transactional })
    }

    /// Returns the number of a topic's partitions.
    pub(super) fn partitions(&self, topic: &str) -> Result<i32, PublishError> {
        let metadata = self
            .producer
            .client()
            .fetch_metadata(Some(topic), ASK)
            .map_err(|source| PublishError::Kafka { what: "asking for the topics", source })?;
        let found = metadata.topics().iter().find(|found| found.name() == topic && found.error().is_none());
        let count = found.map_or(0, |found| found.partitions().len());
        if count == 0 {
            return Err(PublishError::NoTopic { topic: topic.to_owned() });
        }
        Ok(i32::try_from(count).unwrap_or(i32::MAX))
    }

    /// Begins a part: forgets the acknowledgements of the last one.
    pub(super) fn begin(&self) -> Result<(), PublishError> {
        self.acks.begin();
        self.poller.wake();
        if self.transactional {
            self.producer
                .begin_transaction()
                .map_err(|source| self.error("beginning a transaction", source))?;
        }
        Ok(())
    }

    /// Queues a message; waits while the queue is full.
    pub(super) fn send(&self, record: Record<'_>) -> Result<(), SendError> {
        let mut base: BaseRecord<'_, [u8], [u8], usize> =
            BaseRecord::with_opaque_to(record.topic, record.slot).key(record.key);
        base.partition = record.partition;
        base.payload = record.value;
        loop {
            match self.producer.send(base) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    if let Some(why) = self.acks.failure() {
                        return Err(SendError::Delivery(why));
                    }
                    std::thread::sleep(QUEUE_FULL);
                    base = back;
                }
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge), _)) => {
                    return Err(SendError::TooLarge);
                }
                Err((error, _)) => return Err(SendError::Kafka(error)),
            }
        }
    }

    /// Waits until `sent` messages of this part are acknowledged.
    pub(super) fn confirm(&self, sent: usize, pass: u64, timeout: Duration) -> Result<(), PublishError> {
        self.acks.wait(sent, timeout).map_err(|not| match not {
            NotConfirmed::Failed(_) if self.is_fenced() => self.fenced(),
            NotConfirmed::Failed(why) => PublishError::Delivery { pass, why },
            NotConfirmed::TimedOut => PublishError::TimedOut { pass, seconds: timeout.as_secs() },
        })
    }

    /// Returns the largest message of this part that the broker refused for its size.
    pub(super) fn too_large(&self) -> Option<TooLarge> {
        self.acks.too_large()
    }

    /// Returns what the acknowledged messages of this part occupy.
    pub(super) fn moved(&self) -> Vec<Moved> {
        self.acks.moved()
    }

    /// Ends a part whose messages are acknowledged: commits, where there are transactions. A time-out is asked again: the
    /// broker may have committed, so nothing is ever aborted here. `waits` is called whenever the broker has not confirmed yet.
    pub(super) fn commit(&self, waits: &dyn Fn()) -> Result<(), PublishError> {
        if self.transactional {
            self.commit_transaction(waits)?;
        }
        self.poller.rest();
        Ok(())
    }

    fn commit_transaction(&self, waits: &dyn Fn()) -> Result<(), PublishError> {
        // The client flushes before it commits. Where the last acknowledged messages are still being handed back, that
        // flush takes its full 100 ms; handing them back takes microseconds.
        let soon = Instant::now() + HANDED_BACK;
        while self.producer.in_flight_count() > 0 && Instant::now() < soon {
            std::thread::sleep(Duration::from_micros(50));
        }
        for attempt in 0.. {
            match self.producer.commit_transaction(ASK_COMMIT) {
                Ok(()) => break,
                Err(KafkaError::Transaction(error)) if error.is_retriable() => {
                    waits();
                    if attempt % SAY_EVERY == SAY_EVERY - 1 {
                        tracing::warn!(error = %error.string(), "the commit is not confirmed yet; asking again");
                    }
                }
                Err(source) => return Err(self.error("committing", source)),
            }
        }
        Ok(())
    }

    /// Tells a fenced producer from every other failure.
    fn error(&self, what: &'static str, source: KafkaError) -> PublishError {
        let fenced = matches!(&source, KafkaError::Transaction(error) if fences(error.code()));
        if fenced || self.is_fenced() { self.fenced() } else { PublishError::Kafka { what, source } }
    }

    fn is_fenced(&self) -> bool {
        self.producer.client().fatal_error().is_some_and(|(code, _)| fences(code))
    }

    fn fenced(&self) -> PublishError {
        PublishError::Fenced { pipeline: self.pipeline.clone() }
    }
}

fn fences(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced | RDKafkaErrorCode::InvalidProducerEpoch
    )
}

/// Returns the larger of `at_least` and the bytes that a message may have: a limit below that would never let one through.
pub(crate) fn room_for_a_message(kafka: &config::Kafka, at_least: u64) -> u64 {
    let chosen = kafka.options.get("message.max.bytes").and_then(|bytes| bytes.parse().ok());
    chosen.map_or(at_least, |bytes: u64| bytes.max(at_least))
}

fn producer_config(kafka: &config::Kafka) -> ClientConfig {
    let mut client = client_config(kafka);
    let queue = room_for_a_message(kafka, QUEUE_BYTES).div_ceil(1024).to_string();
    for (name, value) in [
        ("acks", "all"),
        ("enable.idempotence", "true"),
        ("compression.type", "lz4"),
        ("linger.ms", "0"),
        // While two requests are under way, messages gather for the next: fewer and larger requests, as many as that takes.
        ("max.in.flight.requests.per.connection", "2"),
        ("partitioner", "murmur2_random"),
        ("queue.buffering.max.kbytes", &queue),
        ("queue.buffering.max.messages", "100000"),
        ("delivery.timeout.ms", "60000"),
    ] {
        if !kafka.options.contains_key(name) {
            client.set(name, value);
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_holds_the_largest_message_that_is_allowed() {
        let mut kafka = config::Kafka::default();
        assert_eq!(producer_config(&kafka).get("queue.buffering.max.kbytes"), Some("16384"));
        kafka.options.insert("message.max.bytes".into(), "50000000".into());
        assert_eq!(producer_config(&kafka).get("queue.buffering.max.kbytes"), Some("48829"));
    }
}
