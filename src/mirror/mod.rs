//! The ClickHouse target: a `ReplacingMergeTree` for every captured table, and a view of the rows that are there.
//!
//! `types` says what a column becomes and `rowbinary` (with `decimal`) writes its values; `plan` does so for a whole
//! table, with `policy` for values that do not fit, and `batch` for a batch; `sql` has the statements, `error` what the answers mean. All of these are pure.
//! `clickhouse` talks to the server, `target` puts it together, and `compare` reads back what is there. docs/clickhouse-types.md and docs/types.md are for users.

mod types;
mod decimal;
mod rowbinary;
mod sql;
mod error;
mod plan;
mod evolve;
mod policy;
mod batch;
mod clickhouse;
mod remove;
mod target;
mod compare;

use std::future::Future;

use crate::consume::{Positions, Progress, TargetError};

pub use compare::{BUCKETS, Bucket, Digest, Mirrored};
pub use policy::Policies;
pub use remove::{drop_views, kept, reset};
pub use target::ClickHouseTarget;

/// Where the mirror's progress is kept. ClickHouse has no transaction over several tables, so it is kept outside, in
/// Kafka's consumer group, and moved only when ClickHouse has confirmed every row: what is then applied a second
/// time after a crash has the same versions and changes nothing.
///
/// One caller, one call at a time.
pub trait ProgressStore: Send {
    /// Returns the stored next offsets; empty when there are none.
    fn load(&mut self) -> impl Future<Output = Result<Positions, TargetError>> + Send;

    /// Stores every partition's [`Progress::next`]. `Ok(())` promises that [`ProgressStore::load`] returns it after
    /// any crash from now on. [`TargetError::Overtaken`] when somebody else has moved a partition meanwhile.
    fn save(&mut self, progress: &[Progress]) -> impl Future<Output = Result<(), TargetError>> + Send;
}
