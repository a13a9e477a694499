//! Following DDL inside the source: the functions that event triggers run, and the event triggers themselves.
//!
//! The functions live in the schema of capture and are `init`'s owner's; whoever may not create event triggers has them
//! without effect, and follows DDL with `init`.

use std::collections::BTreeSet;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio_postgres::{Client, GenericClient};

use crate::config::Config;
use crate::session::EXACT_TEXT;
use crate::table::{TableName, quote_ident, quote_literal};

use super::catalog::State;
use super::error::CaptureError;
use super::pattern::Patterns;
use super::render::{objects_sql, render, seal_sql};
use super::{name, query, template};

/// Largest table, in bytes, whose rows are logged again inside the transaction of the DDL that gave them values without
/// an event. A larger one has to be loaded.
pub(super) const RELOG_BYTES: u64 = 64 << 20;

/// Returns the first 16 hex digits of a SHA-256, as `left(encode(sha256(…), 'hex'), 16)` does at the server.
pub(super) fn sign(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// What was in the registry before.
#[derive(Debug, Default, Deserialize)]
pub(super) struct History {
    versions: Vec<Version>,
    /// Names that are taken in our schema.
    pub(super) relations: BTreeSet<String>,
    patterns: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Version {
    #[serde(flatten)]
    table: TableName,
    version: u32,
}

impl History {
    /// Reads it; empty where nothing is installed.
    pub(super) async fn read(
        client: &impl GenericClient,
        config: &Config,
        state: &State,
    ) -> Result<Self, CaptureError> {
        if state.library.is_none() {
            return Ok(Self::default());
        }
        let schema = config.capture.schema.as_str();
        let sql = render(
            include_str!("../../sql/capture/ddl/history.sql"),
            &[
                ("schema", &quote_ident(schema)),
                ("schema_literal", &quote_literal(schema)),
                ("pipeline", &quote_literal(&config.pipeline)),
            ],
        );
        query::json(client, "the shapes of tables", &sql).await
    }

    /// Returns the highest version that a table of this name had before, 0 for none.
    pub(super) fn version(&self, table: &TableName) -> u32 {
        self.versions.iter().find(|known| known.table == *table).map_or(0, |known| known.version)
    }
}

/// Returns the statements that install or renew what following DDL takes, but for the event triggers.
pub(super) fn setup(config: &Config, patterns: &Patterns, state: &State, history: &History) -> Vec<String> {
    let schema = config.capture.schema.as_str();
    let library = library(schema);
    let mut setup = Vec::new();
    if state.library.as_ref() != Some(&sign(&library)) {
        let registry = include_str!("../../sql/capture/ddl/registry.sql");
        setup.push(render(registry, &[("schema", &quote_ident(schema))]));
        setup.push(format!(
            "{library}comment on function {}.on_drop() is {};\n",
            quote_ident(schema),
            quote_literal(&sign(&library))
        ));
    }
    setup.extend(template::patterns_sql(config, patterns, history.patterns.as_deref()));
    setup
}

/// Returns the statements that create the functions.
fn library(schema: &str) -> String {
    let literal = quote_literal(schema);
    let describe = render(
        include_str!("../../sql/capture/describe.sql"),
        &[("schema_literal", &literal), ("oids", "relations")],
    );
    let objects = objects_sql(schema, "standing.relation", "functions");
    let seal = seal_sql(schema, "seal.relation", "seal.log_relation");
    let settings: String = EXACT_TEXT
        .iter()
        .filter(|(name, _)| !matches!(*name, "search_path" | "client_encoding"))
        .map(|(name, value)| format!("set {name} = {}\n", quote_literal(value)))
        .collect();
    let sequence = quote_literal(&TableName::new(schema, "cdc_id_seq").quoted());
    let files = [
        include_str!("../../sql/capture/ddl/library.sql"),
        include_str!("../../sql/capture/ddl/fits.sql"),
        include_str!("../../sql/capture/ddl/full.sql"),
        include_str!("../../sql/capture/ddl/shape.sql"),
        include_str!("../../sql/capture/ddl/follow.sql"),
        include_str!("../../sql/capture/ddl/tables.sql"),
        include_str!("../../sql/capture/ddl/events.sql"),
    ];
    let values = [
        ("schema", quote_ident(schema)),
        ("schema_literal", literal),
        ("describe", describe),
        ("objects", objects),
        ("seal", seal),
        ("settings", settings),
        ("sequence_literal", sequence),
        ("relog_bytes", RELOG_BYTES.to_string()),
    ];
    let values: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
    files.map(|file| render(file, &values)).concat()
}

/// Returns the statements that create the event triggers anew.
pub(super) fn triggers(schema: &str) -> String {
    let trigger = |what| quote_ident(&name::trigger("00", schema, what));
    let (ddl, drop) = (trigger("ddl"), trigger("drop"));
    let removed = format!("drop event trigger if exists {ddl};\ndrop event trigger if exists {drop};\n");
    let created = render(
        include_str!("../../sql/capture/ddl/triggers.sql"),
        &[("schema", &quote_ident(schema)), ("ddl_trigger", &ddl), ("drop_trigger", &drop)],
    );
    removed + &created
}

/// Creates the event triggers; returns why not where the server refuses, which changes nothing else.
pub(super) async fn create_triggers(
    client: &mut Client,
    schema: &str,
) -> Result<Option<String>, CaptureError> {
    let transaction = query::begin(client).await?;
    match transaction.batch_execute(&triggers(schema)).await {
        Ok(()) => {
            let failed = |source| CaptureError::Query { what: "create the event triggers".into(), source };
            transaction.commit().await.map_err(failed)?;
            Ok(None)
        }
        Err(error) => match error.as_db_error() {
            Some(refused) => Ok(Some(refused.message().to_owned())),
            None => Err(CaptureError::Query { what: "create the event triggers".into(), source: error }),
        },
    }
}
