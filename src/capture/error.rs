//! What can go wrong while capture is installed or checked.

use std::fmt;

use serde::Serialize;

use crate::table::{TableName, quote_ident};

/// A table that cannot be captured as it is, and the way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The table.
    pub table: TableName,
    /// What is in the way.
    pub why: String,
    /// What to do about it.
    pub way_out: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.table, self.why, self.way_out)
    }
}

/// A condition of capture that no longer holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Name of the condition, stable: `trigger.disabled`.
    pub id: &'static str,
    /// The table, where it is one table's problem.
    pub table: Option<TableName>,
    /// What was found.
    pub what: String,
    /// The command that puts it right.
    pub fix: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(table) = &self.table {
            write!(f, "{table}: ")?;
        }
        write!(f, "{}; {}", self.what, self.fix)
    }
}

/// Why capture could not be installed, read, checked or removed.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The source answered a statement with an error.
    #[error("the source refused to {what}")]
    Query {
        /// What was being done.
        what: String,
        /// Why.
        #[source]
        source: tokio_postgres::Error,
    },
    /// An answer does not have the expected form: a registry written by another version.
    #[error("cannot read {what}")]
    Decode {
        /// What was being read.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The source is too old.
    #[error("the source is PostgreSQL {major}; 14 or newer is needed")]
    TooOld {
        /// Its major version.
        major: u32,
    },
    /// The source is a standby, which cannot be written to.
    #[error("the source is in recovery; give the primary's url")]
    Recovery,
    /// A pattern is not of the form `schema.table`, or there is none.
    #[error("source.tables: {pattern:?} {why}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong and what is allowed.
        why: &'static str,
    },
    /// Tables that cannot be captured; nothing was changed.
    #[error("{} cannot be captured (--skip-unusable goes on with the others):\n  {}", count(.refusals.len()), lines(.refusals))]
    Refused {
        /// Every one of them.
        refusals: Vec<Refusal>,
    },
    /// The lock on a table was not to be had.
    #[error(
        "{table} is locked by others (tried {attempts} times); run it again, tables done so far stay done"
    )]
    Busy {
        /// The table.
        table: TableName,
        /// How often it was tried.
        attempts: u32,
        /// The last refusal.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The role may not lock a table against its writers.
    #[error(
        "the role {role} may not lock {table} against its writers while its rows are logged: run `grant update on {} to {}` \
         (DELETE or TRUNCATE would do as well), or run it as the table's owner",
        table.quoted(),
        quote_ident(role)
    )]
    NoLock {
        /// The table.
        table: TableName,
        /// The role.
        role: String,
    },
    /// A table was altered between being looked at and being locked.
    #[error("{table} was altered meanwhile; run the command again")]
    Changed {
        /// The table.
        table: TableName,
    },
    /// There is no registry.
    #[error("capture is not installed in schema {schema}; run tripline init")]
    NotInstalled {
        /// The configured schema.
        schema: String,
    },
    /// Conditions that capture depends on do not hold.
    #[error("capture is not intact:\n  {}", lines(.problems))]
    Broken {
        /// Every one of them.
        problems: Vec<Problem>,
    },
    /// Something of ours is still there after uninstalling.
    #[error("capture is not removed completely: {}", .left.join(", "))]
    LeftOver {
        /// What is left.
        left: Vec<String>,
    },
}

impl CaptureError {
    /// Returns the server's or connection's error behind this one.
    pub fn as_query(&self) -> Option<&tokio_postgres::Error> {
        match self {
            Self::Query { source, .. } | Self::Busy { source, .. } => Some(source),
            _ => None,
        }
    }
}

fn count(tables: usize) -> String {
    if tables == 1 { "1 table".to_owned() } else { format!("{tables} tables") }
}

fn lines<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join("\n  ")
}
