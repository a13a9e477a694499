//! One side of a comparison: a session, and a transaction that sees one state.

use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, RowStream};

use super::VerifyError;
use super::cut::{Base, Copied};
use super::form::Here;
use super::sql;
use crate::capture::{self, Captured};
use crate::config::Config;
use crate::position::Snapshot;
use crate::session;
use crate::table::{TableName, quote_ident};
use crate::wire::cuts_topic;

/// Hash of a key.
pub(super) type KeyHash = Vec<u8>;

/// A session at one of the two servers.
pub(super) struct Side {
    which: &'static str,
    client: Client,
    /// Of `transaction_timeout`.
    lift: &'static str,
}

impl std::fmt::Debug for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Side").field("which", &self.which).finish_non_exhaustive()
    }
}

/// Rows and digests of one bucket.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Bucket {
    /// Rows.
    pub(super) rows: i64,
    /// Sums over their hashes.
    pub(super) sums: (String, String),
}

impl Side {
    pub(super) async fn open(which: &'static str, url: &str) -> Result<Self, VerifyError> {
        let client = session::connect(which, url, "verify").await?;
        let mut side = Self { which, client, lift: "" };
        let asked = session::lift_transaction_timeout(&side.client).await;
        side.lift = asked.map_err(side.failed("asking for the settings"))?;
        Ok(side)
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Says what failed. What the server says of values can quote them.
    fn failed(&self, what: &'static str) -> impl Fn(tokio_postgres::Error) -> VerifyError + use<> {
        let side = self.which;
        move |error| {
            let why = match error.as_db_error() {
                Some(db) if db.code().code().starts_with("42") => {
                    format!("{} ({})", db.message(), db.code().code())
                }
                Some(db) => format!("SQLSTATE {}", db.code().code()),
                None => error.to_string(),
            };
            VerifyError::Query { what, side, why }
        }
    }

    /// Opens the transaction over these tables; false when one of them is locked.
    pub(super) async fn begin(&self, tables: &[&TableName]) -> Result<bool, VerifyError> {
        match self.client.batch_execute(&sql::begin(tables, self.lift)).await {
            Ok(()) => Ok(true),
            Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => Ok(false),
            Err(error) => Err(self.failed("opening a transaction")(error)),
        }
    }

    /// Ends the transaction.
    pub(super) async fn end(&self) -> Result<(), VerifyError> {
        self.client.batch_execute("rollback").await.map_err(self.failed("ending a transaction"))
    }

    /// Takes the snapshot of the open transaction; with it the system identifier of the cluster.
    pub(super) async fn snapshot(&self) -> Result<(Snapshot, u64), VerifyError> {
        const WHAT: &str = "taking the snapshot";
        let text = include_str!("../../sql/verify/snapshot.sql");
        let row = self.client.query_one(text, &[]).await.map_err(self.failed(WHAT))?;
        let snapshot = row.get::<_, String>(0).parse().map_err(|_| VerifyError::Query {
            what: WHAT,
            side: self.which,
            why: "not a snapshot".into(),
        })?;
        Ok((snapshot, row.get::<_, i64>(1) as u64))
    }

    /// Reads up to which record of the cuts topic the destination has applied, as the open transaction shows it:
    /// epoch, pass, and the offset behind the record.
    pub(super) async fn applied(&self, pipeline: &str, prefix: &str) -> Result<(i64, i64, i64), VerifyError> {
        let nothing = || VerifyError::NothingApplied { target: "postgres", pipeline: pipeline.to_owned() };
        let text = include_str!("../../sql/verify/cut.sql");
        let row = match self.client.query_opt(text, &[&pipeline, &cuts_topic(prefix)]).await {
            Ok(row) => row.ok_or_else(nothing)?,
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => return Err(nothing()),
            Err(error) => return Err(self.failed("reading tripline.cuts")(error)),
        };
        Ok((row.get(0), row.get(1), row.get(2)))
    }

    /// Asks when the existing rows of a table are all at a target.
    pub(super) async fn copied(&self, config: &Config, captured: &Captured) -> Result<Copied, VerifyError> {
        let text = include_str!("../../sql/verify/copying.sql");
        let text = text.replace("{{schema}}", &quote_ident(&config.capture.schema));
        let pass = match self.client.query_one(&text, &[&config.pipeline, &captured.oid]).await {
            Ok(row) => row.get(0),
            // Of an older release, which copied nothing.
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => 0,
            Err(error) => return Err(self.failed("reading the snapshot requests")(error)),
        };
        Ok(Copied { table: captured.table.name.clone(), pass })
    }

    /// Refuses a target that has not applied what retention has removed: which keys are in flight, the log would not tell.
    pub(super) async fn has_log_behind(
        &self,
        config: &Config,
        target: &'static str,
        base: &Base,
    ) -> Result<(), VerifyError> {
        let schema = &config.capture.schema;
        if !capture::records_removal(&self.client, schema).await? {
            return Ok(());
        }
        let Some(removed) = capture::removed(&self.client, schema).await? else { return Ok(()) };
        let registered = capture::registration(&self.client, schema, &config.pipeline).await?;
        let Base { pass, part, snapshot, offset, .. } = base;
        match removed.is_missed_by((*pass, *part), snapshot, *offset, registered.as_ref()) {
            true => Err(VerifyError::Removed { target, pass: *pass, removed_to: removed.to }),
            false => Ok(()),
        }
    }

    /// Reads the columns of a table; none when there is no such table.
    pub(super) async fn columns(&self, table: &TableName) -> Result<Vec<Here>, VerifyError> {
        let text = include_str!("../../sql/verify/columns.sql");
        let rows = self.client.query(text, &[&table.schema, &table.name]).await;
        let rows = rows.map_err(self.failed("reading the columns"))?;
        let here = |row: &tokio_postgres::Row| Here {
            name: row.get(0),
            declared: row.get(1),
            plain: row.get(2),
            builtin: row.get(3),
            generated: row.get(4),
        };
        Ok(rows.iter().map(here).collect())
    }

    /// Returns the keys that changed behind `base`, `None` when the table was truncated.
    pub(super) async fn in_flight(
        &self,
        texts: &sql::Texts,
        captured: &Captured,
        base: &Base,
    ) -> Result<Option<Vec<KeyHash>>, VerifyError> {
        let rows = self.client.query(&texts.in_flight(captured, base), &[]).await;
        let rows = rows.map_err(self.failed("reading the log"))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Returns rows and digests by bucket, by the number of the bucket.
    pub(super) async fn digest(
        &self,
        texts: &sql::Texts,
        wanted: sql::Wanted,
        keys: &[KeyHash],
    ) -> Result<Vec<(i32, Bucket)>, VerifyError> {
        let rows = self.client.query(&texts.digest(wanted), &[&keys]).await;
        let rows = rows.map_err(self.failed("reading the digests"))?;
        let bucket = |row: &tokio_postgres::Row| Bucket { rows: row.get(1), sums: (row.get(2), row.get(3)) };
        Ok(rows.iter().map(|row| (row.get(0), bucket(row))).collect())
    }

    /// Returns the rows of buckets, in the order of their keys' hashes.
    pub(super) async fn rows(
        &self,
        texts: &sql::Texts,
        wanted: sql::Wanted,
        keys: &[KeyHash],
        buckets: &[i32],
    ) -> Result<Lines<'_>, VerifyError> {
        let failed = self.failed("reading rows");
        let text = texts.rows(wanted);
        let statement = self.client.prepare(&text).await.map_err(&failed)?;
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&keys, &buckets];
        let rows = self.client.query_raw(&statement, parameters).await.map_err(&failed)?;
        Ok(Lines { side: self, rows: Box::pin(rows) })
    }

    /// Reads by COPY: one line a piece.
    pub(super) async fn copy(
        &self,
        text: &str,
    ) -> Result<impl Stream<Item = Result<bytes::Bytes, VerifyError>> + Send + use<>, VerifyError> {
        let failed = self.failed("reading rows");
        let lines = self.client.copy_out(text).await.map_err(&failed)?;
        Ok(lines.map_err(failed).boxed())
    }
}

/// Rows on their way.
pub(super) struct Lines<'a> {
    side: &'a Side,
    rows: std::pin::Pin<Box<RowStream>>,
}

/// One row: hash of the key, hash of the whole row, texts of the key columns.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) key: KeyHash,
    pub(super) row: Vec<u8>,
    pub(super) names: Vec<Option<String>>,
}

impl Lines<'_> {
    /// Returns the next row.
    pub(super) async fn next(&mut self) -> Result<Option<Line>, VerifyError> {
        let row = self.rows.try_next().await.map_err(self.side.failed("reading rows"))?;
        Ok(row.map(|row| Line { key: row.get(0), row: row.get(1), names: row.get(2) }))
    }
}
