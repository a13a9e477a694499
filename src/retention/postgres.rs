//! The session that removes log rows.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::RetentionError;
use super::look::{Log, Look, look};
use crate::capture::{self, CaptureError, query_json, render};
use crate::config::Config;
use crate::right::Lacking;
use crate::session;
use crate::table::{TableName, quote_ident, quote_literal};

/// What a batch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batch {
    /// So many rows are gone, the last of which had this `cdc_id`; none: there are none that may go.
    Removed {
        /// How many.
        rows: u64,
        /// The highest `cdc_id` of them.
        to: u64,
    },
    /// Somebody else has locked the log table, or registers a pipeline.
    Locked,
}

/// Removes log rows, over a session of its own.
#[derive(Debug)]
pub struct Cleaner {
    client: Client,
    schema: String,
    keep_hours: u32,
}

impl Cleaner {
    /// Connects as the role that removes log rows. Refuses one that may not, and a source without a record of what was
    /// removed; `only_looks` needs neither.
    pub async fn connect(config: &Config, only_looks: bool) -> Result<Self, RetentionError> {
        let url = if only_looks { config.source_url()? } else { config.retention_url()? };
        let client = session::connect("source", url, "retention").await?;
        let schema = config.capture.schema.clone();
        if !only_looks {
            let lacking = lacking(&client, &schema).await?;
            if !lacking.is_empty() {
                return Err(RetentionError::Denied { lacking });
            }
            if !capture::records_removal(&client, &schema).await? {
                return Err(RetentionError::NoRecord { schema });
            }
        }
        Ok(Self { client, schema, keep_hours: config.retention.keep_hours })
    }

    /// Looks at the log.
    pub async fn look(&self) -> Result<Look, CaptureError> {
        look(&self.client, &self.schema).await
    }

    /// Removes at most `rows` of the oldest rows of a log table that no pipeline needs and that are old enough, above what
    /// was removed already. `stopped`: nothing is written to it any more ([`Look::bound`]).
    pub async fn remove(&self, log: &Log, stopped: bool, rows: u32) -> Result<Batch, RetentionError> {
        let released = match stopped {
            true => "(p.acknowledged ->> 'offset')::int8",
            false => "least((p.acknowledged ->> 'offset')::int8, (p.acknowledged ->> 'anchor')::int8 - 1)",
        };
        let begin = render(
            include_str!("../../sql/retention/begin.sql"),
            &[("key", &capture::retention_key(&self.schema))],
        );
        let remove = render(
            include_str!("../../sql/retention/remove.sql"),
            &[
                ("schema", &quote_ident(&self.schema)),
                ("log", &TableName::new(self.schema.as_str(), log.name.as_str()).quoted()),
                ("log_literal", &quote_literal(&log.name)),
                ("released", released),
                ("cursor", &log.removed_to.to_string()),
                ("rows", &rows.to_string()),
                ("keep_hours", &self.keep_hours.to_string()),
            ],
        );
        match self.client.simple_query(&format!("{begin}{remove}commit")).await {
            Ok(messages) => {
                let row = messages.iter().rev().find_map(|message| match message {
                    SimpleQueryMessage::Row(row) => Some(row),
                    _ => None,
                });
                let number = |column| row.and_then(|row| row.get(column)?.parse::<u64>().ok()).unwrap_or(0);
                Ok(Batch::Removed { rows: number(0), to: number(1).max(log.removed_to) })
            }
            Err(source) => {
                // Where that fails too, the next statement says so.
                self.client.batch_execute("rollback").await.ok();
                match source.code() {
                    // A table that was dropped is not there at the next look.
                    Some(
                        &SqlState::LOCK_NOT_AVAILABLE
                        | &SqlState::T_R_DEADLOCK_DETECTED
                        | &SqlState::UNDEFINED_TABLE,
                    ) => Ok(Batch::Locked),
                    _ => Err(RetentionError::Remove { log_table: log.name.clone(), source }),
                }
            }
        }
    }
}

/// Returns what the session's role lacks to remove log rows: nothing for the cleaner of `sql/roles.sql`.
pub async fn lacking(client: &Client, schema: &str) -> Result<Vec<Lacking>, CaptureError> {
    let sql =
        render(include_str!("../../sql/retention/rights.sql"), &[("schema_literal", &quote_literal(schema))]);
    query_json(client, "the role's rights", &sql).await
}
