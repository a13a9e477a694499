//! The command line: what can be asked, and where each answer is found.

mod check;
mod denied;
mod generate;
mod init;
mod logs;
mod offset;
mod screen;
mod snapshot;
mod status;
mod uninstall;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::config::Config;
use crate::error::Error;
use crate::runtime::{self, Halves};
use crate::tail::Back;

pub use generate::Generated;
pub use logs::{Logs, log};

/// Trigger-based change data capture for PostgreSQL: to Kafka, a second PostgreSQL and ClickHouse.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub struct Args {
    /// Configuration file [default: ./tripline.toml, then /etc/tripline/tripline.toml]
    #[arg(short, long, env = "TRIPLINE_CONFIG", global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Install capture, topics, and the tables at the targets; changes nothing that is already right
    Init {
        /// Print the SQL for the source, change nothing
        #[arg(long)]
        dry_run: bool,
        /// Go on without the tables that cannot be captured
        #[arg(long)]
        skip_unusable: bool,
    },
    /// Look at everything that tripline depends on; exit 1 on warnings, 2 on errors
    Check {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Run both halves in one process
    Run,
    /// Run the source side: log tables to Kafka
    Publish,
    /// Run the destination side: Kafka to PostgreSQL and ClickHouse
    Apply,
    /// Show how far every stage is; exit 1 when something lags behind
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Show it again and again, in place on a terminal, until Ctrl-C
        #[arg(long)]
        watch: bool,
        /// Pause between two looks, in seconds
        #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds, requires = "watch")]
        interval: Duration,
    },
    /// Compare the targets with the source while writes go on; exit 1 when rows differ, 2 when a table could not be compared
    Verify {
        /// Tables to compare, as schema.table [default: all that are captured]
        #[arg(value_name = "TABLE")]
        tables: Vec<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Copy the existing rows of tables to the targets, beside the changes; without tables, show what was asked for
    Snapshot {
        /// Tables, as schema.table
        #[arg(value_name = "TABLE")]
        tables: Vec<String>,
        /// All captured tables
        #[arg(long, conflicts_with = "tables")]
        all: bool,
        /// Only the rows of this SQL condition; rows that are gone then stay at the targets
        #[arg(long = "where", value_name = "CONDITION", requires = "tables")]
        condition: Option<String>,
        /// Give up what was asked for and is not through
        #[arg(long, conflicts_with_all = ["condition", "wait"])]
        cancel: bool,
        /// Wait until everything that was asked for is copied
        #[arg(long)]
        wait: bool,
    },
    /// Show or change where the pipeline stands
    Offset {
        /// What to do with it.
        #[command(subcommand)]
        action: OffsetAction,
    },
    /// Write manual pages or shell completions, for packages
    #[command(hide = true)]
    Generate {
        /// What to write.
        #[command(subcommand)]
        what: Generated,
    },
    /// Remove capture from the source, with a proof that nothing is left
    Uninstall {
        /// Also remove topics, consumer groups, positions, views and the offset file: everything of this pipeline but the
        /// replicated tables
        #[arg(long)]
        all: bool,
        /// Also drop the tables in ClickHouse, with all rows
        #[arg(long, requires = "all")]
        drop_mirror: bool,
        /// Do it; without this only say what would be done
        #[arg(long)]
        yes: bool,
    },
}

/// What to do with the position.
#[derive(Debug, Subcommand)]
pub enum OffsetAction {
    /// Show the offset file
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Start over: the whole log is published and applied again
    Reset {
        /// Do it; without this only say what would be done
        #[arg(long)]
        yes: bool,
        /// Say what would be done and exit 0
        #[arg(long, conflicts_with = "yes")]
        dry_run: bool,
        /// Also empty the captured tables at the destination and in ClickHouse
        #[arg(long)]
        clear_destination: bool,
        /// Also delete the topics; `tripline init` creates them again
        #[arg(long)]
        clear_topics: bool,
    },
    /// Move the position back: what was logged since is published and applied again
    Rewind {
        /// A `cdc_id`, above which rows are published again, or the time since which they were logged
        #[arg(long, value_name = "CDC_ID|TIME", value_parser = back)]
        to: Back,
        /// Do it; without this only say what would be done
        #[arg(long)]
        yes: bool,
    },
    /// Rebuild a lost or damaged offset file from the cuts topic
    Recover {
        /// Do it; without this only say what would be done
        #[arg(long)]
        yes: bool,
    },
}

/// Reads a pause.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=86_400.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "a number between 0.1 and 86400".into())
}

/// Reads where to go back to: what is no number is a time, RFC 3339.
fn back(text: &str) -> Result<Back, String> {
    if let Ok(id) = text.parse() {
        return Ok(Back::Id(id));
    }
    match time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339) {
        Ok(_) => Ok(Back::Time(text.to_owned())),
        Err(_) => Err("neither a cdc_id nor a time such as 2026-01-31T12:00:00Z".into()),
    }
}

/// How a command went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Fine.
    Fine,
    /// A warning or a difference.
    Warning,
    /// A finding that needs a person.
    Failure,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Fine => 0,
            Outcome::Warning => 1,
            Outcome::Failure => 2,
        })
    }
}

/// Runs a command that needs no configuration; `None` for those that do.
pub fn run_bare(command: &Command) -> Option<Result<Outcome, Error>> {
    match command {
        Command::Generate { what } => Some(what.write()),
        _ => None,
    }
}

/// Runs a command. Results go to stdout.
pub async fn run(args: &Args, config: Config, logs: Logs) -> Result<Outcome, Error> {
    match dispatch(args, config.clone(), logs).await {
        Err(error) if error.is_denied() => Err(denied::explained(error, &config, &args.command).await),
        done => done,
    }
}

async fn dispatch(args: &Args, config: Config, logs: Logs) -> Result<Outcome, Error> {
    match &args.command {
        Command::Init { dry_run, skip_unusable } => init::run(&config, *dry_run, *skip_unusable).await,
        Command::Check { json } => check::run(&config, *json).await,
        Command::Run => daemon(args, config, Halves::Both, logs).await,
        Command::Publish => daemon(args, config, Halves::Publish, logs).await,
        Command::Apply => daemon(args, config, Halves::Apply, logs).await,
        Command::Status { json, watch, interval } => {
            let shown = status::Shown { json: *json, every: watch.then_some(*interval) };
            status::run(&config, shown).await
        }
        Command::Verify { tables, json } => verify::run(&config, tables, *json).await,
        Command::Snapshot { tables, all, condition, cancel, wait } => {
            let condition = condition.as_deref();
            let (all, cancel, wait) = (*all, *cancel, *wait);
            snapshot::Asked { tables, all, condition, cancel, wait }.run(&config).await
        }
        Command::Offset { action } => offset::run(&config, action).await,
        Command::Generate { what } => what.write(),
        Command::Uninstall { all: false, yes, .. } => uninstall::source(&config, *yes).await,
        Command::Uninstall { drop_mirror, yes, .. } => {
            uninstall::everything(&config, *drop_mirror, *yes).await
        }
    }
}

async fn daemon(args: &Args, config: Config, halves: Halves, mut logs: Logs) -> Result<Outcome, Error> {
    let stop = runtime::stop_on_signals()?;
    let path = args.config.clone();
    runtime::on_hangup(move || logs.reload(path.as_deref()))?;
    runtime::run(config, halves, stop).await?;
    tracing::info!("stopped");
    Ok(Outcome::Fine)
}
