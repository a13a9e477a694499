//! `tripline status`: how far every stage is, from what the stores themselves say. No daemon is asked.
//! docs/status.md and docs/status.schema.json describe the JSON.

use std::time::Duration;

use serde::Serialize;

use super::Outcome;
use super::screen::Screen;
use crate::apply;
use crate::capture::{self, Requested};
use crate::config::{Config, Consistency};
use crate::consume::{self, GroupOffsets, Positions};
use crate::error::{Error, chain};
use crate::offset::{self, Stored};
use crate::position::Position;
use crate::publish::{Recorded, read_cuts};
use crate::retention;
use crate::session;
use crate::table::{TableName, quote_literal};
use crate::wire::{Range, cuts_topic};

/// What `status --json` prints.
#[derive(Debug, Serialize)]
struct Status {
    pipeline: String,
    /// Process that holds the offset file, in words; absent when no publisher runs here.
    publisher: Option<String>,
    source: Stage<Source>,
    /// Tables whose existing rows are not through yet.
    snapshots: Vec<Copying>,
    targets: Vec<Target>,
}

/// A table whose existing rows are being copied, or will be.
#[derive(Debug, Serialize)]
struct Copying {
    table: String,
    /// Number of the request.
    run: u64,
    /// Rows that were read.
    rows: u64,
    /// Rows to expect, as the source's statistics say.
    expected: Option<u64>,
    /// At the pace so far.
    seconds_left: Option<f64>,
    /// For people.
    #[serde(skip)]
    line: String,
}

impl From<Requested> for Copying {
    fn from(request: Requested) -> Self {
        let (seconds_left, line) = (request.seconds_left(), super::snapshot::line(&request));
        let Requested { table, run, rows, expected, .. } = request;
        Self { table, run, rows, expected, seconds_left, line }
    }
}

/// An answer, or why there is none.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Stage<T> {
    Ok(T),
    Error(String),
}

/// The source side: what is committed there and not yet published.
#[derive(Debug, Serialize)]
struct Source {
    /// Last complete or running pass.
    pass: u64,
    /// The `cdc_id` at and below which everything is settled, as the offset file says.
    offset: u64,
    /// Committed log rows that are not published.
    rows_behind: u64,
    /// Age of the oldest of them by the source's clock.
    seconds_behind: f64,
    /// Age of the oldest open transaction of the cluster that has written; a prepared one counts from when it was prepared.
    oldest_transaction_seconds: f64,
    /// What all log tables take, with their indexes.
    log_bytes: u64,
    /// Age of the oldest log row, by the source's clock; 0 when there is none.
    log_oldest_row_seconds: f64,
    /// Tables of which nothing is logged any more, because their log was full.
    stopped_tables: Vec<String>,
    /// The source's clock, microseconds since 1970.
    #[serde(skip)]
    clock_micros: i64,
}

/// One target: what is on the topics and not yet applied.
#[derive(Debug, Serialize)]
struct Target {
    name: &'static str,
    #[serde(flatten)]
    progress: Stage<Applied>,
}

#[derive(Debug, Serialize)]
struct Applied {
    /// Last pass of which something is applied; absent before the first.
    pass: Option<u64>,
    /// When the source showed that pass, RFC 3339 in UTC.
    pass_taken_at: Option<String>,
    /// `consistent`: the target shows a state that the source had. `catching up`: a pass is applied in part. `per key`: only
    /// changes of one key are in order (`apply.consistency = "key"`).
    state: State,
    rows_behind: u64,
    seconds_behind: f64,
}

/// What a target shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum State {
    #[serde(rename = "consistent")]
    Consistent,
    #[serde(rename = "catching up")]
    CatchingUp,
    #[serde(rename = "per key")]
    PerKey,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Consistent => "consistent",
            Self::CatchingUp => "catching up",
            Self::PerKey => "per key",
        }
    }
}

/// How the status is shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown {
    pub(super) json: bool,
    /// Again and again, with this pause.
    pub(super) every: Option<Duration>,
}

/// Shows the status; a stage that does not answer is part of it and makes the exit status 2.
pub(super) async fn run(config: &Config, shown: Shown) -> Result<Outcome, Error> {
    let show = async || -> Result<(Outcome, String), Error> {
        let status = ask(config).await?;
        let text = if shown.json { format!("{}\n", serde_json::json!(status)) } else { text(&status) };
        Ok((outcome(&status), text))
    };
    let Some(every) = shown.every else {
        let (outcome, text) = show().await?;
        print!("{text}");
        return Ok(outcome);
    };
    let stop = crate::runtime::stop_on_signals()?;
    let mut screen = Screen::new(!shown.json);
    let mut last = Outcome::Fine;
    while !stop.is_cancelled() {
        let (outcome, text) = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            shown = show() => shown?,
        };
        last = outcome;
        screen.show(&text).map_err(Error::Terminal)?;
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(every) => {}
        }
    }
    Ok(last)
}

async fn ask(config: &Config) -> Result<Status, Error> {
    let holder = offset::holder(&config.offset.dir, &config.pipeline)?;
    let stored = offset::read(&config.offset.dir, &config.pipeline)?;
    let mut snapshots = Vec::new();
    let source = stage(source(config, stored.as_ref(), &mut snapshots).await);
    let clock_micros = match &source {
        Stage::Ok(source) => source.clock_micros,
        Stage::Error(_) => i64::try_from(crate::tail::now_micros()).unwrap_or(i64::MAX),
    };
    let mut targets = Vec::new();
    if let Some(url) = config.destination_url()? {
        let progress = postgres(config, url, clock_micros).await;
        targets.push(Target { name: "postgres", progress: stage(progress) });
    }
    if config.clickhouse.is_some() {
        let progress = tokio::task::block_in_place(|| clickhouse(config, clock_micros));
        targets.push(Target { name: "clickhouse", progress: stage(progress) });
    }
    if !snapshots.is_empty() {
        for target in &mut targets {
            if let Stage::Ok(applied @ Applied { state: State::Consistent, .. }) = &mut target.progress {
                applied.state = State::CatchingUp;
            }
        }
    }
    let publisher = holder.map(|holder| holder.to_string());
    Ok(Status { pipeline: config.pipeline.clone(), publisher, source, snapshots, targets })
}

fn stage<T>(result: Result<T, Error>) -> Stage<T> {
    match result {
        Ok(answer) => Stage::Ok(answer),
        Err(error) => Stage::Error(chain(&error)),
    }
}

async fn source(
    config: &Config,
    stored: Option<&Stored>,
    snapshots: &mut Vec<Copying>,
) -> Result<Source, Error> {
    let client = session::connect("source", config.source_url()?, "status").await?;
    let start = Position::start();
    let position = stored.map_or(&start, |stored| &stored.position);
    let captured = capture::load(&client, &config.capture.schema).await?;
    let logs: Vec<TableName> = captured.into_iter().map(|captured| captured.log_table).collect();
    let requested = capture::requested(&client, &config.capture.schema, &config.pipeline).await?;
    snapshots.extend(requested.into_iter().filter(|request| !request.ended).map(Copying::from));
    let failed = |source| crate::tail::TailError::Query { what: "the status", source };
    let row = client.query_one(&behind_sql(&logs, position), &[]).await.map_err(failed)?;
    let look = retention::look(&client, &config.capture.schema).await?;
    Ok(Source {
        log_bytes: look.bytes(),
        log_oldest_row_seconds: look.oldest_seconds(),
        stopped_tables: look.gaps.iter().filter(|gap| gap.open).map(|gap| gap.table.to_string()).collect(),
        pass: position.pass,
        offset: position.offset,
        rows_behind: u64::try_from(row.get::<_, i64>(0)).unwrap_or(0),
        seconds_behind: row.get(1),
        oldest_transaction_seconds: row.get(2),
        clock_micros: row.get(3),
    })
}

/// Counts committed log rows that are not published: above the offset and invisible in B, and inside a pass not yet
/// read by it.
fn behind_sql(logs: &[TableName], position: &Position) -> String {
    let unread = match &position.inside {
        None => String::new(),
        Some(inside) => format!(
            " and not (cdc_id <= {} and pg_catalog.pg_visible_in_snapshot(cdc_txid, {}))",
            inside.cursor,
            quote_literal(&inside.until.to_string())
        ),
    };
    let mut counts: Vec<String> = logs
        .iter()
        .map(|log| {
            format!(
                "select count(*) as n, min(cdc_at) as oldest from {} where cdc_id > {} \
                 and not pg_catalog.pg_visible_in_snapshot(cdc_txid, {}){unread}",
                log.quoted(),
                position.offset,
                quote_literal(&position.base.to_string())
            )
        })
        .collect();
    counts.push("select 0, null::timestamptz".into());
    format!(
        "select sum(n)::int8, coalesce(greatest(extract(epoch from clock_timestamp() - min(oldest)), 0), 0)::float8, \
         coalesce(extract(epoch from clock_timestamp() - least((select min(xact_start) from pg_catalog.pg_stat_activity \
         where backend_xid is not null), (select min(prepared) from pg_catalog.pg_prepared_xacts))), 0)::float8, (extract(epoch from clock_timestamp()) * 1000000)::int8 \
         from ({}) as counts",
        counts.join(" union all ")
    )
}

async fn postgres(config: &Config, url: &str, clock_micros: i64) -> Result<Applied, Error> {
    let applied = apply::progress(url, &config.pipeline).await?;
    tokio::task::block_in_place(|| {
        let offsets = GroupOffsets::open(config, &consume::group(config, "postgres"))?;
        let shared = config.apply.consistency == Consistency::Key;
        // Of a partition that nothing was applied from yet, nothing is known to be applied.
        let least = offsets.data_partitions().map(|at| applied.covered.get(at).copied().unwrap_or(0)).min();
        let covered = least.filter(|_| shared);
        let mut behind = behind(config, &applied.positions, covered, clock_micros)?;
        // Behind appliers that shared the partitions, these are at different cuts until the cuts topic is past them all.
        let next = applied.positions.get(&(cuts_topic(config.topic_prefix()), 0));
        if behind.state == State::Consistent && applied.covered.values().max() > next {
            behind.state = State::CatchingUp;
        }
        Ok(behind)
    })
}

fn clickhouse(config: &Config, clock_micros: i64) -> Result<Applied, Error> {
    let positions = GroupOffsets::open(config, &consume::group(config, "clickhouse"))?.load()?;
    behind(config, &positions, None, clock_micros)
}

/// Reads the cuts from the last one that the target has applied to the end. `covered`: several appliers share the
/// partitions, and records of the cuts topic before this offset are applied in all of them.
fn behind(
    config: &Config,
    positions: &Positions,
    covered: Option<i64>,
    clock_micros: i64,
) -> Result<Applied, Error> {
    let shared = covered.is_some();
    let at = |partition: &(String, i32)| positions.get(partition).copied();
    let next = at(&(cuts_topic(config.topic_prefix()), 0)).max(covered).unwrap_or(0);
    // The record before `next` may be a control record: begin a little earlier.
    let cuts = read_cuts(config, next.saturating_sub(3))?;
    let is_applied = |recorded: &&Recorded| {
        let open = |range: &Range| at(&(range.topic.clone(), range.partition)) < Some(range.next);
        recorded.offset < next || (shared && !recorded.cut.ranges.iter().any(open))
    };
    let (applied, waiting): (Vec<&Recorded>, Vec<&Recorded>) = cuts.iter().partition(is_applied);
    let last = applied.last().map(|recorded| &recorded.cut);
    let oldest = waiting.first().map(|recorded| recorded.cut.source_micros);
    Ok(Applied {
        pass: last.map(|cut| cut.pass),
        pass_taken_at: last.and_then(|cut| utc(cut.source_micros)),
        state: match last.is_none_or(|cut| cut.done) {
            _ if shared => State::PerKey,
            true => State::Consistent,
            false => State::CatchingUp,
        },
        rows_behind: waiting.iter().map(|recorded| recorded.cut.rows).sum(),
        seconds_behind: oldest.map_or(0.0, |oldest| (clock_micros - oldest).max(0) as f64 / 1e6),
    })
}

fn utc(micros: i64) -> Option<String> {
    let at = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).ok()?;
    at.format(&time::format_description::well_known::Rfc3339).ok()
}

fn outcome(status: &Status) -> Outcome {
    let stopped = matches!(&status.source, Stage::Ok(source) if !source.stopped_tables.is_empty());
    let source = match &status.source {
        Stage::Ok(source) => Some(source.rows_behind),
        Stage::Error(_) => None,
    };
    let targets = status.targets.iter().map(|target| match &target.progress {
        Stage::Ok(applied) => Some(applied.rows_behind),
        Stage::Error(_) => None,
    });
    let behind: Option<u64> = std::iter::once(source).chain(targets).sum();
    match behind {
        None => Outcome::Failure,
        Some(_) if stopped => Outcome::Warning,
        Some(0) if status.snapshots.is_empty() => Outcome::Fine,
        Some(_) => Outcome::Warning,
    }
}

/// Returns the table for people.
fn text(status: &Status) -> String {
    let mut lines = vec![
        format!("pipeline {}", status.pipeline),
        format!("publisher {}", status.publisher.as_deref().unwrap_or("not running here")),
        format!("{:<12} {:>12} {:>12} {:>14}", "stage", "pass", "rows behind", "seconds behind"),
    ];
    match &status.source {
        Stage::Error(error) => lines.push(format!("{:<12} {error}", "source")),
        Stage::Ok(source) => {
            lines.push(row("source", &source.pass.to_string(), source.rows_behind, source.seconds_behind));
            lines.push(format!("{:<12} offset {}", "", source.offset));
            let seconds = source.oldest_transaction_seconds;
            lines.push(format!("{:<12} oldest open transaction {seconds:.1} s", ""));
            let (mib, hours) =
                (source.log_bytes as f64 / f64::from(1 << 20), source.log_oldest_row_seconds / 3_600.0);
            lines.push(format!("{:<12} log {mib:.1} MiB, oldest row {hours:.1} h", ""));
            for table in &source.stopped_tables {
                lines.push(format!("{:<12} {table} is stopped: its log was full (tripline check)", ""));
            }
        }
    }
    for copying in &status.snapshots {
        lines.push(format!("{:<12} {}", "", copying.line));
    }
    for target in &status.targets {
        match &target.progress {
            Stage::Error(error) => lines.push(format!("{:<12} {error}", target.name)),
            Stage::Ok(applied) => {
                let pass = applied.pass.map_or("-".to_owned(), |pass| pass.to_string());
                lines.push(row(target.name, &pass, applied.rows_behind, applied.seconds_behind));
                let taken =
                    applied.pass_taken_at.as_ref().map_or(String::new(), |at| format!(", pass taken {at}"));
                lines.push(format!("{:<12} {}{taken}", "", applied.state.word()));
            }
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

fn row(stage: &str, pass: &str, rows: u64, seconds: f64) -> String {
    format!("{stage:<12} {pass:>12} {rows:>12} {seconds:>14.1}")
}
