//! Running it: the daemons, what starts them again and what stops them.

mod applier;
mod cleaner;
mod publisher;
mod repeats;
mod signals;
mod supervisor;
mod takeover;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::config::Config;
use crate::error::{Disposition, Error};
use crate::publish::distrust;
use crate::telemetry::{self, Board, Listener};

pub(crate) use applier::{clickhouse_target, postgres_target};
pub use signals::{on_hangup, stop_on_signals};
use supervisor::Supervisor;
pub(crate) use takeover::{first, first_position, forward};

/// Which halves run in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Halves {
    /// Source to Kafka.
    Publish,
    /// Kafka to the targets.
    Apply,
    /// Both.
    Both,
}

/// Runs the daemons until `stop`, or until one needs a person: then the others are stopped too and its error is
/// returned. Each target runs by itself: one being down does not hold up the other.
pub async fn run(config: Config, halves: Halves, stop: CancellationToken) -> Result<(), Error> {
    let config = Arc::new(config);
    let board = Arc::new(Board::new(&config.pipeline));
    // An address that is taken is said before anything starts.
    let listener = Listener::open(&config).await?;
    let mut supervisor = Supervisor::new(stop);
    if halves != Halves::Apply {
        let config = Arc::clone(&config);
        let task = board.add("publish", "source", &publisher::STAGES);
        supervisor.spawn(task, move |stop, ready| {
            trusted(Arc::clone(&config), publisher::run(Arc::clone(&config), stop, ready))
        });
    }
    if halves != Halves::Publish {
        if config.destination.is_none() && config.clickhouse.is_none() && halves == Halves::Apply {
            return Err(Error::NoTarget);
        }
        if config.destination.is_some() {
            let config = Arc::clone(&config);
            let task = board.add("apply postgres", "postgres", &applier::STAGES);
            supervisor.spawn(task, move |stop, ready| {
                trusted(Arc::clone(&config), applier::postgres(Arc::clone(&config), stop, ready))
            });
        }
        if config.clickhouse.is_some() {
            let config = Arc::clone(&config);
            let task = board.add("apply clickhouse", "clickhouse", &applier::STAGES);
            supervisor.spawn(task, move |stop, ready| {
                trusted(Arc::clone(&config), applier::clickhouse(Arc::clone(&config), stop, ready))
            });
        }
    }
    let telling = AbortOnDropHandle::new(tokio::spawn(telemetry::tell(Arc::clone(&board))));
    let serving = listener.map(|listener| {
        if let Some(address) = listener.address() {
            tracing::info!(%address, "answering HTTP");
        }
        AbortOnDropHandle::new(tokio::spawn(telemetry::serve(listener, config, board)))
    });
    let ended = supervisor.join().await;
    drop((telling, serving));
    ended
}

/// Runs a half. Before it is started again over and over, brokers that ask for TLS or a login are asked whether that is
/// what is wrong: of librdkafka one only hears that no broker answers.
async fn trusted(config: Arc<Config>, half: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    let result = half.await;
    let Err(error) = &result else { return result };
    if error.disposition() != Disposition::Retry || !config.kafka.options.contains_key("security.protocol") {
        return result;
    }
    let asked = tokio::task::spawn_blocking(move || distrust(&config.kafka)).await;
    asked.ok().flatten().map_or(result, |distrust| Err(distrust.into()))
}
