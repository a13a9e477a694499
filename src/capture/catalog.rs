//! What the catalog says of the source's tables.

use serde::Deserialize;
use tokio_postgres::GenericClient;

use crate::table::{Column, TableName, quote_literal};

use super::error::CaptureError;
use super::query;
use super::render::render;
use super::row::salt_table;

/// A relation that a pattern could name.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Candidate {
    pub(super) oid: u32,
    #[serde(flatten)]
    pub(super) name: TableName,
    /// The partitioned table at the top, for partitions.
    pub(super) root: Option<u32>,
}

/// A table as the catalog describes it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Source {
    pub(super) oid: u32,
    #[serde(flatten)]
    pub(super) name: TableName,
    /// `relkind`: `r`, `p` or `f`.
    pub(super) kind: char,
    pub(super) unlogged: bool,
    pub(super) partition: bool,
    /// Parent or child by plain inheritance.
    pub(super) inherits: bool,
    /// Row-level security would hide rows from the functions.
    pub(super) policy: bool,
    /// Privileges that the installing role lacks.
    pub(super) lacks: Vec<String>,
    pub(super) columns: Vec<Column>,
    /// Has a virtual generated column, which transition tables do not hold.
    #[serde(rename = "virtual")]
    pub(super) has_virtual: bool,
    /// Has a column that the functions cast to text, which the settings of the session may change.
    #[serde(rename = "settings")]
    pub(super) asks_settings: bool,
    /// Unique indexes.
    pub(super) indexes: Vec<Index>,
    /// The user's AFTER triggers of any level.
    pub(super) after_triggers: Vec<String>,
    /// Foreign keys that write the table (cascade, set null, set default) beside another writing of the same statement.
    pub(super) actions: Vec<String>,
    /// Partitions at every depth, sub-partitioned ones among them.
    pub(super) leaves: Vec<Leaf>,
}

/// A unique index.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Index {
    pub(super) name: String,
    pub(super) primary: bool,
    /// Unique, valid, ready, a btree.
    pub(super) usable: bool,
    pub(super) immediate: bool,
    pub(super) partial: bool,
    pub(super) columns: Vec<IndexColumn>,
}

/// One column of an index; the name is missing for an expression.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct IndexColumn {
    pub(super) name: Option<String>,
    pub(super) not_null: Option<bool>,
    pub(super) collation: Option<bool>,
    /// The index's own equality, qualified: with another one the index would not be used.
    pub(super) operator: Option<String>,
    /// The type calls different bytes equal.
    pub(super) loose: bool,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Leaf {
    pub(super) oid: u32,
    #[serde(flatten)]
    pub(super) name: TableName,
    pub(super) kind: char,
    /// Has our TRUNCATE trigger.
    pub(super) ready: bool,
}

/// What stands of our own objects, and of the server.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct State {
    pub(super) server: u32,
    pub(super) recovery: bool,
    pub(super) schema: bool,
    pub(super) tables: bool,
    /// The registry has its column for seals.
    pub(super) seal: bool,
    /// The registry has its column for selections.
    pub(super) selection: bool,
    /// Whether this role may read the salt; `None` when there is no table for it.
    pub(super) salt: Option<bool>,
    pub(super) pipelines: bool,
    pub(super) snapshots: bool,
    pub(super) retention: bool,
    pub(super) gaps: bool,
    /// Signature of the functions that follow DDL, `None` where they are missing.
    pub(super) library: Option<String>,
    /// The event triggers that run them are there and switched on.
    pub(super) events: bool,
    /// Numbers as it must; `None` when there is no sequence.
    pub(super) sequence: Option<bool>,
}

/// Reads what stands of our own objects.
pub(super) async fn state(client: &impl GenericClient, schema: &str) -> Result<State, CaptureError> {
    let sql =
        render(include_str!("../../sql/capture/state.sql"), &[("schema_literal", &quote_literal(schema))]);
    query::json(client, "the state of capture", &sql).await
}

/// Reads the salt of hashes; `None` when there is none, or this role may not read it.
pub(super) async fn salt(
    client: &impl GenericClient,
    schema: &str,
    state: &State,
) -> Result<Option<String>, CaptureError> {
    if state.salt != Some(true) {
        return Ok(None);
    }
    let sql = format!("select pg_catalog.to_json(max(s.salt)) from {} s", salt_table(schema).quoted());
    query::json(client, "the salt", &sql).await
}

/// Reads the names of all relations that a pattern could name.
pub(super) async fn candidates(
    client: &impl GenericClient,
    schema: &str,
) -> Result<Vec<Candidate>, CaptureError> {
    let sql = render(
        include_str!("../../sql/capture/candidates.sql"),
        &[("schema_literal", &quote_literal(schema))],
    );
    query::json(client, "the list of tables", &sql).await
}

/// Describes tables; those that do not exist are left out.
pub(super) async fn describe(
    client: &impl GenericClient,
    schema: &str,
    oids: impl IntoIterator<Item = u32>,
) -> Result<Vec<Source>, CaptureError> {
    let oids = oid_array(oids);
    let sql = render(
        include_str!("../../sql/capture/describe.sql"),
        &[("schema_literal", &quote_literal(schema)), ("oids", &oids)],
    );
    query::json(client, "the catalog", &sql).await
}

/// Returns `'{1,2}'`.
pub(super) fn oid_array(oids: impl IntoIterator<Item = u32>) -> String {
    let list: Vec<String> = oids.into_iter().map(|oid| oid.to_string()).collect();
    format!("'{{{}}}'", list.join(","))
}
