//! Why a part is not published.

use crate::table::TableName;

/// Why a part could not be published. The position did not move.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// librdkafka or the broker refused.
    #[error("Kafka: {what} failed")]
    Kafka {
        /// What was being done.
        what: &'static str,
        /// Why.
        #[source]
        source: rdkafka::error::KafkaError,
    },
    /// No broker answered a command.
    #[error("Kafka: no broker answers at {servers}")]
    Unreachable {
        /// `kafka.bootstrap_servers`, and what the last attempt said.
        servers: String,
        /// Why.
        #[source]
        source: rdkafka::error::KafkaError,
    },
    /// A broker and we do not trust each other.
    #[error("Kafka: {broker}: {why}")]
    Distrust {
        /// `host:port`.
        broker: String,
        /// What is wrong and the way out.
        why: String,
    },
    /// A message was given up by the producer.
    #[error("Kafka did not take a message of pass {pass}: {why}")]
    Delivery {
        /// The pass.
        pass: u64,
        /// librdkafka's words.
        why: String,
    },
    /// The broker did not confirm in time.
    #[error("Kafka did not confirm pass {pass} within {seconds} s")]
    TimedOut {
        /// The pass.
        pass: u64,
        /// How long was waited.
        seconds: u64,
    },
    /// A message is larger than the broker or the producer allows.
    #[error(
        "the message for {table} with cdc_id {cdc_id} ({bytes} bytes), or the batch that it was sent in, is larger than \
         Kafka takes: raise max.message.bytes on the topic {topic}, and message.max.bytes in [kafka.options] where \
         messages have more than 1000000 bytes"
    )]
    TooLarge {
        /// Table.
        table: TableName,
        /// Log row.
        cdc_id: u64,
        /// Size of key and value.
        bytes: usize,
        /// Topic.
        topic: String,
    },
    /// Another publisher of the same pipeline took over.
    #[error("another publisher of pipeline {pipeline} has taken over (this one is fenced)")]
    Fenced {
        /// The pipeline.
        pipeline: String,
    },
    /// The broker ended the open transaction, and nobody has published since.
    #[error("Kafka gave up a transaction of pipeline {pipeline} that was open for too long")]
    GivenUp {
        /// The pipeline.
        pipeline: String,
    },
    /// A topic is missing.
    #[error("topic {topic} does not exist: run `tripline init`")]
    NoTopic {
        /// The topic.
        topic: String,
    },
    /// The cuts topic and the offset file contradict each other.
    #[error("{found}; decide with `tripline offset recover` or `tripline offset reset`")]
    Contradiction {
        /// What was found.
        found: String,
    },
    /// The topics belong to another pipeline.
    #[error("{topic} is written by pipeline {pipeline}: give every pipeline a kafka.topic_prefix of its own")]
    OtherPipeline {
        /// The cuts topic.
        topic: String,
        /// Who writes it.
        pipeline: String,
    },
    /// The cuts topic was written by another version.
    #[error(
        "{topic} holds a record at offset {offset} in a format that this version does not know: use the version that wrote it"
    )]
    Format {
        /// The cuts topic.
        topic: String,
        /// Kafka offset.
        offset: i64,
    },
    /// A record on one of our topics is not ours.
    #[error("{topic}[{partition}] holds a record at offset {offset} that tripline did not write")]
    Foreign {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// Kafka offset.
        offset: i64,
    },
}
