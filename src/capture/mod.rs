//! Installs and re-checks capture in the source: log tables, functions, triggers, registry.
//!
//! Invariant: the last log row of a key carries its final state, whatever the user's triggers do in between; see the
//! comments in `sql/capture/reread.sql`. What is deliberately absent: event triggers (not everybody may create them),
//! so a migration of a captured table is noticed by [`verify`] and followed by [`init`].

mod append;
mod catalog;
mod check;
mod ddl;
mod error;
mod fingerprint;
mod gaps;
mod init;
mod name;
mod partitions;
mod pattern;
mod plan;
mod probe;
mod query;
mod registry;
mod removed;
mod render;
mod requests;
mod rights;
mod row;
mod seal;
mod template;
mod uninstall;
mod verify;

pub use append::{log_anew, repeated};
pub use check::{Finding, Severity, findings};
pub use error::{CaptureError, Problem, Refusal};
pub use fingerprint::{fingerprint_sql, log_fingerprint_sql, log_part};
pub use gaps::{Gap, gaps};
pub use init::{Action, InitOptions, InitReport, TableReport, init};
pub(crate) use query::json as query_json;
pub use registry::{Captured, LogRows, load, load_former};
pub use removed::{
    Registration, Removed, cut_short, records_removal, registration, removed, removed_since, retention_key,
};
pub(crate) use render::{render, rows_of};
pub use requests::{
    NOT_CAPTURED, Request, Requested, forget_passes, give_up, references, request, request_initial, requested,
};
pub use rights::{lacking_to_install, lacking_to_read};
pub use uninstall::{Uninstalled, installed, knows, leave, others, uninstall};
pub use verify::verify;
