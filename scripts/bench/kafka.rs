//! What `scripts/bench.sh` does with Kafka beside tripline, with the client library that tripline uses.
//!
//! * `produce SERVERS FROM TO MESSAGES`: takes the first messages of a topic of ours, creates a topic of as many
//!   partitions, sends those messages to it again and again, and prints what that took as JSON.
//! * `watch SERVERS TOPIC`: prints `ready`, then for every committed message the microseconds since 1970 at which it came, and its key.
//! * `delete SERVERS TOPIC`: deletes a topic, if it is there.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

/// Longest wait for an answer of the cluster.
const ASK: Duration = Duration::from_secs(20);
/// Messages that are kept in memory to be sent again and again.
const SAMPLE: usize = 50_000;

/// Key and value.
type Pair = (Vec<u8>, Vec<u8>);
type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["produce", servers, from, to, messages] => produce(servers, from, to, messages.parse()?),
        ["watch", servers, topic] => watch(servers, topic),
        ["delete", servers, topic] => change_topics(servers, async |admin, options| {
            let deleted = admin.delete_topics(&[topic], options).await?;
            Ok(deleted.into_iter().map(|one| one.map(drop).map_err(|(_, code)| code)).collect())
        }),
        _ => Err("produce SERVERS FROM TO MESSAGES | watch SERVERS TOPIC | delete SERVERS TOPIC".into()),
    }
}

fn client(servers: &str) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", servers);
    client
}

/// Creates or deletes; what is done already is fine.
fn change_topics(
    servers: &str,
    ask: impl AsyncFnOnce(
        &AdminClient<DefaultClientContext>,
        &AdminOptions,
    ) -> Result<Vec<std::result::Result<(), RDKafkaErrorCode>>>,
) -> Result<()> {
    let admin: AdminClient<_> = client(servers).create()?;
    let options = AdminOptions::new().operation_timeout(Some(ASK)).request_timeout(Some(ASK));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for result in runtime.block_on(ask(&admin, &options))? {
        match result {
            Ok(()) | Err(RDKafkaErrorCode::UnknownTopicOrPartition) => {}
            Err(code) => return Err(KafkaError::AdminOp(code).into()),
        }
    }
    Ok(())
}

/// Opens a reader of all partitions of a topic from their beginning; returns it with the number of partitions.
fn reader(servers: &str, topic: &str) -> Result<(BaseConsumer, i32)> {
    let consumer: BaseConsumer = client(servers)
        .set("group.id", "none")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        // As tripline's own consumer: a request that waits for one partition holds up the others.
        .set("fetch.wait.max.ms", "10")
        .set("fetch.queue.backoff.ms", "5")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(topic), ASK)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic && found.error().is_none());
    let partitions = i32::try_from(found.map_or(0, |found| found.partitions().len()))?;
    if partitions == 0 {
        return Err(format!("there is no topic {topic}").into());
    }
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    Ok((consumer, partitions))
}

fn watch(servers: &str, topic: &str) -> Result<()> {
    let (consumer, partitions) = reader(servers, topic)?;
    let mut out = std::io::stdout().lock();
    let mut begun = BTreeSet::new();
    loop {
        match consumer.poll(ASK) {
            None => {}
            Some(Ok(message)) => {
                // A line is handed on at once.
                let at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
                let key = message.key().unwrap_or_default();
                writeln!(out, "{at} {}", String::from_utf8_lossy(key))?;
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                let first = begun.insert(partition);
                if first && i32::try_from(begun.len())? == partitions {
                    writeln!(out, "ready")?;
                }
            }
            Some(Err(error)) => return Err(error.into()),
        }
    }
}

/// Counts the answers of the broker.
#[derive(Default)]
struct Answers {
    acknowledged: AtomicU64,
    failed: AtomicU64,
}

impl ClientContext for Answers {}

impl ProducerContext for Answers {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let count = if result.is_ok() { &self.acknowledged } else { &self.failed };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

fn produce(servers: &str, from: &str, to: &str, messages: usize) -> Result<()> {
    let (sample, partitions) = sample(servers, from)?;
    change_topics(servers, async |admin, options| {
        let topic = NewTopic::new(to, partitions, TopicReplication::Fixed(1));
        let created = admin.create_topics(&[topic], options).await?;
        Ok(created.into_iter().map(|one| one.map(drop).map_err(|(_, code)| code)).collect())
    })?;
    // The settings of the publisher.
    let producer: BaseProducer<Answers> = client(servers)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("compression.type", "lz4")
        .set("linger.ms", "0")
        .set("max.in.flight.requests.per.connection", "2")
        .set("partitioner", "murmur2_random")
        .set("queue.buffering.max.kbytes", "16384")
        .set("queue.buffering.max.messages", "100000")
        .create_with_context(Answers::default())?;
    // What the first message to a partition costs is not counted.
    for partition in 0..partitions {
        producer
            .send(BaseRecord::<(), _>::to(to).partition(partition).payload("first"))
            .map_err(|(error, _)| error)?;
    }
    producer.flush(ASK)?;
    let mut bytes = 0;
    let (start, before) = (Instant::now(), cpu_seconds()?);
    for (number, (key, value)) in sample.iter().cycle().take(messages).enumerate() {
        bytes += key.len() + value.len();
        let mut record = BaseRecord::to(to).key(&key[..]).payload(&value[..]);
        while let Err((error, back)) = producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            producer.poll(Duration::from_millis(2));
            record = back;
        }
        if number % 256 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(ASK)?;
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds()? - before);
    let answers = producer.context();
    let acknowledged = answers.acknowledged.load(Ordering::Relaxed) - u64::try_from(partitions)?;
    let failed = answers.failed.load(Ordering::Relaxed);
    let mut stored = -i64::from(partitions);
    for partition in 0..partitions {
        let (low, high) = producer.client().fetch_watermarks(to, partition, ASK)?;
        stored += high - low;
    }
    writeln!(
        std::io::stdout(),
        r#"{{"acknowledged":{acknowledged},"failed":{failed},"stored":{stored},"bytes":{bytes},"seconds":{seconds},"cpu_seconds":{cpu}}}"#,
    )?;
    Ok(())
}

/// Returns the first messages of a topic as keys and values, and the number of its partitions.
fn sample(servers: &str, topic: &str) -> Result<(Vec<Pair>, i32)> {
    let (consumer, partitions) = reader(servers, topic)?;
    let (mut found, mut ended) = (Vec::new(), BTreeSet::new());
    while found.len() < SAMPLE && i32::try_from(ended.len())? < partitions {
        match consumer.poll(ASK) {
            Some(Ok(message)) => found.push((
                message.key().unwrap_or_default().to_vec(),
                message.payload().unwrap_or_default().to_vec(),
            )),
            Some(Err(KafkaError::PartitionEOF(partition))) => _ = ended.insert(partition),
            Some(Err(error)) => return Err(error.into()),
            None => return Err(format!("nothing came from {topic}").into()),
        }
    }
    if found.is_empty() { Err(format!("{topic} is empty").into()) } else { Ok((found, partitions)) }
}

/// Returns the user and system time of this process; Linux counts in hundredths of a second.
fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
    let ticks: Vec<f64> = fields.map(str::parse).collect::<std::result::Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / 100.0)
}
