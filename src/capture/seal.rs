//! The seal of a captured table: row versions of what capture rests on, as `init` left them.
//!
//! What stands now may look right and have been wrong in between: a trigger that was switched off for a while logged
//! nothing. PostgreSQL writes a new version of a catalog row with every change, so versions tell.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;

/// What `sql/capture/seal.sql` reads.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Seal {
    /// Our triggers on the table and its partitions, by object id.
    triggers: BTreeMap<String, Trigger>,
    /// The table's columns, by number.
    columns: BTreeMap<String, Column>,
    /// The file of the table and of each partition, by object id.
    files: BTreeMap<String, i64>,
    /// Names of the partitions, by object id.
    #[serde(default)]
    pub(super) partitions: BTreeMap<String, String>,
    /// Transactions that built the table's indexes.
    #[serde(default)]
    rewrites: BTreeSet<String>,
    /// The log table's file.
    log_file: Option<i64>,
    /// Version of the sequence's settings.
    pub(super) sequence: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Trigger {
    name: String,
    table: u32,
    /// Of the trigger and of its function.
    version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Column {
    name: String,
    version: String,
    /// Rows from before the column carry its default without holding it.
    missing: bool,
    /// Hash of what may be altered without touching a row.
    settings: String,
}

/// What was altered since the seal, though all of it may look right now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// Triggers or their functions.
    Triggers(Vec<String>),
    /// Columns, together with a rewrite of the table.
    Rewritten(Vec<String>),
    /// The log table's rows were thrown away or rewritten.
    Log,
}

impl Change {
    /// Stable name of the condition.
    pub(super) fn id(&self) -> &'static str {
        match self {
            Self::Triggers(_) => "trigger.altered",
            Self::Rewritten(_) => "table.rewritten",
            Self::Log => "log.rewritten",
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Triggers(names) => write!(
                f,
                "its triggers or their functions were altered since tripline init, disabled and enabled again perhaps \
                 ({}): changes made meanwhile are not in the log",
                names.join(", ")
            ),
            Self::Rewritten(names) => write!(
                f,
                "it was rewritten and its columns altered since tripline init ({}): ALTER COLUMN … TYPE … USING gives \
                 rows new values that no trigger sees",
                names.join(", ")
            ),
            Self::Log => f.write_str(
                "its log table was truncated or rewritten since tripline init: rows that were not published yet may be \
                 gone",
            ),
        }
    }
}

impl Seal {
    /// Says what was altered between `self` and `now`. The sequence is every table's, and compared elsewhere.
    ///
    /// Partitions that came or went are not looked at: their triggers come and go with them.
    pub(super) fn changes(&self, now: &Seal) -> Vec<Change> {
        let mut changes = Vec::new();
        let altered = self.triggers.iter().filter(|(oid, old)| {
            let attached = now.files.contains_key(&old.table.to_string());
            attached && now.triggers.get(*oid).is_none_or(|new| new.version != old.version)
        });
        let mut triggers: Vec<String> = altered.map(|(_, trigger)| trigger.name.clone()).collect();
        triggers.sort();
        triggers.dedup();
        if !triggers.is_empty() {
            changes.push(Change::Triggers(triggers));
        }
        if self.rewritten(now) {
            let altered = self.columns.iter().filter(|(number, old)| {
                now.columns.get(*number).is_some_and(|new| old.values_may_differ(new, &now.rewrites))
            });
            let columns: Vec<String> = altered.map(|(_, column)| column.name.clone()).collect();
            if !columns.is_empty() {
                changes.push(Change::Rewritten(columns));
            }
        }
        if self.log_file != now.log_file && now.log_file.is_some() {
            changes.push(Change::Log);
        }
        changes
    }

    /// Says which columns carry values in existing rows that no event carried, for who accepts `now`.
    pub(super) fn unlogged_values(&self, now: &Seal) -> Vec<String> {
        let rewritten = self.rewritten(now);
        let unlogged = now.columns.iter().filter(|(number, new)| match self.columns.get(*number) {
            None => new.missing || rewritten,
            Some(old) => rewritten && old.values_may_differ(new, &now.rewrites),
        });
        unlogged.map(|(_, column)| column.name.clone()).collect()
    }

    /// Tells whether the table, or a partition that is still one, was rewritten.
    fn rewritten(&self, now: &Seal) -> bool {
        self.files.iter().any(|(oid, file)| now.files.get(oid).is_some_and(|new| new != file))
    }
}

impl Column {
    /// Tells whether a rewrite of the table since `self` may have given its rows other values in this column.
    ///
    /// VACUUM FULL, CLUSTER and TRUNCATE rewrite and leave the column's row alone; SET STATISTICS, SET DEFAULT, GRANT and
    /// the like alter its row, in another transaction than the rewrite.
    fn values_may_differ(&self, now: &Column, rewrites: &BTreeSet<String>) -> bool {
        self.version != now.version && (self.settings == now.settings || rewrites.contains(&now.version))
    }
}
