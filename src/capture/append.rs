//! Existing rows of tables without a key. Nothing copies them in chunks, because nothing says where one ends and which of
//! them a change concerns; so they are logged, in one transaction that locks the table, behind a truncate.

use tokio_postgres::{Client, GenericClient};

use crate::config::{self, Config};
use crate::position::Snapshot;
use crate::selection::Selection;
use crate::session::exact_text_sql;
use crate::table::{Column, TableName, quote_ident, quote_literal};

use super::catalog::Source;
use super::ddl::RELOG_BYTES;
use super::error::{CaptureError, Refusal};
use super::init::{Action, may_lock, no_lock, unless_gone, with_patience};
use super::plan::Plan;
use super::registry::{self, Captured};
use super::render::{render, rows_of};
use super::{query, row};

/// Lets `init` log the rows of a table that is new or may have missed changes, unless nobody wants them. Refused where the
/// table is so large that its writers would wait for long: that is for a person to decide.
pub(super) async fn log_existing(
    client: &impl GenericClient,
    config: &Config,
    source: &Source,
    selection: &Selection,
    plan: &mut Plan,
) -> Result<Option<Refusal>, CaptureError> {
    if config.source.snapshot == config::Snapshot::Never {
        return Ok(None);
    }
    let bytes = size(client, source).await?;
    if bytes > RELOG_BYTES {
        return Ok(Some(Refusal {
            table: source.name.clone(),
            why: format!(
                "it is append_only and holds {} MiB of rows, which have to be logged while all who write it wait",
                bytes >> 20
            ),
            way_out: format!(
                "run `TRIPLINE__SOURCE__SNAPSHOT=never tripline init`, then `tripline init`, which asks for the rows of the \
                 other tables, and at a quiet time `tripline snapshot {}`, which logs those of this one",
                source.name
            ),
        }));
    }
    let schema = config.capture.schema.as_str();
    let log = TableName::new(schema, plan.log_table.as_str());
    let columns = selection.published(&source.columns);
    plan.statements.push(reload(&log, &source.name.quoted(), selection, &columns));
    plan.locks = true;
    plan.needs_snapshot = false;
    if plan.action != Action::Installed {
        plan.notes
            .push("may have missed changes: all its rows are logged anew, behind a truncate".to_owned());
    }
    Ok(None)
}

/// Returns the bytes that a table takes.
pub(super) async fn size(client: &impl GenericClient, source: &Source) -> Result<u64, CaptureError> {
    let relation = source.oid.to_string();
    let sql = render(include_str!("../../sql/capture/append_size.sql"), &[("relation", &relation)]);
    query::json(client, "the size of a table", &sql).await
}

/// Logs the rows of an append-only table anew, so that the targets become as it is. Who writes it waits meanwhile.
pub async fn log_anew(client: &mut Client, captured: &Captured) -> Result<(), CaptureError> {
    let name = &captured.table.name;
    let failed = |source| CaptureError::Query {
        what: format!("log the rows of {name} (run it as the role that runs tripline init)"),
        source,
    };
    let lock = render(include_str!("../../sql/capture/lock.sql"), &[("table", &name.quoted())]);
    let sql = |captured: &Captured| {
        reload(&captured.log_table, &rows_of(captured), &captured.selection, &captured.table.columns)
    };
    let wanted = sql(captured);
    with_patience(name, async || {
        let transaction = query::begin(client).await?;
        if !may_lock(&transaction, captured.oid).await? {
            return Err(no_lock(&transaction, name).await);
        }
        transaction.batch_execute(&lock).await.map_err(|error| unless_gone(error, name, failed))?;
        // Whoever held the lock may have altered the table, or what is captured of it.
        let now = registry::load(&transaction, &captured.log_table.schema).await?;
        if !now.iter().any(|now| now.table == captured.table && sql(now) == wanted) {
            return Err(CaptureError::Changed { table: name.clone() });
        }
        transaction.batch_execute(&wanted).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)
    })
    .await
}

/// Returns the first append-only table of which rows that `published` shows would stand twice at the destination, were all
/// of the log behind `offset` published again.
pub async fn repeated(
    client: &Client,
    captured: &[Captured],
    published: &Snapshot,
    offset: u64,
) -> Result<Option<TableName>, CaptureError> {
    for captured in captured.iter().filter(|captured| captured.table.is_append_only()) {
        let values = [
            ("log", captured.log_table.quoted()),
            ("offset", offset.to_string()),
            ("published", quote_literal(&published.to_string())),
        ];
        let values = values.each_ref().map(|(name, value)| (*name, value.as_str()));
        let sql = render(include_str!("../../sql/capture/append_repeats.sql"), &values);
        if query::json(client, "the log of a table", &sql).await? {
            return Ok(Some(captured.table.name.clone()));
        }
    }
    Ok(None)
}

fn reload(log: &TableName, rows: &str, selection: &Selection, columns: &[Column]) -> String {
    let names: Vec<String> = columns.iter().map(|column| quote_ident(&column.name)).collect();
    let filter = row::condition(selection).map(|filter| format!(" where {filter}")).unwrap_or_default();
    render(
        include_str!("../../sql/capture/append_reload.sql"),
        &[
            ("exact_text", &exact_text_sql("local")),
            ("log", &log.quoted()),
            ("columns", &names.join(", ")),
            ("row", &row::list(&log.schema, selection, columns, "t")),
            ("table", rows),
            ("where_filter", &filter),
        ],
    )
}
