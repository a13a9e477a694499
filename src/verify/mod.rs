//! Compares the targets with the source, table by table, while writes go on.
//!
//! ```text
//! destination: snapshot ── record of the cuts topic ─▶ T ─┐
//! source: snapshot S, taken later ── log rows in S, not in T ─▶ keys in flight
//! both: digests by bucket of the key's hash ─▶ rows of the buckets that differ ─▶ keys that differ
//! ```
//!
//! `cut` finds T, `form` says which text of a value is compared, `sql` and `postgres` ask the servers, `destination` and
//! `mirrored` compare, `rounds` looks again at what was in flight. docs/verify.md has the proof.

mod cut;
mod destination;
mod error;
mod form;
mod mirrored;
mod noted;
mod postgres;
mod rounds;
mod sql;

use serde::Serialize;
use serde_json::value::RawValue;

pub use error::VerifyError;
pub use noted::{Noted, note, noted};
pub use rounds::{Compared, Difference, Differing};

use crate::capture::{self, Captured};
use crate::config::{Config, Consistency};
use crate::consume::{self, GroupOffsets};
use crate::error::{Error, chain};
use crate::table::TableName;
use postgres::Side;

/// What was found out about one table at one target.
#[derive(Debug, Serialize)]
pub struct TableReport {
    /// `schema.table`.
    pub table: String,
    /// `postgres` or `clickhouse`.
    pub target: &'static str,
    /// What was found, or why nothing could be.
    #[serde(flatten)]
    pub result: Answer,
}

/// What was found, or why nothing could be.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// It was compared.
    Compared(Compared),
    /// It could not be compared.
    Failed {
        /// Why, without row values.
        error: String,
    },
}

/// Compares the captured tables named by `tables`, all of them when it is empty, with every target that is configured.
///
/// A table that cannot be compared is part of the answer; an error is what stands in the way of all of them. Needs a
/// runtime with several threads.
pub async fn run(config: &Config, tables: &[String]) -> Result<Vec<TableReport>, Error> {
    let url = config.destination_url()?;
    if url.is_none() && config.clickhouse.is_none() {
        return Err(Error::NoTarget);
    }
    let source = open("source", config.source_url()?).await?;
    let captured = capture::load(source.client(), &config.capture.schema).await?;
    let chosen = choose(captured, tables)?;
    let mut reports = Vec::new();
    if let Some(url) = url {
        let destination = open("destination", url).await?;
        for captured in &chosen {
            let compared = match config.apply.consistency {
                Consistency::Cut => destination::compare(config, &source, &destination, captured).await,
                Consistency::Key => Err(VerifyError::PerKey),
            };
            reports.push(report(captured, "postgres", compared));
        }
    }
    if let Some(clickhouse) = &config.clickhouse {
        let group = consume::group(config, "clickhouse");
        let offsets = tokio::task::block_in_place(|| GroupOffsets::open(config, &group))?;
        for captured in &chosen {
            let compared = mirrored::compare(config, clickhouse, &source, &offsets, captured).await;
            reports.push(report(captured, "clickhouse", compared));
        }
    }
    Ok(reports)
}

async fn open(which: &'static str, url: &str) -> Result<Side, VerifyError> {
    Side::open(which, url).await
}

fn report(captured: &Captured, target: &'static str, compared: Result<Compared, VerifyError>) -> TableReport {
    let result = match compared {
        Ok(compared) => Answer::Compared(compared),
        Err(error) => Answer::Failed { error: chain(&error) },
    };
    TableReport { table: captured.table.name.to_string(), target, result }
}

/// Returns the tables that are named, as `schema.table`, or `table` for `public.table`.
pub(crate) fn choose(captured: Vec<Captured>, names: &[String]) -> Result<Vec<Captured>, VerifyError> {
    let is = |captured: &Captured, name: &str| {
        let table = &captured.table.name;
        table.to_string() == name || (table.schema == "public" && table.name == name)
    };
    if let Some(name) = names.iter().find(|name| !captured.iter().any(|captured| is(captured, name))) {
        let all: Vec<String> = captured.iter().map(|captured| captured.table.name.to_string()).collect();
        return Err(VerifyError::NotCaptured { name: name.clone(), captured: all.join(", ") });
    }
    let chosen = captured
        .into_iter()
        .filter(|captured| names.is_empty() || names.iter().any(|name| is(captured, name)));
    Ok(chosen.collect())
}

/// Names a row that has no key, by the hexadecimal SHA-256 of what is compared of it.
fn row_name(table: &TableName, sha256: &str) -> Result<Box<RawValue>, VerifyError> {
    raw(table, format!(r#"{{"row_sha256":"{sha256}"}}"#).into_bytes())
}

/// Takes over JSON that was written here.
fn raw(table: &TableName, json: Vec<u8>) -> Result<Box<RawValue>, VerifyError> {
    let text = String::from_utf8(json).ok().and_then(|text| RawValue::from_string(text).ok());
    text.ok_or_else(|| VerifyError::Row {
        table: table.clone(),
        source: crate::wire::WireError::Mismatch { kind: "key" },
    })
}
