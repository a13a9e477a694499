//! `[http] listen`: metrics, health, readiness and status, for whoever can reach the address.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use metrics::{counter, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;

use super::Board;
use super::catalog::{self, METRICS};
use crate::config::Config;
use crate::error::{Error, Kind};
use crate::verify;

/// Time between two times that observations are put into their buckets, where nobody asks for metrics.
const UPKEEP: Duration = Duration::from_secs(5);
/// Bounds of histograms, in seconds, rows and bytes.
const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];
const ROWS: [f64; 9] = [1.0, 10.0, 100.0, 1e3, 5e3, 2e4, 1e5, 1e6, 1e7];
const BYTES: [f64; 7] = [1e3, 1e4, 1e5, 1e6, 4e6, 1.6e7, 1e8];

/// An address that is listened on. Connections wait until [`serve`].
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    metrics: PrometheusHandle,
}

#[derive(Clone)]
struct Shared {
    config: Arc<Config>,
    board: Arc<Board>,
    metrics: PrometheusHandle,
}

impl Listener {
    /// Listens, and begins to record metrics. `None` when no address is configured.
    pub(crate) async fn open(config: &Config) -> Result<Option<Self>, Error> {
        let Some(address) = config.http.address() else { return Ok(None) };
        let socket = TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?;
        let metrics = recorder().map_err(Error::Metrics)?;
        Ok(Some(Self { socket, metrics }))
    }

    /// Returns where it listens: with port 0 the system chose one.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()
    }
}

fn recorder() -> Result<PrometheusHandle, BuildError> {
    let suffix = |text: &str| Matcher::Suffix(text.to_owned());
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(suffix("_seconds"), &SECONDS)?
        .set_buckets_for_metric(suffix("_rows"), &ROWS)?
        .set_buckets_for_metric(suffix("_bytes"), &BYTES)?
        .install_recorder()?;
    catalog::describe();
    Ok(handle)
}

/// Answers for as long as this is polled.
pub(crate) async fn serve(listener: Listener, config: Arc<Config>, board: Arc<Board>) {
    let Listener { socket, metrics } = listener;
    begin(&board);
    let shared = Shared { config, board, metrics: metrics.clone() };
    let router = Router::new()
        .route("/metrics", get(scrape))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/status", get(status))
        .with_state(shared);
    let upkeep = async {
        loop {
            tokio::time::sleep(UPKEEP).await;
            metrics.run_upkeep();
        }
    };
    tokio::select! {
        () = upkeep => {}
        // Only ends with an error of the socket, which is the kernel's affair.
        served = axum::serve(socket, router).into_future() => {
            if let Err(error) = served {
                tracing::warn!(%error, "nobody answers on [http] listen any more");
            }
        }
    }
}

/// Counters are there from the start, so that a first error is an increase.
fn begin(board: &Board) {
    gauge!(catalog::BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    for task in board.tasks() {
        counter!(catalog::RESTARTS, "task" => task.name).increment(0);
        for kind in Kind::ALL {
            counter!(catalog::ERRORS, "task" => task.name, "kind" => kind.label()).increment(0);
        }
        if task.label == "source" {
            for name in [
                catalog::PASSES,
                catalog::RESCANNED,
                catalog::LOCKED,
                catalog::PUBLISHED,
                catalog::REMOVED,
                catalog::RETENTION_FAILURES,
                catalog::CLOCK_JUMPS,
            ] {
                counter!(name).increment(0);
            }
            continue;
        }
        let of_targets = METRICS.iter().filter(|metric| metric.labels == ["target"]);
        for metric in of_targets.filter(|metric| metric.kind == catalog::Kind::Counter) {
            counter!(metric.name, "target" => task.label).increment(0);
        }
    }
}

async fn scrape(State(shared): State<Shared>) -> impl IntoResponse {
    let report = shared.board.report();
    for (task, known) in report.tasks.iter().zip(shared.board.tasks()) {
        let label = known.label;
        gauge!(catalog::READY, "task" => task.task).set(if task.ready { 1.0 } else { 0.0 });
        gauge!(catalog::ROWS_BEHIND, "stage" => label).set(task.rows_behind as f64);
        if let Some(seconds) = task.seconds_behind {
            gauge!(catalog::SECONDS_BEHIND, "stage" => label).set(seconds);
        }
        if let Some(pass) = task.pass {
            gauge!(catalog::PASS, "stage" => label).set(pass as f64);
        }
        if let Some(seconds) = task.oldest_transaction_seconds {
            gauge!(catalog::OLDEST).set(seconds);
        }
        for stage in &task.stages {
            gauge!(catalog::STEP, "task" => task.task, "stage" => stage.stage).set(stage.step_seconds);
        }
    }
    for noted in verify::noted(&shared.config) {
        gauge!(catalog::VERIFIED_PASS, "target" => noted.target.clone()).set(noted.pass as f64);
        gauge!(catalog::VERIFIED_AT, "target" => noted.target.clone()).set(noted.at_seconds as f64);
        gauge!(catalog::VERIFIED_DIFFERING, "target" => noted.target.clone()).set(noted.differing as f64);
        gauge!(catalog::VERIFIED_FAILED, "target" => noted.target).set(noted.failed as f64);
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shared.metrics.render())
}

async fn ready(State(shared): State<Shared>) -> (StatusCode, String) {
    let report = shared.board.report();
    let code = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, format!("{}\n", report.line()))
}

async fn status(State(shared): State<Shared>) -> impl IntoResponse {
    let json = serde_json::json!(shared.board.report()).to_string();
    ([(header::CONTENT_TYPE, "application/json")], json)
}
