//! What became of partitions without an event: ATTACH brings rows, DETACH and DROP take rows away, and the TRUNCATE of a
//! partition that `init` has not seen yet is logged by nobody.

use std::collections::BTreeMap;

use serde::Deserialize;
use tokio_postgres::GenericClient;

use crate::table::{TableName, quote_ident, quote_literal};

use super::catalog::Source;
use super::error::CaptureError;
use super::query;
use super::registry::Registered;
use super::render::render;

/// A partition that the registry does not know of.
#[derive(Debug, Deserialize)]
struct New {
    relation: u32,
    #[serde(flatten)]
    name: TableName,
    rewritten: bool,
    /// Transaction and command that began to capture its rows.
    since: Option<String>,
    command: Option<i64>,
}

/// Changes that no event carried, by captured table: each said in words.
pub(super) type Moved = BTreeMap<u32, Vec<String>>;

/// Looks for partitions that came with rows, were truncated unseen, or went.
///
/// An empty partition that was made as one is none of these. New ones are read, until `init` takes them over.
pub(super) async fn moved(
    client: &impl GenericClient,
    schema: &str,
    registered: &[Registered],
    sources: &[Source],
) -> Result<Moved, CaptureError> {
    let mut moved = Moved::new();
    for row in registered {
        let Some(source) = sources.iter().find(|source| source.oid == row.relation) else { continue };
        let gone = row.leaves.iter().filter(|oid| !source.leaves.iter().any(|leaf| leaf.oid == **oid));
        for oid in gone {
            let name = row.seal.as_ref().and_then(|seal| seal.partitions.get(&oid.to_string()));
            let name = name.map_or_else(|| format!("with object id {oid}"), String::clone);
            let what = format!(
                "its partition {name} was detached or dropped, with rows that are still at the targets"
            );
            moved.entry(row.relation).or_default().push(what);
        }
    }
    let partitioned = |row: &Registered| {
        sources.iter().any(|source| source.oid == row.relation && !source.leaves.is_empty())
    };
    if !registered.iter().any(partitioned) {
        return Ok(moved);
    }
    let names = [("schema", quote_ident(schema)), ("schema_literal", quote_literal(schema))];
    let names = names.each_ref().map(|(name, value)| (*name, value.as_str()));
    let sql = render(include_str!("../../sql/capture/partitions.sql"), &names);
    let new: Vec<New> = query::json(client, "the partitions", &sql).await?;
    for partition in new {
        let what = if partition.rewritten {
            "was truncated or rewritten before tripline init knew it: rows that it had may still be at the targets"
        } else if came_with_rows(client, &partition).await? {
            "was attached with rows in it, which no event carried"
        } else {
            continue;
        };
        let what = format!("its partition {} {what}", partition.name);
        moved.entry(partition.relation).or_default().push(what);
    }
    Ok(moved)
}

async fn came_with_rows(client: &impl GenericClient, partition: &New) -> Result<bool, CaptureError> {
    let (Some(since), Some(command)) = (&partition.since, partition.command) else { return Ok(true) };
    let sql = render(
        include_str!("../../sql/capture/partition_rows.sql"),
        &[
            ("table", &partition.name.quoted()),
            ("since", &quote_literal(since)),
            ("command", &command.to_string()),
        ],
    );
    query::json(client, "a new partition", &sql).await
}
