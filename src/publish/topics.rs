//! Topics: creating them, deleting them, and reading the cuts topic to its end.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use super::PublishError;
use super::kafka::client_config;
use crate::config::Config;
use crate::table::TableName;
use crate::wire::{Cut, cuts_topic, data_topic, schemas_topic};

/// Longest wait for an answer of the cluster.
const ASK: Duration = Duration::from_secs(20);

fn failed(what: &'static str) -> impl Fn(KafkaError) -> PublishError {
    move |source| PublishError::Kafka { what, source }
}

fn admin(config: &Config) -> Result<AdminClient<DefaultClientContext>, PublishError> {
    client_config(&config.kafka).create().map_err(failed("creating the admin client"))
}

/// Returns the topics of these tables and the pipeline's own, with partitions and cleanup policy.
fn wanted(config: &Config, tables: &[TableName]) -> Vec<(String, i32, String)> {
    let prefix = config.topic_prefix();
    let data = tables.iter().map(|table| {
        (data_topic(prefix, table), config.kafka.partitions, config.kafka.cleanup_policy.clone())
    });
    let own =
        [(cuts_topic(prefix), 1, "delete".to_owned()), (schemas_topic(prefix), 1, "compact".to_owned())];
    data.chain(own).collect()
}

/// Creates the topics that are missing; returns their names. Topics that exist are left as they are.
pub async fn create_topics(config: &Config, tables: &[TableName]) -> Result<Vec<String>, PublishError> {
    let wanted = wanted(config, tables);
    let topics: Vec<NewTopic<'_>> = wanted
        .iter()
        .map(|(name, partitions, cleanup)| {
            let replicas = TopicReplication::Fixed(config.kafka.replication_factor);
            let topic = NewTopic::new(name, *partitions, replicas).set("cleanup.policy", cleanup);
            // Unread messages must not expire: the applier decides what is read.
            if cleanup == "delete" { topic.set("retention.ms", "-1") } else { topic }
        })
        .collect();
    let options = AdminOptions::new().operation_timeout(Some(ASK)).request_timeout(Some(ASK));
    let results = admin(config)?.create_topics(&topics, &options).await.map_err(failed("creating topics"))?;
    let mut created = Vec::new();
    for result in results {
        match result {
            Ok(topic) => created.push(topic),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) => return Err(failed("creating topics")(KafkaError::AdminOp(code))),
        }
    }
    Ok(created)
}

/// Deletes the topics of these tables and the pipeline's own; returns the names of those that existed.
pub async fn delete_topics(config: &Config, tables: &[TableName]) -> Result<Vec<String>, PublishError> {
    let wanted = wanted(config, tables);
    let names: Vec<&str> = wanted.iter().map(|(name, ..)| name.as_str()).collect();
    let options = AdminOptions::new().operation_timeout(Some(ASK)).request_timeout(Some(ASK));
    let results = admin(config)?.delete_topics(&names, &options).await.map_err(failed("deleting topics"))?;
    let mut deleted = Vec::new();
    for result in results {
        match result {
            Ok(topic) => deleted.push(topic),
            Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
            Err((_, code)) => return Err(failed("deleting topics")(KafkaError::AdminOp(code))),
        }
    }
    Ok(deleted)
}

/// Deletes a consumer group with its offsets; one that does not exist is fine.
pub async fn delete_group(config: &Config, group: &str) -> Result<(), PublishError> {
    let options = AdminOptions::new().operation_timeout(Some(ASK)).request_timeout(Some(ASK));
    let results = admin(config)?.delete_groups(&[group], &options).await.map_err(failed("deleting the group"))?;
    match results.into_iter().next() {
        Some(Err((_, code))) if code != RDKafkaErrorCode::GroupIdNotFound => {
            Err(failed("deleting the group")(KafkaError::AdminOp(code)))
        }
        _ => Ok(()),
    }
}

/// Returns the topics of these tables and the pipeline's own that do not exist. Blocking.
pub fn missing_topics(config: &Config, tables: &[TableName]) -> Result<Vec<String>, PublishError> {
    let client: BaseConsumer = client_config(&config.kafka).create().map_err(failed("creating the client"))?;
    let metadata = client.fetch_metadata(None, ASK).map_err(failed("asking for the topics"))?;
    let there = |name: &str| metadata.topics().iter().any(|topic| topic.name() == name);
    Ok(wanted(config, tables).into_iter().map(|(name, ..)| name).filter(|name| !there(name)).collect())
}

/// A cuts record and its Kafka offset.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The record.
    pub cut: Cut,
    /// Its Kafka offset.
    pub offset: i64,
}

/// Reads the cuts topic to its end and returns the pipeline's last record, `None` when there is none.
///
/// `known` is the record that the offset file names, by Kafka offset, pass and (inside a pass) part: that very record
/// must be there, else Kafka has lost data. To be called after [`super::Publisher::open`], when nothing of a former publisher is in flight.
pub fn read_last_cut(
    config: &Config,
    known: Option<(i64, u64, Option<u32>)>,
) -> Result<Option<Recorded>, PublishError> {
    let topic = cuts_topic(config.topic_prefix());
    let consumer: BaseConsumer = client_config(&config.kafka)
        .set("group.id", format!("{}-cuts", config.pipeline))
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .create()
        .map_err(failed("creating the cuts reader"))?;
    let (low, high) = consumer.fetch_watermarks(&topic, 0, ASK).map_err(|source| match source {
        KafkaError::MetadataFetch(
            RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownPartition,
        ) => PublishError::NoTopic { topic: topic.clone() },
        source => PublishError::Kafka { what: "asking for the end of the cuts topic", source },
    })?;
    let start = known.map_or(low, |(offset, ..)| offset);
    if start < low || (known.is_some() && start >= high) {
        return Err(PublishError::Contradiction {
            found: format!(
                "the offset file names record {start} of {topic}, but the topic holds {low} to {high}: it was deleted \
                 or recreated, or Kafka has lost data"
            ),
        });
    }
    let mut last = None;
    if high > start {
        let mut assignment = TopicPartitionList::new();
        assignment
            .add_partition_offset(&topic, 0, Offset::Offset(start))
            .map_err(failed("reading the cuts topic"))?;
        consumer.assign(&assignment).map_err(failed("reading the cuts topic"))?;
        read_to(&consumer, &topic, high, |recorded| {
            if let Some((_, pass, part)) = known.filter(|(offset, ..)| *offset == recorded.offset)
                && (recorded.cut.pass != pass || part.is_some_and(|part| part != recorded.cut.part))
            {
                return Err(PublishError::Contradiction {
                    found: format!(
                        "the offset file names pass {pass} at record {start} of {topic}, but pass {} part {} stands \
                         there",
                        recorded.cut.pass, recorded.cut.part
                    ),
                });
            }
            if recorded.cut.pipeline == config.pipeline {
                last = Some(recorded);
            }
            Ok(())
        })?;
    }
    if known.is_some() && last.is_none() {
        return Err(PublishError::Contradiction {
            found: format!("the record {start} of {topic} that the offset file names is gone"),
        });
    }
    Ok(last)
}

fn read_to(
    consumer: &BaseConsumer,
    topic: &str,
    high: i64,
    mut each: impl FnMut(Recorded) -> Result<(), PublishError>,
) -> Result<(), PublishError> {
    let deadline = Instant::now() + Duration::from_secs(60);
    let position = |consumer: &BaseConsumer| {
        let positions = consumer.position().ok()?;
        positions.find_partition(topic, 0)?.offset().to_raw()
    };
    // The position passes over control records at the end, which are never handed out.
    while position(consumer).is_none_or(|next| next < high) {
        if Instant::now() > deadline {
            return Err(PublishError::TimedOut { pass: 0, seconds: 60 });
        }
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Ok(message)) => {
                let cut = message.payload().and_then(|value| serde_json::from_slice(value).ok());
                let offset = message.offset();
                let foreign = || PublishError::Foreign { topic: topic.to_owned(), partition: 0, offset };
                each(Recorded { cut: cut.ok_or_else(foreign)?, offset })?;
            }
            Some(Err(source)) => return Err(failed("reading the cuts topic")(source)),
        }
    }
    Ok(())
}
