//! Retention: log rows that are old and that no pipeline needs any more are removed (docs/retention.md has the why and the
//! proof).
//!
//! ```text
//! cdc.pipelines: offset and lowest anchor of each ─▶ bound ─┐
//! clock of the source − keep ────────────────────────────────┴─▶ batches of DELETE, oldest ids first ─▶ cdc.retention
//! ```
//!
//! [`look`] says what there is, [`Cleaner`] removes batch by batch, `pace` says how much and how often, `check` what a
//! person should know. Who starts it and what becomes of its failures is `runtime::cleaner`'s affair.

mod check;
mod look;
pub(crate) mod pace;
mod postgres;

pub(crate) use check::findings;
pub use look::{Log, Look, Oldest, Reader, look, oldest};
pub use postgres::{Batch, Cleaner, lacking};

use crate::capture::CaptureError;
use crate::config::ConfigError;
use crate::right::Lacking;
use crate::session::SessionError;

/// Why no log rows are removed. Publishing goes on.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// No session.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// No URL.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The log tables could not be looked at.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// A batch failed.
    #[error("removing rows of {log_table} failed")]
    Remove {
        /// Name of the log table.
        log_table: String,
        /// Why.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The role may not do it.
    #[error(
        "the role {} may not remove log rows, it has no right to {}; sql/roles.sql gives the cleaner what it needs, \
         retention.url names it",
        lacking.first().map_or("", |one| one.role.as_str()),
        lacking.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    )]
    Denied {
        /// Every right that it lacks.
        lacking: Vec<Lacking>,
    },
    /// An older release installed capture.
    #[error(
        "nothing in schema {schema} records how far log rows are removed, so none are: run `tripline init`, then \
         sql/roles.sql again where the cleaner is a role of its own"
    )]
    NoRecord {
        /// The configured schema.
        schema: String,
    },
}
