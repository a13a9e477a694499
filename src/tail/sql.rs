//! Texts of the tail's statements. All are sent by the simple protocol or as a fresh COPY: nothing prepared lives
//! longer than one pass, so no plan made for an empty log is ever kept.

use std::collections::HashMap;

use crate::position::Snapshot;
use crate::session::exact_text_sql;
use crate::table::{TableName, quote_ident, quote_literal};

use super::LogTable;

/// Above this many tables a pass first asks which of them have rows to read.
pub(super) const PROBE_ABOVE: usize = 8;

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
         pg_catalog.pg_is_in_recovery(), {POSTMASTER_START}, ({fingerprint})::pg_catalog.text",
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
) -> String {
    let mut sql = format!("begin isolation level repeatable read read only; {lift}");
    sql.push_str(&exact_text_sql("local"));
    // The ids are read by the primary key, whatever the planner believes of a table that was empty a moment ago.
    sql.push_str(&format!(
        "set local lock_timeout = {lock_timeout_ms}; set local statement_timeout = 0; set local jit = off; \
         set local enable_seqscan = off; set local enable_bitmapscan = off; \
         set local max_parallel_workers_per_gather = 0;"
    ));
    if let Some(load) = load {
        // A row that a policy hides must be an error. Nobody waits for a table that somebody has locked.
        sql.push_str(&format!(
            "set local row_security = off; lock table {} in access share mode nowait;",
            load.quoted()
        ));
    }
    if !tables.is_empty() {
        let names: Vec<String> = tables.iter().map(|table| table.log_table.quoted()).collect();
        sql.push_str(&format!("lock table {} in access share mode;", names.join(", ")));
    }
    sql.push_str(&format!(
        "select pg_current_snapshot(), pg_is_in_recovery(), {POSTMASTER_START}, \
         case when not pg_is_in_recovery() then substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) end, \
         case when not pg_is_in_recovery() then pg_current_wal_insert_lsn() end, \
         (extract(epoch from clock_timestamp()) * 1000000)::int8, ({fingerprint})::text"
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

/// Asks which tables have rows above `floor`: returns their indexes.
pub(super) fn probe(tables: &[LogTable], floor: u64) -> String {
    let probes: Vec<String> = tables
        .iter()
        .enumerate()
        .map(|(i, table)| {
            format!(
                "select {i} where exists (select from {} where cdc_id > {} and cdc_id <= {})",
                table.log_table.quoted(),
                floor.max(table.rows.after),
                table.rows.until.unwrap_or(i64::MAX as u64)
            )
        })
        .collect();
    probes.join(" union all ")
}

/// What a window reads: rows above `cursor` that T shows and B did not show, in `cdc_id` order.
#[derive(Debug, Clone, Copy)]
pub(super) struct WindowQuery<'a> {
    pub(super) cursor: u64,
    pub(super) base: &'a Snapshot,
    pub(super) until: &'a Snapshot,
    pub(super) rows: u32,
}

/// The COPY of a window over the tables with these indexes.
///
/// Several tables are one `union all`, merged by the server along the primary keys. There every column becomes text
/// through its type's own output function, never through a cast: `boolean::text` and `bpchar::text` differ from what
/// COPY writes.
pub(super) fn copy_window(
    tables: &[LogTable],
    active: &[usize],
    outputs: &HashMap<String, String>,
    query: WindowQuery<'_>,
) -> String {
    let width = active.iter().map(|&i| tables[i].table.columns.len()).max().unwrap_or(0);
    let selects: Vec<String> = active
        .iter()
        .map(|&i| {
            let table = &tables[i];
            let mut sql = format!("select c.cdc_id, {i} as t, c.cdc_txid, c.cdc_op, c.cdc_at");
            for (number, column) in table.table.columns.iter().enumerate() {
                let name = quote_ident(table.rows.name(&table.table, number));
                let output = |function: &str| {
                    format!(", pg_catalog.textin(pg_catalog.{}(c.{name}))", quote_ident(function))
                };
                sql.push_str(&match column.base.as_str() {
                    base if active.len() == 1 || base == "text" => format!(", c.{name}"),
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
            let until = table.rows.until.map(|until| format!("c.cdc_id <= {until} and ")).unwrap_or_default();
            sql.push_str(&format!(
                " from {} c where c.cdc_id > {} and {until}pg_visible_in_snapshot(c.cdc_txid, {}) \
                 and not pg_visible_in_snapshot(c.cdc_txid, {})",
                table.log_table.quoted(),
                query.cursor.max(table.rows.after),
                quote_literal(&query.until.to_string()),
                quote_literal(&query.base.to_string()),
            ));
            if table.table.is_append_only() {
                sql.push_str(&without_overtaken(tables, table));
            }
            sql
        })
        .collect();
    format!("copy ({} order by cdc_id limit {}) to stdout", selects.join(" union all "), query.rows)
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
        let sql = open(&[log], Some(&name), 1, "set local transaction_timeout = 0;", "1");
        let (before, _) = sql.split_once("lock table").expect("it locks");
        for statement in before.split(';').map(str::trim).filter(|text| !text.is_empty()) {
            assert!(statement.starts_with("begin ") || statement.starts_with("set local "), "{statement}");
        }
    }
}
