//! The registry: which tables are captured, and how.

use std::collections::BTreeMap;

use serde::Deserialize;
use tokio_postgres::GenericClient;
use tokio_postgres::error::SqlState;

use crate::selection::Selection;
use crate::table::{CaptureMode, Column, Table, TableName, quote_ident, quote_literal};

use super::error::{CaptureError, Problem};
use super::query;
use super::render::{objects_sql, render, seal_sql};
use super::seal::{Change, Seal};

/// A captured table as the daemon reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// Shape at the present version.
    pub table: Table,
    /// Object id of the source table.
    pub oid: u32,
    /// The log table.
    pub log_table: TableName,
    /// How it is captured.
    pub mode: CaptureMode,
    /// What of it is captured.
    pub selection: Selection,
    /// Which of the log rows have this shape.
    pub rows: LogRows,
}

/// Which rows of a log table have a shape, and what its columns are called there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogRows {
    /// Those with a `cdc_id` above this one.
    pub after: u64,
    /// Those up to this one; `None` for the present shape.
    pub until: Option<u64>,
    /// The log columns, in the order of [`Table::columns`]; empty where they have the same names.
    pub names: Vec<String>,
    /// The table was dropped.
    pub dropped: bool,
    /// DDL gave the table its name, and `init` has not seen it since: its topic may be missing.
    pub named_by_ddl: bool,
}

impl LogRows {
    /// Returns what a column of `table` is called in the log table.
    pub fn name<'a>(&'a self, table: &'a Table, column: usize) -> &'a str {
        self.names.get(column).unwrap_or(&table.columns[column].name)
    }
}

#[derive(Deserialize)]
struct Loaded {
    #[serde(flatten)]
    table: Table,
    log_table: String,
    mode: CaptureMode,
    #[serde(default, deserialize_with = "null_is_default")]
    selection: Selection,
    after: Option<u64>,
    until: Option<u64>,
    names: Option<Vec<String>>,
    #[serde(default)]
    dropped: bool,
    named_by_ddl: Option<bool>,
}

impl Loaded {
    fn captured(self, schema: &str) -> Captured {
        let Self { table, log_table, mode, selection, after, until, names, dropped, named_by_ddl } = self;
        let rows = LogRows {
            after: after.unwrap_or(0),
            until,
            names: names.unwrap_or_default(),
            dropped,
            named_by_ddl: named_by_ddl.unwrap_or(false),
        };
        let log_table = TableName::new(schema, log_table);
        Captured { oid: table.relation, table, log_table, mode, selection, rows }
    }
}

/// A registry row beside what the catalog shows of it now.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Registered {
    pub(super) relation: u32,
    #[serde(flatten)]
    pub(super) name: TableName,
    pub(super) log_table: String,
    pub(super) key: Vec<String>,
    pub(super) key_index: String,
    pub(super) columns: Vec<Column>,
    pub(super) mode: CaptureMode,
    pub(super) version: u32,
    pub(super) leaves: Vec<u32>,
    pub(super) definition: String,
    /// What of the table is captured.
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) selection: Selection,
    /// What was installed, with hashes.
    pub(super) objects: BTreeMap<String, String>,
    /// What stands now.
    pub(super) standing: BTreeMap<String, String>,
    /// What `init` left behind; `None` where an older release did.
    pub(super) seal: Option<Seal>,
    /// The same, as it stands now.
    pub(super) found: Seal,
    /// Statements for following DDL; `None` where an older release installed it.
    pub(super) templates: Option<serde_json::Value>,
    /// Why the event triggers could not follow DDL and gave the table up.
    pub(super) broken: Option<String>,
    /// Triggers of ours that are switched off.
    pub(super) off: Vec<Off>,
    /// The source table is still there.
    pub(super) exists: bool,
    pub(super) log_exists: bool,
    /// A log table of that name is there, under another object id.
    elsewhere: bool,
    pub(super) log_columns: Vec<LogColumn>,
    /// Names of the settings that its log table has.
    #[serde(default)]
    pub(super) log_settings: Vec<String>,
}

impl Registered {
    /// Says what was altered since `init`.
    pub(super) fn changes(&self) -> Vec<Change> {
        let mut changes = self.seal.as_ref().map(|seal| seal.changes(&self.found)).unwrap_or_default();
        // Other values in columns that are left out change nothing, unless they decide which rows are taken.
        if self.selection.filter.is_none() {
            changes.retain_mut(|change| match change {
                Change::Rewritten(names) => {
                    names.retain(|name| self.selection.takes(name));
                    !names.is_empty()
                }
                _ => true,
            });
        }
        changes
    }

    /// Tells whether the sequence was altered since `init`.
    pub(super) fn sequence_altered(&self) -> bool {
        self.seal.as_ref().is_some_and(|seal| seal.sequence != self.found.sequence)
    }
}

/// A trigger that is switched off.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Off {
    pub(super) trigger: String,
    #[serde(flatten)]
    pub(super) table: TableName,
}

/// A column of a log table.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct LogColumn {
    pub(super) name: String,
    pub(super) base: String,
}

/// Registries of older releases have no such column, or nothing in it.
fn null_is_default<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Selection, D::Error> {
    Option::<Selection>::deserialize(input).map(Option::unwrap_or_default)
}

/// Reads the registry and what stands of it.
pub(super) async fn read(client: &impl GenericClient, schema: &str) -> Result<Vec<Registered>, CaptureError> {
    let objects =
        objects_sql(schema, "t.relation", "array(select substr(k, 10) from jsonb_object_keys(t.objects) k)");
    let sql = render(
        include_str!("../../sql/capture/registry.sql"),
        &[
            ("schema", &quote_ident(schema)),
            ("schema_literal", &quote_literal(schema)),
            ("objects", &objects),
            ("seal", &seal_sql(schema, "t.relation", "t.log_relation")),
        ],
    );
    let rows: Vec<Registered> = query::json(client, "the registry", &sql).await?;
    if rows.is_empty() || !rows.iter().all(|row| row.elsewhere) {
        return Ok(rows);
    }
    // Its object ids mean other tables here, and the log rows' transactions are another server's.
    Err(CaptureError::Broken {
        problems: vec![Problem {
            id: "registry.restored",
            table: None,
            what: format!(
                "the registry in schema {schema} was made in another database: a dump was restored here, and what its log \
                 tables hold is not published from here"
            ),
            fix: "run tripline uninstall, then tripline init, which copies the tables anew".into(),
        }],
    })
}

/// Reads the captured tables from the registry, by name.
pub async fn load(client: &impl GenericClient, schema: &str) -> Result<Vec<Captured>, CaptureError> {
    let sql = render(include_str!("../../sql/capture/load.sql"), &[("schema", &quote_ident(schema))]);
    read_captured(client, schema, &sql).await
}

/// Reads the shapes that tables had before and that log rows above `settled` may have: of tables that DDL has altered or
/// dropped while rows were unread.
pub async fn load_former(
    client: &impl GenericClient,
    schema: &str,
    settled: u64,
) -> Result<Vec<Captured>, CaptureError> {
    let sql = render(
        include_str!("../../sql/capture/ddl/shapes.sql"),
        &[
            ("schema", &quote_ident(schema)),
            ("schema_literal", &quote_literal(schema)),
            ("settled", &settled.to_string()),
        ],
    );
    let former = read_captured(client, schema, &sql).await?;
    match former.iter().find(|shape| shape.rows.names.len() != shape.table.columns.len()) {
        None => Ok(former),
        Some(shape) => Err(CaptureError::Broken {
            problems: vec![Problem {
                id: "log.columns",
                table: Some(shape.table.name.clone()),
                what: format!(
                    "{} lacks columns of version {}, of which rows are unread",
                    shape.log_table, shape.table.version
                ),
                fix: format!(
                    "give these rows up: delete from {}.shapes where log_table = {}; then tripline snapshot {} loads the \
                     table anew",
                    quote_ident(schema),
                    quote_literal(&shape.log_table.name),
                    shape.table.name
                ),
            }],
        }),
    }
}

async fn read_captured(
    client: &impl GenericClient,
    schema: &str,
    sql: &str,
) -> Result<Vec<Captured>, CaptureError> {
    let rows: Vec<Loaded> = query::json(client, "the registry", sql).await.map_err(|error| match error {
        CaptureError::Query { source, .. } if source.code() == Some(&SqlState::UNDEFINED_TABLE) => {
            CaptureError::NotInstalled { schema: schema.to_owned() }
        }
        error => error,
    })?;
    Ok(rows.into_iter().map(|row| row.captured(schema)).collect())
}
