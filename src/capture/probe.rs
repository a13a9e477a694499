//! Asks the server whether it takes a filter and fixed values, before they become part of the application's writes.

use tokio_postgres::Transaction;

use crate::selection::{Mask, Selection};
use crate::table::quote_literal;

use super::catalog::Source;
use super::error::{CaptureError, Refusal};
use super::render::render;
use super::row::{base_type, condition};

/// Returns why the server does not take the filter or a fixed value of `selection`. Changes nothing.
pub(super) async fn probe(
    transaction: &mut Transaction<'_>,
    source: &Source,
    selection: &Selection,
) -> Result<Option<Refusal>, CaptureError> {
    let refuse = |why: String, what: &str| {
        let way_out = format!("correct {what} in [[table]] name = \"{}\"", source.name);
        Some(Refusal { table: source.name.clone(), why, way_out })
    };
    if let Some(filter) = condition(selection) {
        let table = source.name.quoted();
        let sql = render(
            include_str!("../../sql/capture/probe_filter.sql"),
            &[("table", &table), ("filter", &filter)],
        );
        if let Err(why) = attempt(transaction, &sql).await? {
            return Ok(refuse(format!("its filter cannot be used ({why})"), "filter"));
        }
    }
    for (name, mask) in &selection.mask {
        let Mask::Value(text) = mask else { continue };
        let Some(column) = source.columns.iter().find(|column| column.name == *name) else { continue };
        let values = [
            ("value", quote_literal(text)),
            ("declared", column.declared.clone()),
            ("base", base_type(&column.base)),
        ];
        let values = values.each_ref().map(|(name, value)| (*name, value.as_str()));
        let sql = render(include_str!("../../sql/capture/probe_value.sql"), &values);
        let why = match attempt(transaction, &sql).await? {
            Ok(true) => continue,
            Ok(false) => "the type writes it in another way".to_owned(),
            Err(why) => why,
        };
        let why = format!("the value for its column {name} is none of type {} ({why})", column.declared);
        return Ok(refuse(why, "mask"));
    }
    Ok(None)
}

/// Runs statements and takes them back: whether the last one answered with true, or what the server has against them.
async fn attempt(transaction: &mut Transaction<'_>, sql: &str) -> Result<Result<bool, String>, CaptureError> {
    let failed = |source| CaptureError::Query { what: "try a filter or a value".into(), source };
    let savepoint = transaction.transaction().await.map_err(failed)?;
    let answer = savepoint.simple_query(sql).await;
    savepoint.rollback().await.map_err(failed)?;
    match answer {
        Ok(messages) => Ok(Ok(messages.iter().any(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0) == Some("t"),
            _ => false,
        }))),
        Err(error) => match error.as_db_error() {
            Some(refused) => Ok(Err(refused.message().to_owned())),
            None => Err(failed(error)),
        },
    }
}
