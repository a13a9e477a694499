//! The topics as any `read_committed` reader sees them, and messages of strangers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio_postgres::Client;
use tripline::config::Delivery;
use tripline::wire::Envelope;

use super::stores::{self, on_a_runtime_of_its_own};
use crate::db::rows;
use crate::history::check;

const ASK: Duration = Duration::from_secs(20);
const READ: Duration = Duration::from_secs(60);

/// A data message.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) partition: i32,
    pub(crate) cdc_id: u64,
    pub(crate) key: String,
    /// `None` for a tombstone.
    pub(crate) value: Option<String>,
}

/// The topics under a pipeline's prefix.
pub(crate) struct Topics {
    pub(crate) servers: String,
    prefix: String,
}

impl Topics {
    pub(crate) fn new(prefix: &str) -> Self {
        let servers = std::env::var("TRIPLINE_TEST_KAFKA").unwrap_or("127.0.0.1:9092".into());
        Self { servers, prefix: prefix.to_owned() }
    }

    /// Returns a topic's name: of a table `public.orders`, or `tripline.cuts`.
    pub(crate) fn name(&self, of: &str) -> String {
        format!("{}.{of}", self.prefix)
    }

    fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.servers);
        client
    }

    /// Reads a table's topic from the beginning to the end, partition by partition in order. Blocking.
    pub(crate) fn read(&self, table: &str) -> Vec<Message> {
        let topic = self.name(&format!("public.{table}"));
        let consumer: BaseConsumer = self
            .client()
            .set("group.id", "it-reader")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .create()
            .unwrap();
        let metadata = consumer.fetch_metadata(Some(&topic), ASK).unwrap();
        let mut assignment = TopicPartitionList::new();
        let mut ends = BTreeMap::new();
        for partition in metadata.topics()[0].partitions() {
            let (_, end) = consumer.fetch_watermarks(&topic, partition.id(), ASK).unwrap();
            assignment.add_partition_offset(&topic, partition.id(), Offset::Beginning).unwrap();
            ends.insert(partition.id(), end);
        }
        consumer.assign(&assignment).unwrap();
        let mut messages = Vec::new();
        let deadline = Instant::now() + READ;
        while !self.at_end(&consumer, &topic, &ends) {
            assert!(Instant::now() < deadline, "{topic} was not read to its end {ends:?}");
            let Some(message) = consumer.poll(Duration::from_millis(50)) else { continue };
            let message = message.unwrap();
            let key = String::from_utf8(message.key().unwrap().into()).unwrap();
            // A tombstone is its delete's.
            let delete = messages.iter().rfind(|before: &&Message| before.partition == message.partition());
            let cdc_id = match message.payload() {
                Some(value) => Envelope::read(value).unwrap().cdc_id,
                None => delete.filter(|delete| delete.key == key).unwrap().cdc_id,
            };
            let value = message.payload().map(|value| String::from_utf8(value.into()).unwrap());
            messages.push(Message { partition: message.partition(), cdc_id, key, value });
        }
        // Stable: inside a partition the order stays the one in which it was read.
        messages.sort_by_key(|message| message.partition);
        messages
    }

    fn at_end(&self, consumer: &BaseConsumer, topic: &str, ends: &BTreeMap<i32, i64>) -> bool {
        let position = consumer.position().unwrap();
        ends.iter().all(|(partition, end)| {
            let next = position.find_partition(topic, *partition).and_then(|found| found.offset().to_raw());
            *end == 0 || next.is_some_and(|next| next >= *end)
        })
    }

    /// Puts a message that is not ours onto a topic; returns its offset. Blocking.
    pub(crate) fn disturb(&self, topic: &str, partition: i32) -> i64 {
        let producer: BaseProducer = self.client().create().unwrap();
        let record = BaseRecord::to(topic).partition(partition).key("stranger").payload("not ours");
        producer.send(record).unwrap();
        producer.flush(ASK).unwrap();
        producer.client().fetch_watermarks(topic, partition, ASK).unwrap().1 - 1
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().unwrap()
    }

    /// Deletes a topic and creates it again with as many partitions, and waits until both is done.
    pub(crate) async fn recreate(&self, topic: &str) {
        let (admin, options) = (self.admin(), AdminOptions::new().operation_timeout(Some(ASK)));
        let count = self.partitions(topic);
        admin.delete_topics(&[topic], &options).await.unwrap()[0].as_ref().unwrap();
        let new = NewTopic::new(topic, i32::try_from(count).unwrap(), TopicReplication::Fixed(1));
        // The broker takes a moment to forget it.
        let deadline = Instant::now() + READ;
        while admin.create_topics([&new], &options).await.unwrap()[0].is_err() {
            assert!(Instant::now() < deadline, "{topic} is not created again");
        }
        while self.partitions(topic) != count {
            assert!(Instant::now() < deadline, "{topic} is not there again");
        }
    }

    /// Adds partitions to a topic.
    pub(crate) async fn widen(&self, topic: &str, partitions: usize) {
        let options = AdminOptions::new().operation_timeout(Some(ASK));
        let wider = NewPartitions::new(topic, partitions);
        self.admin().create_partitions([&wider], &options).await.unwrap()[0].as_ref().unwrap();
    }

    /// Sets the largest batch of messages that a topic takes, in bytes.
    pub(crate) async fn limit(&self, topic: &str, bytes: u64) {
        let bytes = bytes.to_string();
        let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set("max.message.bytes", &bytes);
        let options = AdminOptions::new().operation_timeout(Some(ASK));
        self.admin().alter_configs([&change], &options).await.unwrap()[0].as_ref().unwrap();
    }

    /// Removes the messages of a partition below an offset, as retention does.
    pub(crate) async fn expire(&self, topic: &str, partition: i32, below: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(below)).unwrap();
        self.admin().delete_records(&list, &AdminOptions::new()).await.unwrap();
    }

    /// Returns the offsets that a partition begins and ends with.
    pub(crate) fn ends(&self, topic: &str, partition: i32) -> (i64, i64) {
        self.admin().inner().fetch_watermarks(topic, partition, ASK).unwrap()
    }

    fn partitions(&self, topic: &str) -> usize {
        let metadata = self.admin().inner().fetch_metadata(Some(topic), ASK).unwrap();
        metadata.topics()[0].partitions().len()
    }

    /// Checks what `exactly_once` promises for every table: [`check::topic`]. Returns the number of messages.
    pub(crate) async fn assert_exactly_once(&self, source: &Client) -> usize {
        self.assert_published(source, Delivery::ExactlyOnce).await
    }

    /// Checks every table's topic against its log: [`check::topic`]. Returns the number of messages.
    pub(crate) async fn assert_published(&self, source: &Client, delivery: Delivery) -> usize {
        let mut count = 0;
        for table in stores::tables(source).await {
            let log = rows(source, &format!("select cdc_id, cdc_op from cdc.{table}_cdc")).await;
            let log: BTreeMap<u64, String> =
                log.into_iter().map(|row| (row[0].parse().unwrap(), row[1].clone())).collect();
            let messages = tokio::task::block_in_place(|| self.read(&table));
            check::topic(&log, &messages, delivery).unwrap_or_else(|wrong| panic!("{table}: {wrong}"));
            count += messages.len();
        }
        count
    }

    /// Deletes all topics under the prefix and the mirror's group. Blocking.
    pub(crate) fn delete_all(&self) -> Result<(), String> {
        let admin: AdminClient<DefaultClientContext> =
            self.client().create().map_err(|error| error.to_string())?;
        let prefix = format!("{}.", self.prefix);
        let metadata = admin.inner().fetch_metadata(None, ASK).map_err(|error| error.to_string())?;
        let names = metadata.topics().iter().map(|topic| topic.name());
        let topics: Vec<String> = names.filter(|name| name.starts_with(&prefix)).map(str::to_owned).collect();
        let group = format!("{}-clickhouse", self.prefix);
        on_a_runtime_of_its_own(async move {
            let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
            let options = AdminOptions::new().request_timeout(Some(ASK));
            if !topics.is_empty() {
                admin.delete_topics(&topics, &options).await.map_err(|error| error.to_string())?;
            }
            admin.delete_groups(&[&group], &options).await.map(drop).map_err(|error| error.to_string())
        })
    }
}
