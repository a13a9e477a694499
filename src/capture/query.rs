//! Statements as one simple query, answers as one JSON text: nothing is prepared, so a pooler does no harm.

use serde::de::DeserializeOwned;
use tokio_postgres::{Client, GenericClient, IsolationLevel, SimpleQueryMessage, Transaction};

use super::error::CaptureError;

/// Settings of every transaction of ours: names resolve to the catalog alone, nobody waits for us for long.
const LOCAL_SETTINGS: &str = "set local search_path = pg_catalog; set local standard_conforming_strings = on; \
     set local lock_timeout = '2s'; set local client_min_messages = warning; \
     set local jit = off;";

/// Opens a transaction in which the files under `sql/capture/` mean what they say.
pub(super) async fn begin(client: &mut Client) -> Result<Transaction<'_>, CaptureError> {
    let failed = |source| CaptureError::Query { what: "open a transaction".into(), source };
    // Whatever the role's default: what is read behind a lock has to show what was committed while we waited for it.
    let begun = client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start();
    let transaction = begun.await.map_err(failed)?;
    transaction.batch_execute(LOCAL_SETTINGS).await.map_err(failed)?;
    Ok(transaction)
}

/// Runs a query that returns one JSON value.
pub(crate) async fn json<T: DeserializeOwned>(
    client: &impl GenericClient,
    what: &'static str,
    sql: &str,
) -> Result<T, CaptureError> {
    let messages = client
        .simple_query(sql)
        .await
        .map_err(|source| CaptureError::Query { what: format!("read {what}"), source })?;
    let text = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    serde_json::from_str(text.unwrap_or("null")).map_err(|source| CaptureError::Decode { what, source })
}
