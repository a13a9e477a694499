//! The tail's session: sends the statements of [`super::sql`] and reads their answers.

use std::collections::HashMap;
use std::pin::pin;
use std::str::FromStr;

use futures_util::StreamExt;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use super::load::{Ended, KeyColumn, Request};
use super::sql::{Prepared, WindowQuery};
use super::window::WindowBuilder;
use super::{LogTable, TailError, sql};
use crate::position::{Identity, Snapshot, Xid};
use crate::session::{self, SessionError};
use crate::table::{TableName, quote_ident, quote_literal};
use crate::wire::escape_copy;

/// Answer to the statement of an idle poll.
#[derive(Debug)]
pub(super) struct Polled {
    pub(super) snapshot: Snapshot,
    /// `None` when the sequence was never used, and on newer servers when the role may not read it.
    pub(super) last_id: Option<u64>,
    pub(super) in_recovery: bool,
    pub(super) postmaster_start: i64,
    /// The catalog's fingerprint, where it was asked for.
    pub(super) fingerprint: Option<String>,
    /// The source's clock, microseconds since 1970.
    pub(super) clock_micros: i64,
}

/// Where the source stands.
#[derive(Debug)]
pub(super) struct Standing {
    /// The transaction id that is given out next.
    pub(super) next_xid: Xid,
    /// The highest id in the log tables, 0 when they are empty.
    pub(super) highest_logged: u64,
    /// Where the sequence stands, 0 when it was never used.
    pub(super) last_id: u64,
}

/// What the opening of a window's transaction showed.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) snapshot: Snapshot,
    pub(super) in_recovery: bool,
    pub(super) postmaster_start: i64,
    pub(super) timeline: u32,
    pub(super) insert_lsn: String,
    pub(super) clock_micros: i64,
    pub(super) fingerprint: String,
    /// The pipeline's statements that are prepared in this session, between spaces.
    pub(super) prepared: Option<String>,
}

pub(super) struct Session {
    client: Client,
    url: String,
    sequence: TableName,
    lock_timeout_ms: u64,
    /// Of `transaction_timeout`.
    lift: &'static str,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

fn failed(what: &'static str) -> impl Fn(tokio_postgres::Error) -> TailError {
    move |source| match source.code() {
        // A migration that alters several tables takes their log tables in its own order.
        Some(&SqlState::LOCK_NOT_AVAILABLE | &SqlState::T_R_DEADLOCK_DETECTED) => TailError::Locked,
        _ => TailError::Query { what, source },
    }
}

async fn connect(url: &str) -> Result<Client, SessionError> {
    session::connect("source", url, "publish").await
}

impl Session {
    pub(super) async fn open(url: &str, schema: &str, lock_timeout_ms: u64) -> Result<Self, TailError> {
        let client = connect(url).await?;
        let lift = session::lift_transaction_timeout(&client).await.map_err(failed("the settings"))?;
        Ok(Self {
            client,
            lift,
            url: url.to_owned(),
            sequence: TableName::new(schema, "cdc_id_seq"),
            lock_timeout_ms,
        })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the session for transactions of others, between passes.
    pub(super) fn client_mut(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Runs statements of the simple protocol and returns their rows.
    async fn rows(&self, what: &'static str, sql: &str) -> Result<Vec<SimpleQueryRow>, TailError> {
        let messages = self.client.simple_query(sql).await.map_err(failed(what))?;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        Ok(rows.collect())
    }

    pub(super) async fn row(&self, what: &'static str, sql: &str) -> Result<SimpleQueryRow, TailError> {
        self.rows(what, sql).await?.into_iter().next().ok_or(TailError::Answer(what))
    }

    pub(super) async fn identity(&self) -> Result<Identity, TailError> {
        const WHAT: &str = "the identity";
        let row = self.row(WHAT, &sql::identity()).await?;
        Ok(Identity {
            system: parse(&row, 0, WHAT)?,
            postmaster_start: parse(&row, 1, WHAT)?,
            database: parse(&row, 2, WHAT)?,
            in_recovery: row.get(3) == Some("t"),
            timeline: timeline(row.get(4)),
        })
    }

    /// Returns the output functions of the built-in types by the types' names, but for those that print by the function
    /// of another type (refcursor).
    pub(super) async fn output_functions(&self) -> Result<HashMap<String, String>, TailError> {
        let sql = "select t.typname, p.proname from pg_catalog.pg_type t join pg_catalog.pg_proc p on p.oid = \
             t.typoutput join pg_catalog.pg_type a on a.oid = p.proargtypes[0] \
             where t.typnamespace = 'pg_catalog'::pg_catalog.regnamespace and (a.oid = t.oid or a.typtype = 'p')";
        let rows = self.rows("the output functions", sql).await?;
        Ok(rows.iter().filter_map(|row| Some((row.get(0)?.to_owned(), row.get(1)?.to_owned()))).collect())
    }

    /// Asks where the source stands; fails when the role may not read the sequence.
    pub(super) async fn standing(&self, tables: &[LogTable]) -> Result<Standing, TailError> {
        const WHAT: &str = "where the source stands";
        self.may_read().await?;
        let row = self.row(WHAT, &sql::standing(&self.sequence, tables)).await?;
        Ok(Standing {
            next_xid: parse(&row, 0, WHAT)?,
            highest_logged: optional(&row, 1, WHAT)?.unwrap_or(0),
            last_id: optional(&row, 2, WHAT)?.unwrap_or(0),
        })
    }

    /// Fails when the role may not read the sequence.
    pub(super) async fn may_read(&self) -> Result<(), TailError> {
        let row = self.row("the sequence's rights", &sql::may_read(&self.sequence)).await?;
        if row.get(0) == Some("t") {
            return Ok(());
        }
        let role = row.get(1).unwrap_or_default().to_owned();
        Err(TailError::NoRight { sequence: self.sequence.clone(), role })
    }

    pub(super) async fn poll(&self, fingerprint: Option<&str>) -> Result<Polled, TailError> {
        const WHAT: &str = "the poll";
        let row = self.row(WHAT, &sql::poll(&self.sequence, fingerprint)).await?;
        Ok(Polled {
            snapshot: parse(&row, 0, WHAT)?,
            last_id: optional(&row, 1, WHAT)?,
            in_recovery: row.get(2) == Some("t"),
            postmaster_start: parse(&row, 3, WHAT)?,
            fingerprint: row.get(4).map(str::to_owned),
            clock_micros: parse(&row, 5, WHAT)?,
        })
    }

    /// Takes a mark: (sequence value, transaction id).
    pub(super) async fn mark(&self) -> Result<(u64, Xid), TailError> {
        const WHAT: &str = "the mark";
        let rows = self.rows(WHAT, &sql::mark(&self.sequence)).await?;
        let [id, xid] = rows.as_slice() else { return Err(TailError::Answer(WHAT)) };
        Ok((optional(id, 0, WHAT)?.unwrap_or(0), parse(xid, 0, WHAT)?))
    }

    /// Opens a window's transaction, with a lock on the table `load` too where a chunk of its rows is to be read.
    pub(super) async fn begin(
        &self,
        tables: &[LogTable],
        load: Option<&TableName>,
        fingerprint: &str,
        prepared: Option<&Prepared>,
    ) -> Result<Opened, TailError> {
        const WHAT: &str = "opening a pass";
        let sql = sql::open(tables, load, self.lock_timeout_ms, self.lift, fingerprint, prepared);
        let row = match self.row(WHAT, &sql).await {
            Ok(row) => row,
            Err(error) => return Err(self.give_up(error).await),
        };
        Ok(Opened {
            snapshot: parse(&row, 0, WHAT)?,
            in_recovery: row.get(1) == Some("t"),
            postmaster_start: parse(&row, 2, WHAT)?,
            timeline: timeline(row.get(3)),
            insert_lsn: row.get(4).unwrap_or("0/0").to_owned(),
            clock_micros: parse(&row, 5, WHAT)?,
            fingerprint: row.get(6).unwrap_or_default().to_owned(),
            prepared: row.get(7).map(str::to_owned),
        })
    }

    /// Returns the next request for existing rows. A registry of an older release holds none.
    pub(super) async fn next_request(
        &self,
        schema: &str,
        pipeline: &str,
        offset: u64,
    ) -> Result<Option<Request>, TailError> {
        const WHAT: &str = "the snapshot requests";
        let sql = fill(include_str!("../../sql/tail/load_next.sql"), schema, pipeline, 0);
        let sql = sql.replace("{{offset}}", &offset.to_string());
        let rows = match self.rows(WHAT, &sql).await {
            Err(TailError::Query { source, .. }) if source.code() == Some(&SqlState::UNDEFINED_TABLE) => {
                return Ok(None);
            }
            rows => rows?,
        };
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(Request {
            run: parse(row, 0, WHAT)?,
            relation: parse(row, 1, WHAT)?,
            sweeps: row.get(2) == Some("t"),
            condition: row.get(3).map(str::to_owned),
        }))
    }

    /// Notes that a request was taken up.
    pub(super) async fn begin_request(
        &self,
        schema: &str,
        pipeline: &str,
        run: u64,
    ) -> Result<(), TailError> {
        self.note(schema, &fill(include_str!("../../sql/tail/load_begin.sql"), schema, pipeline, run)).await
    }

    /// Notes how many rows of a request are read; false when it was given up.
    pub(super) async fn note_request(
        &self,
        schema: &str,
        pipeline: &str,
        run: u64,
        rows: u64,
    ) -> Result<bool, TailError> {
        let sql = fill(include_str!("../../sql/tail/load_progress.sql"), schema, pipeline, run);
        let sql = sql.replace("{{rows}}", &rows.to_string());
        Ok(!self.rows("noting how far a snapshot is", &sql).await?.is_empty())
    }

    /// Notes that a request is through, or why there is nothing to do.
    pub(super) async fn end_request(
        &self,
        schema: &str,
        pipeline: &str,
        Ended { run, rows, pass, note }: Ended<'_>,
    ) -> Result<(), TailError> {
        let sql = fill(include_str!("../../sql/tail/load_end.sql"), schema, pipeline, run);
        let note = note.map_or("null".to_owned(), quote_literal);
        self.note(
            schema,
            &sql.replace("{{rows}}", &rows.to_string())
                .replace("{{pass}}", &pass.to_string())
                .replace("{{note}}", &note),
        )
        .await
    }

    async fn note(&self, schema: &str, sql: &str) -> Result<(), TailError> {
        self.client.batch_execute(sql).await.map_err(|source| match source.code() {
            Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                TailError::NotRegistered { registry: format!("{}.snapshots", quote_ident(schema)) }
            }
            _ => TailError::Query { what: "noting how far a snapshot is", source },
        })
    }

    /// Returns the key of a captured table, in the order of its index.
    pub(super) async fn load_key(&self, schema: &str, relation: u32) -> Result<Vec<KeyColumn>, TailError> {
        const WHAT: &str = "the key of a table";
        let sql = include_str!("../../sql/tail/load_key.sql")
            .replace("{{schema}}", &quote_ident(schema))
            .replace("{{relation}}", &relation.to_string());
        // Types are named in full, as the declared types are.
        let sql = format!("begin; set local search_path = pg_catalog; {sql}; commit");
        let rows = self.rows(WHAT, &sql).await?;
        let column = |row: &SimpleQueryRow| {
            let text = |at: usize| row.get(at).map(str::to_owned).ok_or(TailError::Answer(WHAT));
            Ok(KeyColumn {
                name: text(0)?,
                less: text(1)?,
                greater: text(2)?,
                equal: text(3)?,
                default: row.get(4) == Some("t"),
                declared: text(5)?,
            })
        };
        match rows.is_empty() {
            true => Err(TailError::Answer(WHAT)),
            false => rows.iter().map(column).collect(),
        }
    }

    /// Ends the transaction of a window that is not to be: the session is used again where the error passes.
    pub(super) async fn give_up(&self, error: TailError) -> TailError {
        if self.client.is_closed() {
            return error;
        }
        self.rollback().await.err().unwrap_or(error)
    }

    pub(super) async fn rollback(&self) -> Result<(), TailError> {
        self.client.batch_execute("rollback").await.map_err(failed("rollback"))
    }

    /// Reads lines into `builder`; returns true when it stopped at `most_bytes` before the end.
    pub(super) async fn copy(
        &mut self,
        sql: &str,
        most_bytes: usize,
        builder: &mut WindowBuilder,
        mut push: impl FnMut(&mut WindowBuilder, &[u8]) -> Result<(), TailError>,
    ) -> Result<bool, TailError> {
        const WHAT: &str = "reading rows";
        let stream = self.client.copy_out(sql).await.map_err(failed(WHAT))?;
        let mut stream = pin!(stream);
        while let Some(line) = stream.next().await {
            push(builder, &line.map_err(failed(WHAT))?)?;
            if builder.bytes.len() >= most_bytes {
                self.cut_short().await?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Gives up a statement whose rows are being read. The rest may be gigabytes: it ends instead of being read into
    /// nothing. A cancellation can arrive late and hit whatever comes next in the session, so nothing does.
    async fn cut_short(&mut self) -> Result<(), TailError> {
        session::cancel("source", &self.url, &self.client.cancel_token()).await?;
        self.client = connect(&self.url).await?;
        Ok(())
    }

    /// Reads a window by its prepared statement, as [`Session::copy`] does. `standing` are those that this session has.
    pub(super) async fn execute(
        &mut self,
        prepared: &Prepared,
        standing: &str,
        query: WindowQuery<'_>,
        most_bytes: usize,
        builder: &mut WindowBuilder,
    ) -> Result<bool, TailError> {
        const WHAT: &str = "reading rows of many tables";
        if !standing.split(' ').any(|name| name == prepared.name) {
            let others = standing.split(' ').filter(|name| !name.is_empty());
            self.client.batch_execute(&prepared.prepare(others)).await.map_err(failed(WHAT))?;
        }
        let stream = self.client.simple_query_raw(&prepared.execute(query)).await.map_err(failed(WHAT))?;
        let mut stream = pin!(stream);
        let (mut line, mut dropped) = (Vec::new(), 0);
        while let Some(message) = stream.next().await {
            let SimpleQueryMessage::Row(row) = message.map_err(failed(WHAT))? else { continue };
            copy_line(&row, &mut line).map_err(|field| {
                let number =
                    |field: usize| row.try_get(field).ok().flatten().and_then(|text| text.parse().ok());
                builder.not_utf8(number(0), number(1), field)
            })?;
            if builder.bytes.len() < most_bytes {
                builder.push(&line)?;
                continue;
            }
            // A new session has to prepare it again, which costs more than to read a little for nothing.
            dropped += line.len();
            if dropped >= most_bytes {
                self.cut_short().await?;
                return Ok(true);
            }
        }
        Ok(dropped > 0)
    }

    /// Closes a window's transaction; returns whether all that its snapshot showed is on disk.
    pub(super) async fn end(&self, insert_lsn: &str) -> Result<bool, TailError> {
        let row = self.row("closing a pass", &sql::close(insert_lsn)).await?;
        Ok(row.get(0) == Some("t"))
    }

    /// Tells whether everything that is committed has reached the disk.
    pub(super) async fn is_flushed(&self) -> Result<bool, TailError> {
        Ok(self.row("the flushed position", sql::IS_FLUSHED).await?.get(0) == Some("t"))
    }

    pub(super) async fn nudge(&self) -> Result<(), TailError> {
        self.client.batch_execute(sql::NUDGE).await.map_err(failed("flushing the source's log"))
    }

    /// Returns transaction and time of a log row, `None` when the row is gone.
    pub(super) async fn anchor(
        &self,
        table: &TableName,
        cdc_id: u64,
    ) -> Result<Option<(Xid, i64)>, TailError> {
        const WHAT: &str = "the anchors";
        let rows = self.rows(WHAT, &sql::anchor(table, cdc_id)).await?;
        rows.first().map(|row| Ok((parse(row, 0, WHAT)?, parse(row, 1, WHAT)?))).transpose()
    }
}

/// Writes a row as COPY would; returns the number of a field that is not UTF-8.
fn copy_line(row: &SimpleQueryRow, line: &mut Vec<u8>) -> Result<(), usize> {
    line.clear();
    for column in 0..row.len() {
        if column > 0 {
            line.push(b'\t');
        }
        match row.try_get(column).map_err(|_| column)? {
            None => line.extend_from_slice(b"\\N"),
            Some(text) => escape_copy(text.as_bytes(), line),
        }
    }
    Ok(())
}

/// Fills in whose request a statement is about.
fn fill(sql: &str, schema: &str, pipeline: &str, run: u64) -> String {
    sql.replace("{{schema}}", &quote_ident(schema))
        .replace("{{pipeline}}", &quote_literal(pipeline))
        .replace("{{run}}", &run.to_string())
}

fn parse<T: FromStr>(row: &SimpleQueryRow, column: usize, what: &'static str) -> Result<T, TailError> {
    row.get(column).and_then(|text| text.parse().ok()).ok_or(TailError::Answer(what))
}

/// Reads a value that may be NULL.
fn optional<T: FromStr>(
    row: &SimpleQueryRow,
    column: usize,
    what: &'static str,
) -> Result<Option<T>, TailError> {
    row.get(column).map(|_| parse(row, column, what)).transpose()
}

/// Reads the timeline from the first eight digits of a WAL file's name.
fn timeline(text: Option<&str>) -> u32 {
    text.and_then(|hex| u32::from_str_radix(hex, 16).ok()).unwrap_or(0)
}
