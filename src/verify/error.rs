//! Why a table could not be compared.

use crate::capture::CaptureError;
use crate::consume::{ConsumeError, TargetError};
use crate::publish::PublishError;
use crate::session::SessionError;
use crate::table::TableName;
use crate::wire::WireError;

/// Why tables could not be compared. Holds no row values.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// No session.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The registry cannot be read.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The cuts topic cannot be read.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The positions of the mirror cannot be read.
    #[error(transparent)]
    Consume(#[from] ConsumeError),
    /// A target does not answer as it should.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A statement failed. The server's own words are left out where they could quote values.
    #[error("{what} at the {side} failed: {why}")]
    Query {
        /// What was asked.
        what: &'static str,
        /// `source` or `destination`.
        side: &'static str,
        /// Message, or code alone.
        why: String,
    },
    /// A table named on the command line is not captured.
    #[error("{name} is no captured table: name it as schema.table; captured are {captured}")]
    NotCaptured {
        /// What was asked for.
        name: String,
        /// All captured tables.
        captured: String,
    },
    /// The target has no position yet.
    #[error(
        "{target} has applied nothing of pipeline {pipeline} yet: start `tripline apply` and let a change arrive"
    )]
    NothingApplied {
        /// `postgres` or `clickhouse`.
        target: &'static str,
        /// The pipeline.
        pipeline: String,
    },
    /// The destination is not brought to cuts.
    #[error(
        "with apply.consistency = \"key\" the destination holds no cut to compare at: change it to \"cut\" and let the \
         applier take everything over"
    )]
    PerKey,
    /// The record that tells which state the target shows is gone.
    #[error(
        "record {offset} of the cuts topic, up to which {target} has applied, is not there: retention removed it or the \
         topic was made anew; it tells which state the target shows, so let one more change be applied and try again"
    )]
    CutGone {
        /// `postgres` or `clickhouse`.
        target: &'static str,
        /// Kafka offset of the record.
        offset: i64,
    },
    /// The record belongs to another cut than the destination says.
    #[error(
        "the destination shows pass {applied} of epoch {epoch}, but record {offset} of the cuts topic is of pass \
         {found}: the topic was made anew; see `tripline offset reset`"
    )]
    OtherCut {
        /// Kafka offset of the record.
        offset: i64,
        /// Pass by the destination.
        applied: i64,
        /// Epoch by the destination.
        epoch: i64,
        /// Pass by the record.
        found: u64,
    },
    /// The source shows less than the target was given.
    #[error(
        "the source is not where the applied cuts come from ({why}): point source.url at the server that is published"
    )]
    OtherSource {
        /// What contradicts.
        why: String,
    },
    /// Log rows behind the applied cut are gone.
    #[error(
        "{target} has applied pass {pass}, and retention has removed log rows behind that, up to cdc_id {removed_to}: which \
         rows are only on their way cannot be told; let the applier catch up and repeat it (retention.keep_hours is how long it \
         may be away)"
    )]
    Removed {
        /// `postgres` or `clickhouse`.
        target: &'static str,
        /// The pass.
        pass: u64,
        /// The `cdc_id` up to which rows were removed.
        removed_to: u64,
    },
    /// The table is not at the destination.
    #[error("table {0} is not at the destination: run `tripline init`, or create it")]
    NoTable(TableName),
    /// Columns are not at the destination.
    #[error("table {table} lacks columns at the destination ({columns}): run `tripline init`, or add them")]
    NoColumns {
        /// The table.
        table: TableName,
        /// Names of the columns.
        columns: String,
    },
    /// A key column is computed by the destination.
    #[error("key column \"{column}\" of {table} is computed by the destination: make it a plain column")]
    GeneratedKey {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
    },
    /// A row of the source cannot be written as it is published.
    #[error("a row of {table} cannot be encoded")]
    Row {
        /// The table.
        table: TableName,
        /// Why.
        #[source]
        source: WireError,
    },
    /// Existing rows are not all there yet.
    #[error(
        "the existing rows of {0} are still being copied: `tripline snapshot` shows how far; compare when they are through"
    )]
    Copying(TableName),
    /// In every round all rows were in flight.
    #[error(
        "{table} could not be looked at: in each of {rounds} rounds it was truncated between the cut and the look, or \
         locked; try again when it is quieter"
    )]
    NeverStill {
        /// The table.
        table: TableName,
        /// Rounds tried.
        rounds: u32,
    },
    /// The answer cannot be written as JSON.
    #[error("the answer cannot be written as JSON")]
    Print(#[source] serde_json::Error),
}
