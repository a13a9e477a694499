//! Texts of the statements that compare two PostgreSQLs.

use super::cut::Base;
use super::form::{Compared, joined};
use crate::capture::{Captured, render};
use crate::session::exact_text_sql;
use crate::table::{TableName, quote_literal};

/// Opens the transaction of one side; the tables are those it will read.
pub(super) fn begin(tables: &[&TableName], lift: &str) -> String {
    let names: Vec<String> = tables.iter().map(|table| table.quoted()).collect();
    render(
        include_str!("../../sql/verify/begin.sql"),
        &[("exact_text", &exact_text_sql("local")), ("lift", lift), ("tables", &names.join(", "))],
    )
}

/// The parts of a table's statements that are the same on both sides.
#[derive(Debug, Clone)]
pub(super) struct Texts {
    relation: String,
    key: String,
    row: String,
    names: String,
}

/// Which keys a statement looks at, given those it is handed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted {
    /// All but these.
    AllBut,
    /// These alone.
    Only,
}

impl Texts {
    /// Prepares them from the relation to read, the columns compared, and among those the key's, in its order; `named`
    /// when the key's values may be read for people.
    pub(super) fn new(relation: String, columns: &[Compared], key: &[&Compared], named: bool) -> Self {
        let names: Vec<String> = match named {
            true => key.iter().map(|compared| compared.text()).collect(),
            false => vec!["null::text".to_owned()],
        };
        Self { relation, key: joined(key.iter().copied()), row: joined(columns), names: names.join(", ") }
    }

    /// Keys that changed behind `base`, by the log table.
    pub(super) fn in_flight(&self, captured: &Captured, base: &Base) -> String {
        let snapshot = quote_literal(&base.snapshot.to_string());
        render(
            include_str!("../../sql/verify/in_flight.sql"),
            &[
                ("key", &self.key),
                ("log", &captured.log_table.quoted()),
                ("former", &former(captured).to_string()),
                ("offset", &base.offset.to_string()),
                ("snapshot", &snapshot),
            ],
        )
    }

    /// Digests by bucket.
    pub(super) fn digest(&self, wanted: Wanted) -> String {
        self.fill(include_str!("../../sql/verify/digest.sql"), wanted)
    }

    /// Rows of buckets.
    pub(super) fn rows(&self, wanted: Wanted) -> String {
        self.fill(include_str!("../../sql/verify/rows.sql"), wanted)
    }

    fn fill(&self, template: &str, wanted: Wanted) -> String {
        let wanted = match wanted {
            Wanted::AllBut => "not exists",
            Wanted::Only => "exists",
        };
        render(
            template,
            &[
                ("key", &self.key),
                ("row", &self.row),
                ("names", &self.names),
                ("table", &self.relation),
                ("wanted", wanted),
            ],
        )
    }
}

/// Reads columns of the table, or of the query in parentheses, by `copy`, in the order of the log.
pub(super) fn copy_table(relation: &str, columns: &[String]) -> String {
    format!("copy (select {} from {relation} t) to stdout", columns.join(", "))
}

/// The last log row that has a former shape, where rows are told apart by all of their columns.
fn former(captured: &Captured) -> u64 {
    if captured.table.is_append_only() { captured.rows.after } else { 0 }
}

/// Reads operation and key of the log rows that `base` does not show by `copy`; `columns` as in [`copy_table`]. Rows whose
/// key cannot be told come as truncates.
pub(super) fn copy_in_flight(captured: &Captured, columns: &[String], base: &Base) -> String {
    format!(
        "copy (select case when t.cdc_id <= {} then 'T' else t.cdc_op end, {} from {} t where t.cdc_id > {} and not pg_visible_in_snapshot(t.cdc_txid, {})) \
         to stdout",
        former(captured),
        columns.join(", "),
        captured.log_table.quoted(),
        base.offset,
        quote_literal(&base.snapshot.to_string())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_takes_the_snapshot_before_the_locks_are_held() {
        let sql = begin(&[&TableName::new("public", "t")], "set local transaction_timeout = 0;");
        let sql: String = sql.lines().filter(|line| !line.starts_with("--")).collect();
        let (before, _) = sql.split_once("lock table").expect("it locks");
        for statement in before.split(';').filter(|text| !text.is_empty()) {
            let known = ["rollback", "begin ", "set local "];
            assert!(known.iter().any(|start| statement.starts_with(start)), "{statement}");
        }
    }
}
