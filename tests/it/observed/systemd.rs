//! What the service manager hears, through a real `NOTIFY_SOCKET`.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;

use super::http::{address, get, listen};
use crate::db::run;
use crate::faults::RECOVERS;
use crate::faults::service::Service;
use crate::pipeline::harness::{Pipeline, Servers};
use crate::pipeline::proxy::{Proxy, host, through};

const SCHEMA: &str = "create table notes (id integer primary key, body text)";
/// `WatchdogSec` of these tests: half of it is longer than any step takes on a busy machine.
const WATCHDOG: Duration = Duration::from_secs(12);

/// The service manager: a socket, and everything that was said to it.
pub(super) struct Manager {
    said: Arc<Mutex<Vec<String>>>,
    path: PathBuf,
    listening: Option<JoinHandle<()>>,
    _dir: TempDir,
}

impl Manager {
    pub(super) fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&said);
        let listening = std::thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(length) = socket.recv(&mut bytes) {
                match std::str::from_utf8(&bytes[..length]).unwrap() {
                    "END" => return,
                    text => sink.lock().unwrap().push(text.to_owned()),
                }
            }
        });
        Self { said, path, listening: Some(listening), _dir: dir }
    }

    /// Environment of a daemon that it starts.
    pub(super) fn environment(&self) -> [(&'static str, String); 2] {
        let path = self.path.to_str().unwrap().to_owned();
        [("NOTIFY_SOCKET", path), ("WATCHDOG_USEC", WATCHDOG.as_micros().to_string())]
    }

    fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    pub(super) fn count(&self, text: &str) -> usize {
        self.said().iter().filter(|said| said.contains(text)).count()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        UnixDatagram::unbound().unwrap().send_to(b"END", &self.path).unwrap();
        self.listening.take().unwrap().join().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_come_while_there_is_progress_and_stop_when_a_stage_stalls() {
    let pipeline = Pipeline::create(&[], SCHEMA).await;
    pipeline.init().await;
    let manager = Manager::start();
    let stall = ("FAILPOINTS", "publish::before-acks=1*off->sleep(3600000)".to_owned());
    let environment: Vec<_> = manager.environment().into_iter().chain([stall]).collect();
    let daemon = pipeline.start_with("run", &environment);
    pipeline.wait_until("READY=1", async || manager.count("READY=1") == 1).await;
    pipeline.wait_until("four pings", async || manager.count("WATCHDOG=1") >= 4).await;
    run(&pipeline.from, "insert into notes values (1, '')").await;
    pipeline.caught_up().await;
    let said = manager.said();
    assert!(
        said.iter()
            .any(|said| said.contains("STATUS=publish: 0 rows, 0.") && said.contains("apply clickhouse: "))
    );

    pipeline.expect("no progress");
    run(&pipeline.from, "insert into notes values (2, '')").await;
    let stalled = "STATUS=stalled: publish produce: sending a part for ";
    pipeline.wait_until("it says that it stalls", async || manager.count(stalled) >= 4).await;
    let said = manager.said();
    let first = said.iter().position(|said| said.contains(stalled)).unwrap();
    assert!(said[first..].iter().all(|said| !said.contains("WATCHDOG=1")), "{:?}", &said[first..]);
    assert_eq!(daemon.times_logged("no progress"), 1);
    daemon.kill9();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_a_target_that_is_away_is_no_stall() {
    let mut pipeline = Pipeline::create(&[], SCHEMA).await;
    pipeline.init().await;
    let proxy = Proxy::start(&host(&pipeline.destination.url()));
    pipeline.set("destination.url", &through(&pipeline.destination.url(), &proxy));
    pipeline.expect("starting again");
    let manager = Manager::start();
    let daemon = pipeline.start_with("run", &manager.environment());
    pipeline.wait_until("READY=1", async || manager.count("READY=1") == 1).await;
    proxy.cut();
    // Who has nothing to apply does not notice.
    run(&pipeline.from, "insert into notes values (1, '')").await;
    let says = "; apply postgres: ";
    let waits = || manager.said().iter().rposition(|said| said.contains(says) && said.contains("connect"));
    pipeline.wait_until("it says what it waits for", async || waits().is_some()).await;
    let pings = manager.count("WATCHDOG=1");
    // Two and a half times as long as a stall may last.
    pipeline.wait_until("the pings go on", async || manager.count("WATCHDOG=1") >= pings + 5).await;
    assert_eq!(manager.count("stalled"), 0);
    proxy.restore();
    pipeline.stop(daemon).await;
    assert_eq!(manager.count("STOPPING=1"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_a_broker_that_is_away_in_the_middle_of_a_commit_is_no_stall() {
    let broker = tokio::task::block_in_place(Service::kafka);
    let servers = Servers { kafka: Some(broker.address()), ..Servers::default() };
    let mut pipeline = Pipeline::create_at(servers, &[], SCHEMA).await;
    RECOVERS.iter().for_each(|text| pipeline.expect(text));
    pipeline.init().await;
    listen(&mut pipeline);
    let manager = Manager::start();
    // Time to take the broker away in.
    let pause = ("FAILPOINTS", "publish::before-commit=sleep(1500)".to_owned());
    let environment: Vec<_> = manager.environment().into_iter().chain([pause]).collect();
    let daemon = pipeline.start_with("publish", &environment);
    pipeline.wait_until("READY=1", async || manager.count("READY=1") == 1).await;
    let address = address(&pipeline, &daemon).await;
    // What the stage is at, when it has been for a while: the messages are acknowledged by then.
    let is_at = |step: &str| {
        let status: serde_json::Value = serde_json::from_str(&get(&address, "/status").1).unwrap();
        let stage = &status["tasks"][0]["stages"][2];
        stage["step"] == step && stage["step_seconds"].as_f64().unwrap() > 0.5
    };
    run(&pipeline.from, "insert into notes values (1, '')").await;
    pipeline.wait_until("a commit is under way", async || is_at("committing a part")).await;
    broker.signal("-STOP");
    pipeline.wait_until("it waits", async || is_at("waiting for Kafka to confirm a commit")).await;
    let pings = manager.count("WATCHDOG=1");
    // Two and a half times as long as a stall may last.
    pipeline.wait_until("the pings go on", async || manager.count("WATCHDOG=1") >= pings + 5).await;
    assert!(is_at("waiting for Kafka to confirm a commit"));
    assert_eq!(manager.count("stalled"), 0);
    broker.signal("-CONT");
    pipeline.wait_until("it is published", async || pipeline.source_is_drained().await).await;
    pipeline.stop(daemon).await;
}
