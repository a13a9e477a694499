//! Existing rows: copied chunk by chunk in key order, each chunk in the transaction of a pass (docs/snapshot.md).
//!
//! A chunk is read behind the rows of a pass that fits in one window, and shows what snapshot T shows: a row that is
//! changed later is changed by a later pass, and one that was changed before is there as it is. Nobody waits for anybody.

use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;

use super::window::{ReadChunk, WindowBuilder};
use super::{OpenPass, Tail, TailError};
use crate::capture::{self, Captured};
use crate::position::{Load, Position};
use crate::table::{TableName, quote_ident, quote_literal};
use crate::wire::Fields;

/// Time between two looks for a request, and before a table that somebody has locked is tried again.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Time between two log lines about how far a table is.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// A key column, with the operators of the table's key index.
#[derive(Debug, Clone)]
pub(super) struct KeyColumn {
    pub(super) name: String,
    pub(super) less: String,
    pub(super) greater: String,
    pub(super) equal: String,
    /// The type's default order, with operators of `pg_catalog`: rows compare as a whole.
    pub(super) default: bool,
    /// Type of a literal.
    pub(super) declared: String,
}

/// A request as the source holds it.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) run: u64,
    pub(super) relation: u32,
    pub(super) sweeps: bool,
    pub(super) condition: Option<String>,
}

/// How a request ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended<'a> {
    pub(super) run: u64,
    pub(super) rows: u64,
    /// Pass of the last chunk.
    pub(super) pass: u64,
    /// Why nothing was to be done.
    pub(super) note: Option<&'a str>,
}

impl Request {
    /// Tells whether it can begin. Rows that are gone are told from others by their age, and a row that is copied again has
    /// to win over what is there: everything older than the request has to be settled. The first copy of a table that was
    /// just installed waits for nothing.
    fn is_due(&self, offset: u64) -> bool {
        let first = !self.sweeps && self.condition.is_none();
        first || offset >= self.run
    }
}

/// The request that is being worked off.
#[derive(Debug)]
pub(super) struct Loading {
    request: Request,
    /// Index in [`Tail::tables`].
    table: usize,
    key: Vec<KeyColumn>,
    /// Rows of the next chunk at most.
    rows: usize,
    /// Rows that were read and the last one's key, where the table's keys must not leave the source and be part of the
    /// position: without it the copying begins again.
    secret: Option<(u64, Vec<String>)>,
    noted: Instant,
    said: Instant,
}

impl Loading {
    /// Returns the COPY of the rows behind the key `after`; with `keys` the key columns as they are come behind the row.
    fn copy_sql(&self, captured: &Captured, after: &[String], keys: bool) -> String {
        let columns = || self.key.iter().map(|key| format!("t.{}", quote_ident(&key.name)));
        let mut row = captured.row("t");
        if keys {
            row.extend(columns().enumerate().map(|(number, key)| format!(", {key} as cdc_key_{number}")));
        }
        let conditions = [
            captured.filter(),
            self.request.condition.as_ref().map(|condition| format!("(\n{condition}\n)")),
            (!after.is_empty()).then(|| behind(&self.key, after)),
        ];
        let conditions: Vec<String> = conditions.into_iter().flatten().collect();
        let condition = if conditions.is_empty() { "true".to_owned() } else { conditions.join(" and ") };
        let order = columns().zip(&self.key).map(|(column, key)| format!("{column} using {}", key.less));
        capture::render(
            include_str!("../../sql/tail/chunk.sql"),
            &[
                ("row", &row),
                ("table", &capture::rows_of(captured)),
                ("condition", &condition),
                ("order", &order.collect::<Vec<_>>().join(", ")),
                ("rows", &self.rows.to_string()),
            ],
        )
    }
}

/// Reads the texts of these fields of a COPY line; none of them is NULL.
fn texts(line: &[u8], places: &[usize]) -> Result<Vec<String>, TailError> {
    let fields: Vec<_> = Fields::new(line).collect();
    let text = |place: &usize| {
        let text = fields.get(*place).and_then(|field| field.text()).ok_or(TailError::Line)?;
        String::from_utf8(text.into_owned()).map_err(|_| TailError::Line)
    };
    places.iter().map(text).collect()
}

/// Names the table whose rows the role may not read, where that is what an error says.
pub(super) fn unreadable(error: TailError, table: &TableName) -> TailError {
    match error {
        TailError::Query { source, .. } if source.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
            TailError::Unreadable { table: table.clone(), source }
        }
        error => error,
    }
}

/// What the tail knows of requests.
#[derive(Debug, Default)]
pub(super) struct Loads {
    loading: Option<Loading>,
    looked: Option<Instant>,
    /// The table is locked by somebody: it is left in peace until then.
    rest_until: Option<Instant>,
    /// The last request whose end is noted at the source.
    ended: Option<u64>,
}

impl Loads {
    /// The captured tables are others now: whatever was found out about one is asked again.
    pub(super) fn forget(&mut self) {
        self.loading = None;
        self.looked = None;
    }

    /// Leaves the table in peace for a while, because somebody else has locked it.
    pub(super) fn rest(&mut self) {
        self.rest_until = Some(Instant::now() + LOOK_EVERY);
    }
}

impl Tail {
    /// Returns the table of which the next pass reads a chunk, where there is one: it is locked with the log tables.
    pub(super) async fn next_load(&mut self) -> Result<Option<TableName>, TailError> {
        if self.position.inside.is_some() || self.awaits_acknowledgement() {
            return Ok(None);
        }
        if self.loads.loading.is_none() && !self.take_up().await? {
            return Ok(None);
        }
        self.note_progress().await?;
        let resting = self.loads.rest_until.is_some_and(|until| until > Instant::now());
        let Some(loading) = self.loads.loading.as_ref().filter(|_| !resting) else { return Ok(None) };
        Ok(Some(self.tables[loading.table].table.name.clone()))
    }

    /// Tells whether a request is through and its end not yet noted at the source: the next one waits for that.
    pub fn awaits_acknowledgement(&self) -> bool {
        self.position.load.as_ref().is_some_and(|load| load.done && self.loads.ended != Some(load.run))
    }

    /// Takes up the next request; returns whether there is one.
    async fn take_up(&mut self) -> Result<bool, TailError> {
        if self.loads.looked.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return Ok(false);
        }
        self.loads.looked = Some(Instant::now());
        let offset = self.position.offset;
        let next = self.session.next_request(&self.schema, &self.pipeline, offset).await?;
        let Some(request) = next.filter(|request| request.is_due(offset)) else { return Ok(false) };
        let place = |captured: &[Captured]| captured.iter().position(|one| one.oid == request.relation);
        let mut table = place(&self.captured);
        if table.is_none() {
            // The request may be younger than what is known of the tables.
            self.reload().await?;
            self.loads.looked = Some(Instant::now());
            table = place(&self.captured);
        }
        let Some(table) = table.filter(|&table| !self.tables[table].table.is_append_only()) else {
            tracing::warn!(
                run = request.run,
                "the table of a snapshot request is not captured, or has no key"
            );
            let note = Some(capture::NOT_CAPTURED);
            let ended = Ended { run: request.run, rows: 0, pass: 0, note };
            self.session.end_request(&self.schema, &self.pipeline, ended).await?;
            self.loads.looked = None;
            return Ok(false);
        };
        let key = self.session.load_key(&self.schema, request.relation).await?;
        let Position { load, .. } = &mut self.position;
        let version = self.tables[table].table.version;
        // Another shape may have another key: begin again.
        if !load.as_ref().is_some_and(|load| load.run == request.run && load.version == version) {
            *load = Some(Load { run: request.run, version, rows: 0, after: Vec::new(), done: false });
        }
        self.session.begin_request(&self.schema, &self.pipeline, request.run).await?;
        let name = &self.tables[table].table.name;
        tracing::info!(table = %name, run = request.run, "copying existing rows");
        let now = Instant::now();
        let rows = self.window_rows as usize;
        self.loads.loading = Some(Loading { request, table, key, rows, secret: None, noted: now, said: now });
        Ok(true)
    }

    async fn note_progress(&mut self) -> Result<(), TailError> {
        let (Some(loading), Some(load)) = (&mut self.loads.loading, &self.position.load) else {
            return Ok(());
        };
        if loading.noted.elapsed() >= LOOK_EVERY {
            loading.noted = Instant::now();
            if !self.session.note_request(&self.schema, &self.pipeline, load.run, load.rows).await? {
                tracing::info!(run = load.run, "the request for existing rows was given up");
                self.position.load = None;
                self.loads.forget();
                return Ok(());
            }
        }
        if loading.said.elapsed() >= SAY_EVERY {
            loading.said = Instant::now();
            let table = &self.tables[loading.table].table.name;
            tracing::info!(%table, rows = load.rows, "copying existing rows");
        }
        Ok(())
    }

    /// Reads the next chunk in the transaction of the pass, behind its rows.
    pub(super) async fn read_chunk(
        &mut self,
        pass: &OpenPass,
        builder: &mut WindowBuilder,
    ) -> Result<Option<ReadChunk>, TailError> {
        let (Some(loading), Some(load)) = (&mut self.loads.loading, &mut self.position.load) else {
            return Ok(None);
        };
        let captured = &self.captured[loading.table];
        let name = &captured.table.name;
        // Every change that T does not show has a higher id.
        let version = self.position.offset.max(self.marks.floor(pass.until.xmin));
        let request = &loading.request;
        let is_secret = captured.table.key.iter().any(|key| captured.selection.mask.contains_key(key));
        if is_secret {
            // A hash has another order than the key, and is no place to go on from.
            let known = loading.secret.take().filter(|(rows, _)| *rows == load.rows);
            (load.rows, load.after) = known.unwrap_or_default();
        }
        let sql = loading.copy_sql(captured, &load.after, is_secret);
        let (before, size) = (builder.messages.len(), builder.bytes.len());
        let mut last = Vec::new();
        let at_micros = pass.opened.clock_micros;
        let copied = self
            .session
            .copy(&sql, self.window_bytes, builder, |builder, line| {
                last.clear();
                last.extend_from_slice(line);
                builder.push_read(loading.table, line, version, at_micros)
            })
            .await;
        let cut_short = copied.map_err(|error| match unreadable(error, name) {
            TailError::Query { source, .. }
                if request.condition.is_some() && is_of_the_condition(&source) =>
            {
                let code = source.code().map(|code| code.code().to_owned()).unwrap_or_default();
                TailError::Condition { table: name.clone(), code }
            }
            error => error,
        })?;
        let rows = builder.messages.len() - before;
        let begins = load.after.is_empty();
        load.done = !cut_short && rows < loading.rows;
        load.rows += rows as u64;
        if rows > 0 {
            let width = captured.table.columns.len();
            let places = match is_secret {
                true => (width..width + loading.key.len()).collect(),
                false => captured.table.key_indexes(),
            };
            load.after = texts(&last, &places)?;
            let fitting = rows * self.window_bytes / (builder.bytes.len() - size).max(1);
            loading.rows = fitting.clamp(1, self.window_rows as usize);
        }
        if is_secret {
            loading.secret = Some((load.rows, std::mem::take(&mut load.after)));
        }
        let chunk = ReadChunk {
            run: load.run,
            table: loading.table,
            begins,
            ends: load.done,
            sweeps: request.sweeps,
        };
        if load.done {
            tracing::info!(table = %name, run = load.run, rows = load.rows, "copied existing rows");
            self.loads.forget();
        }
        Ok(Some(chunk))
    }

    /// Notes at the source that a request is through, once the position that says so is stored.
    pub(super) async fn end_load(&mut self, stored: &Position) -> Result<(), TailError> {
        let Some(load) = stored.load.as_ref().filter(|load| load.done && self.loads.ended != Some(load.run))
        else {
            return Ok(());
        };
        let ended = Ended { run: load.run, rows: load.rows, pass: stored.pass, note: None };
        self.session.end_request(&self.schema, &self.pipeline, ended).await?;
        self.loads.ended = Some(load.run);
        Ok(())
    }
}

/// Tells whether an expression cannot be computed: data errors, and what it names.
fn is_of_the_condition(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| ["22", "42"].iter().any(|class| code.code().starts_with(class)))
}

/// The condition that a row lies behind the key `after`.
///
/// Where a comparison of whole rows would not use the index's operators it is spelled out, with the first column's own
/// condition in front for the index.
fn behind(key: &[KeyColumn], after: &[String]) -> String {
    let column = |key: &KeyColumn| format!("t.{}", quote_ident(&key.name));
    let value = |(key, text): (&KeyColumn, &String)| format!("{}::{}", quote_literal(text), key.declared);
    let pairs = || key.iter().zip(after);
    if key.iter().all(|key| key.default) {
        let columns: Vec<String> = key.iter().map(column).collect();
        let values: Vec<String> = pairs().map(value).collect();
        return format!("({}) > ({})", columns.join(", "), values.join(", "));
    }
    let cases = (0..key.len()).map(|last| {
        let terms = pairs().take(last + 1).enumerate().map(|(i, (key, text))| {
            let operator = if i == last { &key.greater } else { &key.equal };
            format!("{} {operator} {}", column(key), value((key, text)))
        });
        format!("({})", terms.collect::<Vec<_>>().join(" and "))
    });
    let cases = cases.collect::<Vec<_>>().join(" or ");
    let not_before = pairs()
        .take(1)
        .map(|(key, text)| format!("not ({} {} {})", column(key), key.less, value((key, text))));
    format!("({} and ({cases}))", not_before.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, default: bool) -> KeyColumn {
        let operator = |symbol| format!("operator(x.{symbol})");
        let (less, greater, equal) = (operator("<"), operator(">"), operator("="));
        KeyColumn { name: name.into(), less, greater, equal, default, declared: "int4".into() }
    }

    #[test]
    fn rows_behind_a_key_are_found_by_the_index() {
        let after = ["1".to_owned(), "it's".to_owned()];
        let [plain, own] = [true, false].map(|default| [column("a", default), column("b", default)]);
        assert_eq!(behind(&plain, &after), r#"(t."a", t."b") > ('1'::int4, 'it''s'::int4)"#);
        assert_eq!(
            behind(&own, &after),
            r#"(not (t."a" operator(x.<) '1'::int4) and ((t."a" operator(x.>) '1'::int4) or (t."a" operator(x.=) '1'::int4 and t."b" operator(x.>) 'it''s'::int4)))"#
        );
    }
}
