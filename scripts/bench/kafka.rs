//! What `scripts/bench.sh` does with Kafka beside tripline, with the client library that tripline uses.
//!
//! * `produce SERVERS FROM TO MESSAGES`: takes the first messages of a topic of ours, creates a topic of as many
//!   partitions, sends those messages to it again and again, and prints what that took as JSON.
//! * `spread SERVERS FROM TO MESSAGES TOPICS`: the same, over as many topics of one partition, in transactions of a window each.
//! * `watch SERVERS TOPIC`: prints `ready`, then for every committed message the microseconds since 1970 at which it came, and its key.
//! * `delete SERVERS TOPIC…`: deletes topics, if they are there.

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

/// Bytes of keys and values of a transaction that is spread: a window of the publisher.
const WINDOW_BYTES: usize = 8 << 20;

/// Key and value.
type Pair = (Vec<u8>, Vec<u8>);
type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["produce", servers, from, to, messages] => produce(servers, from, to, messages.parse()?),
        ["spread", servers, from, to, messages, topics] => {
            spread(servers, from, to, messages.parse()?, topics.parse()?)
        }
        ["watch", servers, topic] => watch(servers, topic),
        ["delete", servers, ref topics @ ..] => change_topics(servers, async |admin, options| {
            let deleted = admin.delete_topics(topics, options).await?;
            Ok(deleted.into_iter().map(|one| one.map(drop).map_err(|(_, code)| code)).collect())
        }),
        _ => Err("produce SERVERS FROM TO MESSAGES | spread SERVERS FROM TO MESSAGES TOPICS | \
                  watch SERVERS TOPIC | delete SERVERS TOPIC…"
            .into()),
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
    create(servers, &[to], partitions)?;
    let producer: BaseProducer<Answers> = producer(servers).create_with_context(Answers::default())?;
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
        send(&producer, to, (key, value), number)?;
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
    print(acknowledged, failed, stored, bytes, seconds, cpu)
}

fn print(acknowledged: u64, failed: u64, stored: i64, bytes: usize, seconds: f64, cpu: f64) -> Result<()> {
    writeln!(
        std::io::stdout(),
        r#"{{"acknowledged":{acknowledged},"failed":{failed},"stored":{stored},"bytes":{bytes},"seconds":{seconds},"cpu_seconds":{cpu}}}"#,
    )?;
    Ok(())
}

fn create(servers: &str, topics: &[&str], partitions: i32) -> Result<()> {
    change_topics(servers, async |admin, options| {
        let topics: Vec<_> =
            topics.iter().map(|topic| NewTopic::new(topic, partitions, TopicReplication::Fixed(1))).collect();
        let created = admin.create_topics(&topics, options).await?;
        Ok(created.into_iter().map(|one| one.map(drop).map_err(|(_, code)| code)).collect())
    })
}

/// The settings of the publisher.
fn producer(servers: &str) -> ClientConfig {
    let mut client = client(servers);
    for (name, value) in [
        ("acks", "all"),
        ("enable.idempotence", "true"),
        ("compression.type", "lz4"),
        ("linger.ms", "0"),
        ("max.in.flight.requests.per.connection", "2"),
        ("partitioner", "murmur2_random"),
        ("queue.buffering.max.kbytes", "16384"),
        ("queue.buffering.max.messages", "100000"),
    ] {
        client.set(name, value);
    }
    client
}

/// Queues the message of this number; waits while the queue is full.
fn send(
    producer: &BaseProducer<Answers>,
    to: &str,
    (key, value): (&[u8], &[u8]),
    number: usize,
) -> Result<()> {
    let mut record = BaseRecord::to(to).key(key).payload(value);
    while let Err((error, back)) = producer.send(record) {
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
            return Err(error.into());
        }
        producer.poll(Duration::from_millis(2));
        record = back;
    }
    if number.is_multiple_of(256) {
        producer.poll(Duration::ZERO);
    }
    Ok(())
}

/// Two producers in turn, as the publisher has them: one sends while the other's transaction is being committed.
fn spread(servers: &str, from: &str, to: &str, messages: usize, topics: usize) -> Result<()> {
    let (sample, _) = sample(servers, from)?;
    let bytes_of = |(key, value): &Pair| key.len() + value.len();
    let rows = (WINDOW_BYTES * sample.len()).div_ceil(sample.iter().map(bytes_of).sum()).max(topics);
    let names: Vec<String> = (0..topics).map(|topic| format!("{to}.{topic}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    create(servers, &names, 1)?;
    let open = |turn: usize| -> Result<BaseProducer<Answers>> {
        let mut settings = producer(servers);
        settings.set("transactional.id", format!("{to}-{turn}"));
        let producer: BaseProducer<Answers> = settings.create_with_context(Answers::default())?;
        producer.init_transactions(ASK)?;
        Ok(producer)
    };
    let producers = [open(0)?, open(1)?];
    let count = |of: fn(&Answers) -> &AtomicU64| -> u64 {
        producers.iter().map(|producer| of(producer.context()).load(Ordering::Relaxed)).sum()
    };
    // As many messages of each topic as go into one transaction stand together.
    let mut sent = sample.iter().cycle();
    let (mut bytes, mut entries) = (0, 0);
    let mut part = |producer: &BaseProducer<Answers>, rows: usize| -> Result<()> {
        producer.begin_transaction()?;
        for (index, topic) in names.iter().enumerate() {
            let each = rows * (index + 1) / topics - rows * index / topics;
            // Each topic's share ends with the marker of the transaction.
            entries += each + usize::from(each > 0);
            for (number, pair) in sent.by_ref().take(each).enumerate() {
                bytes += bytes_of(pair);
                send(producer, topic, (&pair.0, &pair.1), number)?;
            }
        }
        producer.flush(ASK)?;
        Ok(())
    };
    // What the first requests to a partition cost is not counted.
    for producer in producers.iter().cycle().take(4) {
        part(producer, topics)?;
        producer.commit_transaction(ASK)?;
    }
    let (warm, start, before) = (4 * topics, Instant::now(), cpu_seconds()?);
    std::thread::scope(|scope| -> Result<()> {
        let mut committing: [Option<std::thread::ScopedJoinHandle<'_, _>>; 2] = [None, None];
        let (mut left, mut turn) = (messages, 0);
        while left > 0 {
            let (producer, rows) = (&producers[turn], rows.min(left));
            if let Some(committed) = committing[turn].take() {
                committed.join().map_err(|_| "a commit panicked")??;
            }
            part(producer, rows)?;
            committing[turn] = Some(scope.spawn(|| producer.commit_transaction(ASK)));
            (left, turn) = (left - rows, 1 - turn);
        }
        for committed in committing.into_iter().flatten() {
            committed.join().map_err(|_| "a commit panicked")??;
        }
        Ok(())
    })?;
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds()? - before);
    // A commit is confirmed before its markers stand in all partitions.
    let (markers, until) = (entries - warm - messages, Instant::now() + ASK);
    let stored = loop {
        let mut stored = 0;
        for topic in &names {
            let (low, high) = producers[0].client().fetch_watermarks(topic, 0, ASK)?;
            stored += usize::try_from(high - low)?;
        }
        if stored >= entries || Instant::now() > until {
            break i64::try_from(stored)? - i64::try_from(warm + markers)?;
        }
    };
    let acknowledged = count(|answers| &answers.acknowledged) - u64::try_from(warm)?;
    print(acknowledged, count(|answers| &answers.failed), stored, bytes, seconds, cpu)
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
