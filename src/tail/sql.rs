//! Texts of the tail's statements. All are sent by the simple protocol or as a fresh COPY. The one that is kept prepared,
//! the window over many tables, is planned with sequential scans and sorts switched off, so that no plan made for an
//! empty log is ever kept.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::position::Snapshot;
use crate::session::exact_text_sql;
use crate::table::{TableName, quote_ident, quote_literal};

use super::LogTable;

/// Above this many tables a window is read by a statement that is kept prepared: planning it costs more than running it.
pub(super) const PREPARE_ABOVE: usize = 8;

/// When the server was started, in a form that no session setting changes: microseconds since 1970.
pub(super) const POSTMASTER_START: &str =
    "(extract(epoch from pg_catalog.pg_postmaster_start_time()) * 1000000)::pg_catalog.int8";

/// May the session's role read the sequence? Without the right, newer servers answer with NULL, as for a sequence that
/// was never used.
pub(super) fn may_read(sequence: &TableName) -> String {
    format!("select pg_catalog.has_sequence_privilege({}, 'select'), current_user", regclass(sequence))
}

/// Where the source stands: the next transaction id, the sequence, and the highest id that the log tables hold.
///
/// One statement: its snapshot shows no id that the sequence, read behind it, had not reached.
pub(super) fn standing(sequence: &TableName, tables: &[LogTable]) -> String {
    let highest: Vec<String> = tables
        .iter()
        .map(|table| format!("(select max(cdc_id) from {})", table.log_table.quoted()))
        .collect();
    let highest =
        if highest.is_empty() { "null".to_owned() } else { format!("greatest({})", highest.join(", ")) };
    format!(
        "select pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()), {highest}, \
         pg_catalog.pg_sequence_last_value({})",
        regclass(sequence)
    )
}

/// One statement per poll: the snapshot, then the sequence.
///
/// The snapshot is taken before the function runs, so every id of a transaction that it shows as completed is at or
/// below the value read. With the catalog's fingerprint, when that is wanted too.
pub(super) fn poll(sequence: &TableName, fingerprint: Option<&str>) -> String {
    format!(
        "select pg_catalog.pg_current_snapshot(), pg_catalog.pg_sequence_last_value({sequence}), \
         pg_catalog.pg_is_in_recovery(), {POSTMASTER_START}, ({fingerprint})::pg_catalog.text, \
         (extract(epoch from pg_catalog.clock_timestamp()) * 1000000)::pg_catalog.int8",
        sequence = regclass(sequence),
        fingerprint = fingerprint.unwrap_or("null"),
    )
}

/// A mark: the sequence's value first, then, in the same transaction, an id of its own.
pub(super) fn mark(sequence: &TableName) -> String {
    format!(
        "begin; select pg_catalog.pg_sequence_last_value({}); select pg_catalog.pg_current_xact_id(); commit",
        regclass(sequence)
    )
}

/// Opens a window's transaction: settings, locks, and only then the snapshot with everything that is checked.
pub(super) fn open(
    tables: &[LogTable],
    load: Option<&TableName>,
    lock_timeout_ms: u64,
    lift: &str,
    fingerprint: &str,
    prepared: Option<&Prepared>,
) -> String {
    let mut sql = format!("begin isolation level repeatable read read only; {lift}");
    sql.push_str(&exact_text_sql("local"));
    // The ids are read by the primary key, whatever the planner believes of a table that was empty a moment ago, and
    // tables are merged along theirs: a sort would read all that is left of a backlog for every window of it. A row that a
    // policy hides must be an error.
    sql.push_str(&format!(
        "set local lock_timeout = {lock_timeout_ms}; set local statement_timeout = 0; set local jit = off; \
         set local enable_seqscan = off; set local enable_bitmapscan = off; \
         set local enable_sort = off; set local plan_cache_mode = force_generic_plan; \
         set local max_parallel_workers_per_gather = 0; set local row_security = off;"
    ));
    if let Some(load) = load {
        // Nobody waits for a table that somebody has locked.
        sql.push_str(&format!("lock table {} in access share mode nowait;", load.quoted()));
    }
    if !tables.is_empty() {
        let names: Vec<String> = tables.iter().map(|table| table.log_table.quoted()).collect();
        sql.push_str(&format!("lock table {} in access share mode;", names.join(", ")));
    }
    sql.push_str(&format!(
        "select pg_current_snapshot(), pg_is_in_recovery(), {POSTMASTER_START}, \
         case when not pg_is_in_recovery() then substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) end, \
         case when not pg_is_in_recovery() then pg_current_wal_insert_lsn() end, \
         (extract(epoch from clock_timestamp()) * 1000000)::int8, ({fingerprint})::text, {standing}",
        standing = prepared.map_or("null".to_owned(), |prepared| format!(
            "(select string_agg(p.name, ' ') from pg_prepared_statements p where starts_with(p.name, {}))",
            quote_literal(&prepared.family)
        )),
    ));
    sql
}

/// Closes a window's transaction and asks whether everything its snapshot showed has reached the disk.
pub(super) fn close(insert_lsn: &str) -> String {
    format!(
        "rollback; select pg_catalog.pg_current_wal_flush_lsn() >= {}::pg_catalog.pg_lsn",
        quote_literal(insert_lsn)
    )
}

/// Asks the same of everything up to now.
pub(super) const IS_FLUSHED: &str =
    "select pg_catalog.pg_current_wal_flush_lsn() >= pg_catalog.pg_current_wal_insert_lsn()";

/// Makes the server flush its log up to here: a commit of its own that has something to flush.
pub(super) const NUDGE: &str = "begin; set local synchronous_commit = on; \
     select pg_catalog.pg_logical_emit_message(true, 'tripline', ''); commit";

/// What a window reads: rows above `cursor` that T shows and B did not show, in `cdc_id` order.
#[derive(Debug, Clone, Copy)]
pub(super) struct WindowQuery<'a> {
    pub(super) cursor: u64,
    pub(super) base: &'a Snapshot,
    pub(super) until: &'a Snapshot,
    pub(super) rows: u32,
}

/// The statement of a window over many tables, prepared once in a session and then executed.
///
/// Its name says what it is, so that behind a transaction pooler, where sessions change, each one is asked whether it
/// knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prepared {
    /// What the names of a pipeline's statements begin with: of those that stand in a session all but one are old.
    pub(super) family: String,
    pub(super) name: String,
    text: String,
}

impl Prepared {
    /// Returns the statement over these tables; `None` where they are few enough to plan each window.
    pub(super) fn new(
        pipeline: &str,
        tables: &[LogTable],
        outputs: &HashMap<String, String>,
    ) -> Option<Self> {
        if tables.len() <= PREPARE_ABOVE {
            return None;
        }
        let mut hasher = DefaultHasher::new();
        pipeline.hash(&mut hasher);
        let family = format!("tripline_{:016x}_", hasher.finish());
        let bounds = Bounds { cursor: "$1", until: "$2", base: "$3" };
        let text = format!("{} limit $4", select_window(tables, outputs, &bounds));
        text.hash(&mut hasher);
        // The same text over columns of other types is another statement.
        let columns = tables.iter().flat_map(|table| &table.table.columns);
        columns.for_each(|column| column.base.hash(&mut hasher));
        Some(Self { name: format!("{family}{:016x}", hasher.finish()), family, text })
    }

    /// Prepares it, in place of `others`.
    pub(super) fn prepare<'a>(&self, others: impl Iterator<Item = &'a str>) -> String {
        let mut sql: String = others.map(|other| format!("deallocate {other}; ")).collect();
        sql.push_str(&format!(
            "prepare {} (pg_catalog.int8, pg_catalog.pg_snapshot, pg_catalog.pg_snapshot, pg_catalog.int8) as {}",
            self.name, self.text
        ));
        sql
    }

    /// Runs it.
    pub(super) fn execute(&self, query: WindowQuery<'_>) -> String {
        format!(
            "execute {}({}, {}, {}, {})",
            self.name,
            query.cursor,
            quote_literal(&query.until.to_string()),
            quote_literal(&query.base.to_string()),
            query.rows
        )
    }
}

/// The COPY of a window.
pub(super) fn copy_window(
    tables: &[LogTable],
    outputs: &HashMap<String, String>,
    query: WindowQuery<'_>,
) -> String {
    let bounds = Bounds {
        cursor: &query.cursor.to_string(),
        until: &quote_literal(&query.until.to_string()),
        base: &quote_literal(&query.base.to_string()),
    };
    format!("copy ({} limit {}) to stdout", select_window(tables, outputs, &bounds), query.rows)
}

/// The bounds of a window as SQL: literals or parameters.
struct Bounds<'a> {
    cursor: &'a str,
    until: &'a str,
    base: &'a str,
}

/// Rows of a window, in `cdc_id` order.
///
/// Several tables are one `union all`, merged by the server along the primary keys. Where they have different types in
/// one place, all of that place become text through the type's own output function, never through a cast:
/// `boolean::text` and `bpchar::text` differ from what COPY writes.
fn select_window(tables: &[LogTable], outputs: &HashMap<String, String>, bounds: &Bounds<'_>) -> String {
    let width = tables.iter().map(|table| table.table.columns.len()).max().unwrap_or(0);
    let is_alike = |place: usize| {
        let base = |table: &LogTable| table.table.columns.get(place).map(|column| column.base.clone());
        tables.iter().map(base).is_sorted_by(|one, next| one.is_some() && one == next)
    };
    let alike: Vec<bool> = (0..width).map(is_alike).collect();
    let selects: Vec<String> = tables
        .iter()
        .enumerate()
        .map(|(i, table)| {
            let mut sql = format!("select c.cdc_id, {i} as t, c.cdc_txid, c.cdc_op, c.cdc_at");
            for (number, column) in table.table.columns.iter().enumerate() {
                let name = quote_ident(table.rows.name(&table.table, number));
                let output = |function: &str| {
                    format!(", pg_catalog.textin(pg_catalog.{}(c.{name}))", quote_ident(function))
                };
                sql.push_str(&match column.base.as_str() {
                    base if alike[number] || base == "text" => format!(", c.{name}"),
                    base if base.ends_with("[]") => output("array_out"),
                    // A type that prints by another type's function can be cast.
                    base => outputs
                        .get(base)
                        .map_or_else(|| format!(", c.{name}::pg_catalog.text"), |function| output(function)),
                });
            }
            for _ in table.table.columns.len()..width {
                sql.push_str(", null::text");
            }
            let Bounds { cursor, until, base } = bounds;
            sql.push_str(&format!(" from {} c where c.cdc_id > {cursor}", table.log_table.quoted()));
            if table.rows.after > 0 {
                sql.push_str(&format!(" and c.cdc_id > {}", table.rows.after));
            }
            if let Some(last) = table.rows.until {
                sql.push_str(&format!(" and c.cdc_id <= {last}"));
            }
            sql.push_str(&format!(
                " and pg_visible_in_snapshot(c.cdc_txid, {until}) and not pg_visible_in_snapshot(c.cdc_txid, {base})"
            ));
            if table.table.is_append_only() {
                sql.push_str(&without_overtaken(tables, table));
            }
            sql.push_str(" order by c.cdc_id");
            sql
        })
        .collect();
    match selects.as_slice() {
        [one] => one.clone(),
        // Only of parts that are in order themselves does the planner make a merge.
        several => format!("({}) order by cdc_id", several.join(") union all (")),
    }
}

/// Leaves out updates and deletes of a table without a key that a truncate follows, in this pass or a later one: nothing of
/// them will be left. All of them where nobody can log the table anew, because it is gone, or has a key by now and is copied
/// by that.
fn without_overtaken(tables: &[LogTable], table: &LogTable) -> String {
    let log_table = &table.log_table;
    let has_key = |other: &LogTable| {
        other.log_table == *log_table && other.rows.until.is_none() && !other.table.is_append_only()
    };
    if table.rows.dropped || tables.iter().any(has_key) {
        return " and c.cdc_op not in ('U', 'D')".to_owned();
    }
    format!(
        " and not (c.cdc_op in ('U', 'D') and c.cdc_id < coalesce((select max(l.cdc_id) from {} l where l.cdc_op = 'T'), 0))",
        log_table.quoted()
    )
}

/// Who the server is.
pub(super) fn identity() -> String {
    format!(
        "select system_identifier, {POSTMASTER_START}, pg_catalog.current_database(), pg_catalog.pg_is_in_recovery(), \
         case when not pg_catalog.pg_is_in_recovery() then \
         pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8) end \
         from pg_catalog.pg_control_system()"
    )
}

/// Looks up published rows again: do they still stand in the log as they were?
pub(super) fn anchor(log_table: &TableName, cdc_id: u64) -> String {
    format!(
        "select cdc_txid, (extract(epoch from cdc_at) * 1000000)::pg_catalog.int8 from {} where cdc_id = {cdc_id}",
        log_table.quoted()
    )
}

fn regclass(name: &TableName) -> String {
    format!("{}::pg_catalog.regclass", quote_literal(&name.quoted()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Table;
    use crate::wire::TableEncoder;

    #[test]
    fn nothing_takes_the_snapshot_before_the_locks_are_held() {
        let name = TableName::new("public", "t");
        let table =
            Table { name: name.clone(), version: 1, columns: Vec::new(), key: Vec::new(), relation: 0 };
        let encoder = TableEncoder::new(&table, "pipeline", "shop");
        let rows = crate::capture::LogRows::default();
        let log = LogTable { table, log_table: TableName::new("cdc", "t_cdc"), rows, encoder };
        let sql = open(&[log], Some(&name), 1, "set local transaction_timeout = 0;", "1", None);
        let (before, _) = sql.split_once("lock table").expect("it locks");
        for statement in before.split(';').map(str::trim).filter(|text| !text.is_empty()) {
            assert!(statement.starts_with("begin ") || statement.starts_with("set local "), "{statement}");
        }
    }
}
