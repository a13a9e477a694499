//! The registry: which tables are captured, and how.

use std::collections::BTreeMap;

use serde::Deserialize;
use tokio_postgres::GenericClient;
use tokio_postgres::error::SqlState;

use crate::selection::Selection;
use crate::table::{CaptureMode, Column, Table, TableName, quote_ident, quote_literal};

use super::error::CaptureError;
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
    /// Triggers of ours that are switched off.
    pub(super) off: Vec<Off>,
    /// The source table is still there.
    pub(super) exists: bool,
    pub(super) log_exists: bool,
    pub(super) log_readable: bool,
    pub(super) log_columns: Vec<LogColumn>,
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
    query::json(client, "the registry", &sql).await
}

/// Reads the captured tables from the registry, by name.
pub async fn load(client: &impl GenericClient, schema: &str) -> Result<Vec<Captured>, CaptureError> {
    #[derive(Deserialize)]
    struct Row {
        relation: u32,
        #[serde(flatten)]
        table: Table,
        log_table: String,
        mode: CaptureMode,
        #[serde(default, deserialize_with = "null_is_default")]
        selection: Selection,
    }
    let sql = render(include_str!("../../sql/capture/load.sql"), &[("schema", &quote_ident(schema))]);
    let rows: Vec<Row> = query::json(client, "the registry", &sql).await.map_err(|error| match error {
        CaptureError::Query { source, .. } if source.code() == Some(&SqlState::UNDEFINED_TABLE) => {
            CaptureError::NotInstalled { schema: schema.to_owned() }
        }
        error => error,
    })?;
    Ok(rows
        .into_iter()
        .map(|row| Captured {
            table: row.table,
            oid: row.relation,
            log_table: TableName::new(schema, row.log_table),
            mode: row.mode,
            selection: row.selection,
        })
        .collect())
}
