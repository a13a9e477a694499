//! The offset file: where a pipeline stands at its source, durably (docs/architecture.md, offsets/README.md).
//!
//! `<dir>/<pipeline>.json` is replaced as a whole and never edited: either the old or the new contents survive a
//! crash. A missing file is a first start; a file that is not exactly what was written is refused, and a person
//! decides. All functions block: call them from a blocking thread.

mod dir;
mod format;
mod lock;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use dir::{OffsetDir, files, read, read_previous};
pub use format::Damage;
pub use lock::{Holder, holder};

use crate::position::{Anchor, Identity, Position};

/// Version of the file's contents that this program writes, and the only one that it reads.
pub const FORMAT: u32 = 1;

/// What the offset file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stored {
    /// Version of these contents: [`FORMAT`].
    pub format: u32,
    /// Name of the pipeline.
    pub pipeline: String,
    /// Who the source is: cluster, timeline, start of the server, database.
    pub source: Identity,
    /// Qualified name of the sequence that `cdc_id` comes from.
    pub sequence: String,
    /// Pass, snapshot B, offset, and inside a pass snapshot T and the cursor.
    pub position: Position,
    /// Epoch of the publisher that wrote this; grows with every start.
    pub epoch: u64,
    /// Kafka offset of the record in the cuts topic that carries the same position; `None` before the first.
    pub cuts_offset: Option<i64>,
    /// The last published log rows: found again in the log, they prove that the source is still the same one.
    pub anchors: Vec<Anchor>,
    /// When this was written, RFC 3339 in UTC. [`OffsetDir::save`] fills it in.
    pub saved_at: String,
}

/// Why the offset file cannot be used. None of these changes anything on disk.
#[derive(Debug, thiserror::Error)]
pub enum OffsetError {
    /// Another process holds the pipeline's lock.
    #[error(
        "{} is held {}: only one publisher runs a pipeline; stop that one first",
        path.display(),
        holder.as_ref().map_or_else(|| "by another process".to_owned(), Holder::to_string)
    )]
    Held {
        /// The lock file.
        path: PathBuf,
        /// Who holds it, when it says so.
        holder: Option<Holder>,
    },
    /// The file is not what was written.
    #[error(
        "offset file {} is damaged: {damage}; it is left as it is. `tripline offset recover` rebuilds it from the \
         cuts topic, `tripline offset reset` starts over",
        path.display()
    )]
    Corrupt {
        /// The offset file.
        path: PathBuf,
        /// What was found.
        damage: Damage,
    },
    /// The file is intact, but of a version that this program does not know.
    #[error(
        "offset file {} has format {found}, this tripline knows {FORMAT}: run the version that wrote it, or decide \
         with `tripline offset recover` (rebuild from the cuts topic) or `tripline offset reset` (start over)",
        path.display()
    )]
    Version {
        /// The offset file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The file, or what is to be saved, belongs to another pipeline or source.
    #[error(
        "offset file {} belongs to another {what}: found {found}, expected {expected}. Put the right file back, or \
         decide with `tripline offset recover` (rebuild from the cuts topic) or `tripline offset reset` (start over)",
        path.display()
    )]
    Foreign {
        /// The offset file.
        path: PathBuf,
        /// `pipeline`, `system` or `database`.
        what: &'static str,
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// A position behind the stored one was to be saved.
    #[error(
        "offset file {}: {what} would go back from {stored} to {new}; two states of one pipeline met: look with `tripline offset show`, decide with `tripline offset recover` or `tripline offset reset`",
        path.display()
    )]
    Backward {
        /// The offset file.
        path: PathBuf,
        /// What would go back.
        what: &'static str,
        /// What the file holds.
        stored: String,
        /// What was to be saved.
        new: String,
    },
    /// The file system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// Builds an [`OffsetError::Io`] out of what was tried on `path`.
fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OffsetError {
    let path = path.to_owned();
    move |source| OffsetError::Io { action, path, source }
}

/// Returns the current time as RFC 3339 in UTC, to the microsecond.
fn now() -> String {
    let now = time::OffsetDateTime::now_utc();
    let now = now.replace_nanosecond(now.nanosecond() / 1_000 * 1_000).unwrap_or(now);
    now.format(&time::format_description::well_known::Rfc3339).expect("the year has four digits")
}
