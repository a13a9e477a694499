//! Why a pass is given up.

use crate::capture::{CaptureError, Removed};
use crate::session::SessionError;
use crate::table::{TableName, quote_ident};
use crate::wire::WireError;

/// Why a pass was given up. Nothing of it was published.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// No session.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A statement failed.
    #[error("source PostgreSQL: {what} failed")]
    Query {
        /// What was being done.
        what: &'static str,
        /// Why.
        #[source]
        source: tokio_postgres::Error,
    },
    /// Somebody holds a lock on a log table: a migration, or an operator. The pass is tried again.
    #[error("a log table was locked by somebody else for longer than tail.lock_timeout_ms; trying again")]
    Locked,
    /// The server answers something that is not the answer to the question.
    #[error("source PostgreSQL: unexpected answer to {0}")]
    Answer(&'static str),
    /// A line of the log cannot be read.
    #[error("a line of the log tables is not in the expected form")]
    Line,
    /// A row of the log cannot be encoded.
    #[error("the log row of {table} with cdc_id {cdc_id} cannot be encoded")]
    Row {
        /// Captured table.
        table: TableName,
        /// The row.
        cdc_id: u64,
        /// Why.
        #[source]
        source: WireError,
    },
    /// A table of which only rows come has a change that is none.
    #[error(
        "{table} is append_only, but its log row with cdc_id {cdc_id} says that rows were updated or deleted (or that DDL \
         did so), and no key says which: nothing behind it is published. `tripline snapshot {table}` logs all rows that \
         the table has now behind a truncate, while its writers wait, and both targets become as it is; or capture the \
         table with a key"
    )]
    NotAppended {
        /// Captured table.
        table: TableName,
        /// The row.
        cdc_id: u64,
    },
    /// The captured tables are no longer as capture needs them.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The server is not the one whose position this is.
    #[error("{found}; {way_out}")]
    Identity {
        /// What was found.
        found: String,
        /// Which command decides.
        way_out: &'static str,
    },
    /// The role may not read the sequence: the tail would take it for one that nobody draws from.
    #[error(
        "the role {role} may not read the sequence {sequence}: run `grant select on sequence {} to {}` (sql/roles.sql)",
        sequence.quoted(),
        quote_ident(role)
    )]
    NoRight {
        /// The sequence.
        sequence: TableName,
        /// The role.
        role: String,
    },
    /// The pipeline cannot be registered: log rows that it needs might be deleted.
    #[error(
        "the role may not write to {registry}: run `grant insert, update on {registry} to …` (sql/roles.sql)"
    )]
    NotRegistered {
        /// The table.
        registry: String,
    },
    /// Log rows that the position needs were removed.
    #[error(
        "the position of pipeline {pipeline} (offset {offset}) is behind retention, which has removed log rows up to cdc_id \
         {removed_to}: changes between the two may be gone, and to publish on would lose them in silence; `tripline offset \
         reset` publishes what is left of the log and copies the existing rows anew, or put the newer offset file back \
         (`tripline offset recover` makes it from the cuts topic)"
    )]
    Behind {
        /// The pipeline.
        pipeline: String,
        /// The `cdc_id` at and below which all is settled for it.
        offset: u64,
        /// The `cdc_id` up to which rows were removed.
        removed_to: u64,
    },
    /// The log does not go back as far as somebody wants to.
    #[error(
        "cannot go back to {wanted}: retention has removed log rows up to cdc_id {removed_to}, the last of them logged at \
         {removed_at}; name a later id or time, or copy tables as they are now with `tripline snapshot`"
    )]
    Removed {
        /// An id or a time.
        wanted: String,
        /// The `cdc_id` up to which rows were removed.
        removed_to: u64,
        /// When the last of them was logged.
        removed_at: String,
    },
    /// A table without a key whose whole log is to be published, and it is not there any more.
    #[error(
        "{table} is append_only, and retention has removed rows of its log, which nothing else would bring: `tripline \
         snapshot {table}` logs all rows that the table has now behind a truncate; then repeat this"
    )]
    CutShort {
        /// The table.
        table: TableName,
    },
    /// The rows of a captured table cannot be copied.
    #[error(
        "the existing rows of {table} cannot be read: give the role SELECT on it, and BYPASSRLS where a row security policy \
         would hide rows from it (sql/roles.sql), or give the request up with `tripline snapshot {table} --cancel`"
    )]
    Unreadable {
        /// The table.
        table: TableName,
        /// Why.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The condition of a request for existing rows cannot be computed. The server's message may hold a row's value.
    #[error(
        "the condition of a request for rows of {table} cannot be computed ({code}): give it up with \
         `tripline snapshot {table} --cancel`, and ask again with another one"
    )]
    Condition {
        /// The table.
        table: TableName,
        /// SQLSTATE.
        code: String,
    },
    /// Which rows of a new timeline are settled cannot be told while transactions are open.
    #[error(
        "the source is on another timeline than the position, and transactions that write are open there (prepared ones \
         too): which rows they log is known when they have ended; repeat it then"
    )]
    OpenTransactions,
    /// A transaction pooler is in between, and nothing else would keep a second publisher away.
    #[error(
        "source.url leads through a transaction pooler, where no lock can be held: with delivery = \"at_least_once\" give \
         the server's own address (or a pooler in session mode), or use delivery = \"exactly_once\""
    )]
    Pooled,
    /// A command needs the publisher's lock.
    #[error("pipeline {pipeline} has a publisher at work at the source ({holder}): stop it first")]
    AtWork {
        /// The pipeline.
        pipeline: String,
        /// The session that holds the lock.
        holder: String,
    },
    /// The session that held the publisher's lock is gone: another publisher may have it.
    #[error("the session that holds the publisher's lock at the source is gone")]
    LockLost,
    /// The server restarted or the connection leads elsewhere: the tail starts again from the stored position.
    #[error("the source PostgreSQL restarted")]
    Restarted,
}

impl TailError {
    /// Says that something wanted was removed.
    pub(super) fn removed(removed: &Removed, wanted: String) -> Self {
        Self::Removed { wanted, removed_to: removed.to, removed_at: removed.at.clone() }
    }
}
