//! The `tripline` binary: reads arguments and configuration, then hands over to the library.
#![allow(clippy::print_stderr, reason = "the one place that speaks to a person about what failed")]

use std::process::ExitCode;

use clap::Parser;

use tripline::cli::{self, Args};
use tripline::config::Config;
use tripline::error::{Error, chain};
use tripline::failpoint;

fn main() -> ExitCode {
    failpoint::arm();
    let args = Args::parse();
    match cli::run_bare(&args.command).unwrap_or_else(|| run(&args)) {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            eprintln!("tripline: {}", chain(&error));
            ExitCode::from(error.kind().exit_status())
        }
    }
}

fn run(args: &Args) -> Result<cli::Outcome, Error> {
    let config = Config::load(args.config.as_deref())?;
    let logs = cli::log(&config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    let result = runtime.block_on(cli::run(args, config, logs));
    // A thread that still waits for a broker must not hold up the exit.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    result
}
