//! Faults of the others: brokers, servers, networks and disks that fail under load. After each of them the daemons go on
//! by themselves, or halt with an error that names the way out, and in the end everything is equal and there once.
//!
//! `TRIPLINE_TEST_FAULTS=long` lets a broker pause for more than a minute, ClickHouse be away for minutes, and cuts
//! connections a few hundred times.

pub(crate) mod service;

mod broker;
mod clickhouse;
mod disk;
mod network;
mod servers;
mod size;
mod standby;

use crate::pipeline::daemon::Daemon;
use crate::pipeline::harness::Pipeline;

/// What daemons and librdkafka say while something is away.
pub(crate) const RECOVERS: [&str; 4] = [
    "starting again",
    "librdkafka",
    "the commit is not confirmed yet",
    "Failed to acquire transactional PID",
];

/// Tells whether the long variants are asked for.
fn long() -> bool {
    std::env::var("TRIPLINE_TEST_FAULTS").is_ok_and(|variant| variant == "long")
}

/// Waits until both targets have applied a few more batches.
async fn goes_on(pipeline: &Pipeline, daemon: &Daemon) {
    for target in ["postgres", "clickhouse"] {
        let applied = format!("applied target_name=\"{target}\"");
        let before = daemon.times_logged(&applied);
        pipeline.wait_until(&applied, async || daemon.times_logged(&applied) > before + 2).await;
    }
}

/// Compares the stores and the topics with the log; prints how much there was.
async fn nothing_is_lost(pipeline: &Pipeline) {
    let compared = pipeline.compare().await;
    let messages = pipeline.topics.assert_exactly_once(&pipeline.from).await;
    println!("{compared} rows compared, {messages} messages checked");
}
