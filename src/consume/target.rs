//! What a target promises, and what it is handed.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use crate::event::Change;
use crate::table::{Table, TableName};
use crate::wire::{Cut, Step};

/// Next Kafka offset by topic and partition. The cuts topic's partition 0 is one of them.
pub type Positions = BTreeMap<(String, i32), i64>;

/// What a target knows when it resumes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resumed {
    /// Where to go on; empty when nothing was applied yet.
    pub positions: Positions,
    /// Partitions that are ahead of the position in the cuts topic: what cuts records before this offset of that topic
    /// say about them is applied.
    pub covered: Positions,
    /// Epoch of the cut with which each position was stored; empty when the target does not say.
    pub epochs: Positions,
    /// The part of a pass that was applied last, where the target applies whole passes and says so.
    pub last: Option<Step>,
}

/// One partition's step: from the offset at which the target stood to the offset behind the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// The stored next offset that this batch follows; `None` when the target has none for this partition.
    pub expected: Option<i64>,
    /// The next offset behind this batch.
    pub next: i64,
}

/// One or more parts of passes, whole and in order.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Changes part by part, inside a part by `cdc_id`; of one key always in the order of the source. A truncate
    /// stands once.
    pub changes: Vec<Change>,
    /// The last part that the batch covers.
    pub cut: Cut,
    /// Every partition that moved, the cuts topic's among them.
    pub progress: Vec<Progress>,
    /// Bytes of keys and rows.
    pub bytes: usize,
    /// False inside a pass that is larger than a batch: a target with transactions keeps its own open until a batch
    /// that says true, so that nobody sees half a pass.
    pub commit: bool,
    /// Offset behind the last record of the cuts topic that the batch covers.
    pub covered: i64,
    /// Tables whose rows are copied anew, where that begins or ends in this batch.
    pub sweeps: Vec<Sweep>,
    /// Changes that a later one of the same key overtakes are left out: what is left can be folded, but not applied one by
    /// one ([`TargetError::NeedsAll`]).
    pub thinned: bool,
}

/// A table's existing rows are copied anew. Behind the last of them, rows that neither they nor a change have named since
/// the first are gone.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// The table.
    pub table: Arc<Table>,
    /// Number of the request: changes published before it have lower ids, what is copied has a higher one.
    pub run: u64,
    /// The first chunk is in this batch.
    pub begins: bool,
    /// The last chunk is.
    pub ends: bool,
}

impl Batch {
    /// Appends the batch that follows.
    pub fn append(&mut self, next: Self) {
        let Self { changes, cut, progress, bytes, commit, covered, sweeps, thinned } = next;
        self.changes.extend(changes);
        self.sweeps.extend(sweeps);
        for step in progress {
            let known =
                |known: &&mut Progress| (&known.topic, known.partition) == (&step.topic, step.partition);
            match self.progress.iter_mut().find(known) {
                Some(known) => known.next = step.next,
                None => self.progress.push(step),
            }
        }
        (self.cut, self.commit, self.covered) = (cut, commit, covered);
        self.bytes += bytes;
        self.thinned |= thinned;
    }
}

/// Where changes are applied. One caller, one call at a time.
///
/// Applying a batch a second time (after a crash between the target and its positions) leaves the same state.
pub trait Target: Send {
    /// Returns the name for messages: `postgres` or `clickhouse`.
    fn name(&self) -> &'static str;

    /// Connects if need be, makes sure that what the target keeps for itself is there, and returns how far it is.
    fn resume(&mut self) -> impl Future<Output = Result<Resumed, TargetError>> + Send;

    /// Makes the target ready for changes of a table at this schema version: called before the first batch with it.
    fn prepare(&mut self, table: &Arc<Table>) -> impl Future<Output = Result<(), TargetError>> + Send;

    /// Applies a batch. `Ok(())` promises that rows and positions are durable, both or neither; with
    /// [`Batch::commit`] false a target may keep that promise at the next batch that says true.
    fn apply(&mut self, batch: &Batch) -> impl Future<Output = Result<(), TargetError>> + Send;
}

/// Why a target did not take a batch.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The batch lacks changes ([`Batch::thinned`]) that are needed to apply it: the caller resumes and brings all of them.
    #[error("the changes that were left out are needed")]
    NeedsAll,
    /// The target is not there at the moment; the same batch can be tried again after [`Target::resume`].
    #[error("{target} is not available: {what}")]
    Unavailable {
        /// Target's name.
        target: &'static str,
        /// What was being done.
        what: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another applier moved the positions; this one's batch was rolled back.
    #[error("{target} positions of {topic}[{partition}] were moved by somebody else: expected {expected:?}")]
    Overtaken {
        /// Target's name.
        target: &'static str,
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// What this applier expected.
        expected: Option<i64>,
    },
    /// A change that the target cannot take; the position does not move past it.
    #[error("{target} cannot take a change of {table} (cdc_id {cdc_id:?}): {why}")]
    Refused {
        /// Target's name.
        target: &'static str,
        /// Table at the source.
        table: TableName,
        /// The log row, where one can be named.
        cdc_id: Option<u64>,
        /// What is wrong and the way out; never a row's value.
        why: String,
        /// Cause, if there is one that names no values.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The target is set up in a way that cannot work (missing right, wrong version, missing table).
    #[error("{target}: {why}")]
    Setup {
        /// Target's name.
        target: &'static str,
        /// What is wrong and the way out.
        why: String,
        /// Cause.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}
