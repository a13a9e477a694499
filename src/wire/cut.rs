//! The cuts topic: one record for every published part of a pass, and what the headers of data messages are called.

use serde::{Deserialize, Serialize};

use crate::position::Position;

/// Headers of a data message, in the order in which they are written: `cdc-id`, `epoch`, `pass`, `part`, and
/// [`SCHEMA_HEADER`]. All are decimal numbers in ASCII.
pub const HEADERS: [&str; 4] = ["cdc-id", "epoch", "pass", "part"];
/// The header with the schema version of the table.
pub const SCHEMA_HEADER: &str = "schema-version";

/// What one part of a pass put on the topics. Messages that no cut covers do not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Format version of this record.
    pub format: u32,
    /// Name of the pipeline.
    pub pipeline: String,
    /// Grows by one with every start of the publisher.
    pub epoch: u64,
    /// Number of the pass, from 1.
    pub pass: u64,
    /// Number of the part inside the pass, from 0.
    pub part: u32,
    /// True for the last part of a pass: the state behind it is one the source showed.
    pub done: bool,
    /// Log rows in this part.
    pub rows: u64,
    /// The source's clock when the snapshot of the pass was taken, microseconds since 1970.
    pub source_micros: i64,
    /// Where the publisher stands behind this part.
    pub position: Position,
    /// Identity of the source: system identifier and timeline.
    pub system: u64,
    /// Timeline of the source.
    pub timeline: u32,
    /// For every partition that moved: what belongs to this part.
    pub ranges: Vec<Range>,
}

/// Messages of one partition that belong to a cut: those from `first` up to but not including `next` whose headers
/// name the cut's epoch, pass and part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Kafka offset of the first message.
    pub first: i64,
    /// Kafka offset behind the last message.
    pub next: i64,
    /// How many there are: tombstones count too.
    pub messages: u64,
}
