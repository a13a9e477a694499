//! Statements of a table with its columns and names left open, for the event triggers to fill in.
//!
//! There is one description of what capture executes: [`Spec`]. Here it is asked about a table with one key column and
//! one other, both of which have marks for names; lists over columns become marks too. `sql/capture/ddl/library.sql`
//! fills in what the catalog says (`fill`), and comes to the text that [`Spec`] writes for that table.

use serde_json::{Value, json};

use crate::config::Config;
use crate::selection::Selection;
use crate::table::{CaptureMode, Column, TableName, quote_ident, quote_literal};

use super::ddl::sign;
use super::pattern::{Patterns, like};
use super::render::{KeyColumn, Spec, Stop, render};

/// The name of a key column.
pub(super) const KEY: &str = "\u{6}k";
/// The number of a key column.
pub(super) const PLACE: &str = "\u{6}i";
/// The name of any other column.
const NAME: &str = "\u{6}n";
/// The base type of a column.
pub(super) const BASE: &str = "\u{6}b";
/// The equality operator of a key column.
const OPERATOR: &str = "\u{6}o";
/// The object id of the table.
pub(super) const RELATION: &str = "\u{6}r";
/// The schema and the name of the table, and its log table's name.
const TABLE: [&str; 3] = ["\u{6}s", "\u{6}t", "\u{6}l"];

/// A list over all columns: the text for a key column and for any other.
pub(super) fn columns(separator: &str, key: &str, plain: &str) -> String {
    format!("\u{1}{separator}\u{4}{key}\u{4}{plain}\u{5}")
}

/// A list over the key columns.
pub(super) fn keys(separator: &str, key: &str) -> String {
    format!("\u{2}{separator}\u{4}{key}\u{5}")
}

/// A list over the key columns whose types call different bytes equal.
pub(super) fn loose_keys(key: &str) -> String {
    format!("\u{3}\u{4}{key}\u{5}")
}

/// The value of a column as its base type.
pub(super) fn value(reference: &str) -> String {
    format!("\u{6}<{reference}\u{6}>")
}

/// Clauses for functions that make text.
pub(super) fn settings(clauses: &str) -> String {
    format!("\u{7}{clauses}\u{5}")
}

fn column(name: &str) -> Column {
    Column::new(name, BASE, BASE)
}

/// Returns the templates of a captured table, as JSON.
pub(super) fn of_table(
    schema: &str,
    log_table: &str,
    mode: CaptureMode,
    partitioned: bool,
    append_only: bool,
    stop: Option<Stop>,
) -> Value {
    let mut texts = of_new_table(schema, log_table, mode, partitioned, append_only, stop);
    if let Some(texts) = texts.as_object_mut() {
        texts.remove("log");
    }
    texts
}

/// Returns the same with the statement that creates the log table.
fn of_new_table(
    schema: &str,
    log_table: &str,
    mode: CaptureMode,
    partitioned: bool,
    append_only: bool,
    stop: Option<Stop>,
) -> Value {
    let source = TableName::new(TABLE[0], TABLE[1]);
    let columns = [column(KEY), column(NAME)];
    let everything = Selection::default();
    let texts = |loose: bool| {
        let key = [KeyColumn { name: KEY.to_owned(), operator: OPERATOR.to_owned(), loose }];
        let spec = Spec {
            schema,
            relation: RELATION,
            source: &source,
            log_table,
            mode,
            partitioned,
            columns: &columns,
            key: if append_only { &[] } else { &key },
            asks_settings: true,
            selection: &everything,
            stop,
        };
        let functions = spec.functions().into_iter().map(|f| json!({ "name": f.name, "sql": f.sql }));
        let triggers = spec.triggers().into_iter().map(|trigger| trigger.sql);
        let texts = json!({
            "functions": functions.collect::<Vec<_>>(),
            "triggers": triggers.collect::<Vec<_>>(),
            "leaf": spec.leaf_trigger(&source).sql,
        });
        (texts, spec.relog(), spec.depart(), spec.create_log())
    };
    let (plain, relog, depart, log) = texts(false);
    json!({ "plain": plain, "loose": texts(true).0, "relog": relog, "depart": depart, "log": log })
}

/// Returns the statement that tells the event triggers which new tables the pipeline wants; `None` when the one with the
/// signature `known` said the same.
pub(super) fn patterns_sql(config: &Config, patterns: &Patterns, known: Option<&str>) -> Option<String> {
    let schema = config.capture.schema.as_str();
    let mode = config.capture.mode;
    let templates = json!({
        "table": of_new_table(schema, TABLE[2], mode, false, false, None),
        "partitioned": of_new_table(schema, TABLE[2], CaptureMode::Row, true, false, None),
    });
    let (include, mut exclude) = patterns.like();
    // What an entry says of a table is not in the templates: a new table of that name is left to init.
    exclude.extend(config.table.iter().map(|entry| like(&entry.name)));
    let array = |list: &[String]| {
        let quoted: Vec<String> = list.iter().map(|pattern| quote_literal(pattern)).collect();
        format!("array[{}]", quoted.join(", "))
    };
    let templates = templates.to_string();
    let sign = sign(&format!("{include:?}{exclude:?}{mode}{templates}"));
    if known == Some(sign.as_str()) {
        return None;
    }
    Some(render(
        include_str!("../../sql/capture/ddl/patterns.sql"),
        &[
            ("schema", &quote_ident(schema)),
            ("pipeline", &quote_literal(&config.pipeline)),
            ("include", &array(&include)),
            ("exclude", &array(&exclude)),
            ("mode", &quote_literal(&mode.to_string())),
            ("templates", &quote_literal(&templates)),
            ("sign", &quote_literal(&sign)),
        ],
    ))
}
