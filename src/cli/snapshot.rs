//! `tripline snapshot`: asks for existing rows, and shows how far that is.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::Outcome;
use crate::capture::{self, Action, Captured, InitReport, Request, Requested, TableReport};
use crate::config::{Config, Snapshot};
use crate::error::Error;
use crate::session::{self, Client};
use crate::table::TableName;
use crate::verify::choose;

/// Time between two looks at how far a request is.
const LOOK: Duration = Duration::from_millis(250);

/// What `tripline snapshot` was asked for.
pub(super) struct Asked<'a> {
    pub(super) tables: &'a [String],
    pub(super) all: bool,
    pub(super) condition: Option<&'a str>,
    pub(super) cancel: bool,
    pub(super) wait: bool,
}

impl Asked<'_> {
    pub(super) async fn run(&self, config: &Config) -> Result<Outcome, Error> {
        let mut client = session::connect("source", config.source_url()?, "snapshot").await?;
        let captured = capture::load(&client, &config.capture.schema).await?;
        if !self.tables.is_empty() || self.all {
            let chosen = choose(captured, self.tables)?;
            let parents_first = in_order(&client, &chosen).await?;
            for captured in parents_first {
                self.ask(config, &mut client, captured).await?;
            }
        }
        if self.wait {
            return watch(config, &client).await;
        }
        for request in capture::requested(&client, &config.capture.schema, &config.pipeline).await? {
            println!("{}", line(&request));
        }
        Ok(Outcome::Fine)
    }

    async fn ask(&self, config: &Config, client: &mut Client, captured: &Captured) -> Result<(), Error> {
        let (schema, pipeline) = (&config.capture.schema, &config.pipeline);
        let name = &captured.table.name;
        if self.cancel {
            let given_up = capture::give_up(client, schema, pipeline, captured).await?;
            println!("{name}: {} requests given up", given_up.len());
            return Ok(());
        }
        if captured.table.is_append_only() {
            if self.condition.is_some() {
                return Err(Error::NoPart { table: name.clone() });
            }
            capture::log_anew(client, captured).await?;
            println!("{name}: all its rows are logged anew, behind a truncate");
            return Ok(());
        }
        // A part of the rows says nothing about those that are gone.
        let what = Request { sweeps: self.condition.is_none(), condition: self.condition };
        let run = capture::request(client, schema, pipeline, captured, what).await?;
        println!("{name}: requested as {run}; the publisher copies its rows beside the changes");
        Ok(())
    }
}

/// Asks for the rows of tables that are new to the pipeline, and says which tables are copied anew.
pub(super) async fn after_init(
    config: &Config,
    client: &mut Client,
    captured: &[Captured],
    report: &InitReport,
) -> Result<(), Error> {
    let missed = |table: &&TableReport| table.needs_snapshot && table.action != Action::Installed;
    for TableReport { table, .. } in report.tables.iter().filter(missed) {
        match config.source.snapshot {
            Snapshot::Initial => println!("{table}: may have missed changes, its rows will be copied anew"),
            Snapshot::Never => {
                println!("{table} may have missed changes: tripline snapshot {table} copies its rows anew");
            }
        }
    }
    if config.source.snapshot == Snapshot::Never {
        return Ok(());
    }
    // What was captured before stands in the log with all that was done to it, and rows that are gone without a change
    // would come back with it.
    let installed = |name: &TableName| {
        report.tables.iter().any(|table| table.table == *name && table.action == Action::Installed)
    };
    let (schema, pipeline) = (&config.capture.schema, &config.pipeline);
    let in_order = in_order(client, captured).await?;
    let new = capture::request_initial(client, schema, pipeline, &in_order, installed).await?;
    if !new.is_empty() {
        println!("existing rows: of {} tables will be copied", new.len());
    }
    Ok(())
}

/// Asks anew for the rows of captured tables that `wanted` names by object id, where they are not asked for already.
pub(super) async fn again(
    config: &Config,
    client: &mut Client,
    captured: &[Captured],
    wanted: impl Fn(u32) -> bool,
) -> Result<(), Error> {
    let (schema, pipeline) = (&config.capture.schema, &config.pipeline);
    let known = capture::requested(client, schema, pipeline).await?;
    let all = |request: &&Requested| !request.ended && request.sweeps && !request.partial;
    let open = |oid: u32| known.iter().filter(all).any(|request| request.relation == oid);
    for captured in in_order(client, captured).await? {
        if wanted(captured.oid) && !open(captured.oid) && !captured.table.is_append_only() {
            let what = Request { sweeps: true, condition: None };
            capture::request(client, schema, pipeline, captured, what).await?;
        }
    }
    Ok(())
}

/// Puts tables behind those that they reference.
async fn in_order<'a>(client: &Client, captured: &'a [Captured]) -> Result<Vec<&'a Captured>, Error> {
    let references = capture::references(client).await?;
    let parents = |oid: u32| references.iter().filter(move |(from, _)| *from == oid).map(|(_, to)| *to);
    let parents: Vec<Vec<u32>> = captured.iter().map(|captured| parents(captured.oid).collect()).collect();
    let tables: Vec<(u32, &[u32])> =
        captured.iter().zip(&parents).map(|(captured, parents)| (captured.oid, parents.as_slice())).collect();
    Ok(crate::apply::parents_first(&tables).into_iter().map(|at| &captured[at]).collect())
}

/// Says how far a request is.
pub(super) fn line(request: &Requested) -> String {
    let Requested { run, table, rows, expected, running, ended, note, .. } = request;
    let state = match (ended, running, note) {
        (true, _, Some(note)) => note.clone(),
        (true, ..) => "done".into(),
        (_, true, _) => "running".into(),
        _ => "waiting".into(),
    };
    let of = expected.filter(|_| !ended).map_or(String::new(), |expected| format!(" of about {expected}"));
    let left = request.seconds_left().map_or(String::new(), |left| format!(", about {left:.0} s left"));
    format!("snapshot {run} of {table}: {state}, {rows} rows{of}{left}")
}

/// Waits until all requests are through, with a bar on a terminal.
async fn watch(config: &Config, client: &Client) -> Result<Outcome, Error> {
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {human_pos}/{human_len} rows, {eta} left");
    let bar = ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut said = 0;
    loop {
        let requests = capture::requested(client, &config.capture.schema, &config.pipeline).await?;
        let ended = requests.iter().filter(|request| request.ended);
        let fresh: Vec<&Requested> = ended.filter(|request| request.run > said).collect();
        for request in fresh {
            said = request.run;
            if request.seconds.is_some_and(|_| request.rows > 0 || request.note.is_some()) {
                bar.suspend(|| println!("{}", line(request)));
            }
        }
        let Some(open) = requests.iter().find(|request| !request.ended) else { break };
        if std::io::stderr().is_terminal() {
            bar.set_prefix(open.table.clone());
            bar.set_length(open.expected.unwrap_or(open.rows).max(open.rows));
            bar.set_position(open.rows);
        }
        tokio::time::sleep(LOOK).await;
    }
    bar.finish_and_clear();
    Ok(Outcome::Fine)
}
