//! A pipeline of one test, and everything around it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio_postgres::Client;

use super::daemon::{self, Daemon, Ended, Log};
use super::stores::{self, Mirror};
use super::topics::Topics;
use crate::db::{TestDb, Which};

/// Longest wait for anything; far above what is needed on a busy machine.
const DEADLINE: Duration = Duration::from_secs(90);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// Stands in row values of all tests; must never stand in a log.
pub(crate) const MARKER: &str = "s3cr3t-r0w-v4lue";

/// Servers that a pipeline works between: those that all tests share, or a test's own.
pub(crate) struct Servers {
    /// URL of the database `postgres`.
    pub(crate) source: String,
    /// URL of the database `postgres`.
    pub(crate) destination: String,
    /// `host:port` of a broker; `None`: the shared one.
    pub(crate) kafka: Option<String>,
    /// URL; `None`: the shared one.
    pub(crate) clickhouse: Option<String>,
}

impl Default for Servers {
    fn default() -> Self {
        let (source, destination) = (Which::Source.admin_url(), Which::Destination.admin_url());
        Self { source, destination, kafka: None, clickhouse: None }
    }
}

/// Two databases, a ClickHouse database, topics, a configuration and the daemons of one test. Dropping it ends the
/// daemons, removes everything, and fails the test when a log holds what it should not.
pub(crate) struct Pipeline {
    /// Pipeline name and topic prefix.
    pub(crate) name: String,
    pub(crate) mirror: Mirror,
    pub(crate) topics: Topics,
    dir: TempDir,
    settings: Vec<(String, String)>,
    logs: Mutex<Vec<Arc<Log>>>,
    expected: Mutex<Vec<String>>,
    /// Sessions of the test itself.
    pub(crate) from: Client,
    pub(crate) to: Client,
    // Last, because they can only be dropped when nobody works in them.
    pub(crate) source: TestDb,
    pub(crate) destination: TestDb,
}

impl Pipeline {
    /// Creates everything and runs `schema` in the source. `settings` are configuration keys and values.
    pub(crate) async fn create(settings: &[(&str, &str)], schema: &str) -> Self {
        Self::create_at(Servers::default(), settings, schema).await
    }

    /// Creates everything at these servers, which have to outlive it.
    pub(crate) async fn create_at(servers: Servers, settings: &[(&str, &str)], schema: &str) -> Self {
        let source = TestDb::create_at(servers.source).await;
        let destination = TestDb::create_at(servers.destination).await;
        let name = source.name.replacen("tl_", "it_", 1);
        let (from, to) = (source.connect().await, destination.connect().await);
        crate::db::run(&from, schema).await;
        let mut pipeline = Self {
            mirror: Mirror::new(&name),
            topics: Topics::new(&name),
            dir: TempDir::new().unwrap(),
            settings: Vec::new(),
            logs: Mutex::default(),
            expected: Mutex::default(),
            name,
            from,
            to,
            source,
            destination,
        };
        if let Some(kafka) = servers.kafka {
            pipeline.topics.servers = kafka;
        }
        if let Some(clickhouse) = servers.clickhouse {
            pipeline.mirror.url = clickhouse;
        }
        pipeline.write_config();
        pipeline.set("mirror.batch_ms", "50");
        // Existing rows are the matter of snapshot.rs.
        pipeline.set("source.snapshot", "never");
        for (key, value) in settings {
            pipeline.set(key, value);
        }
        pipeline
    }

    fn write_config(&self) {
        let text = format!(
            "pipeline = \"{}\"\n[source]\nurl = \"{}\"\ntables = [\"public.*\"]\n[kafka]\nbootstrap_servers = \"{}\"\n\
             [offset]\ndir = \"{}\"\n[destination]\nurl = \"{}\"\n[clickhouse]\nurl = \"{}\"\ndatabase = \"{}\"\n\
             [log]\nlevel = \"info,tripline=debug\"\n",
            self.name,
            self.source.url(),
            self.topics.servers,
            self.offsets().display(),
            self.destination.url(),
            self.mirror.url,
            self.mirror.database,
        );
        std::fs::write(self.config(), text).unwrap();
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("tripline.toml")
    }

    pub(crate) fn offsets(&self) -> PathBuf {
        self.dir.path().join("offsets")
    }

    pub(crate) fn offset_file(&self) -> PathBuf {
        self.offsets().join(format!("{}.json", self.name))
    }

    /// Changes a configuration key for every process started from now on, through the environment.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        let variable = format!("TRIPLINE__{}", key.to_uppercase().replace('.', "__"));
        self.settings.push((variable, value.to_owned()));
    }

    /// Sets a variable for every process started from now on.
    pub(crate) fn environment(&mut self, name: &str, value: &str) {
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    /// Returns the environment variables that change configuration keys.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        self.settings.clone()
    }

    /// Appends to the configuration file.
    pub(crate) fn configure(&self, text: &str) {
        let mut file = std::fs::OpenOptions::new().append(true).open(self.config()).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    }

    /// Ends the publisher's sessions at the source, and its lock with them, as for a machine that went silent.
    pub(crate) async fn end_publishers_sessions(&self) {
        let end = "select pg_terminate_backend(pid) from pg_stat_activity
                   where application_name like 'tripline publish%' and datname = current_database()";
        crate::db::run(&self.from, end).await;
    }

    /// Goes on with a copy of the offset directory, as another machine would: the former one and its lock stay.
    pub(crate) fn move_offsets(&mut self) {
        let copy = self.dir.path().join(format!("offsets-{}", self.settings.len()));
        std::fs::create_dir(&copy).unwrap();
        let file = std::fs::read(self.offset_file()).unwrap();
        std::fs::write(copy.join(format!("{}.json", self.name)), file).unwrap();
        self.set("offset.dir", copy.to_str().unwrap());
    }

    /// Says that a warning or an error with this text is part of the test.
    pub(crate) fn expect(&self, text: &str) {
        let mut expected = self.expected.lock().unwrap();
        expected.push(text.to_owned());
        // What takes a publisher's session takes that of retention, too.
        if text.starts_with("starting again") {
            expected.push("no log rows are removed".to_owned());
        }
    }

    /// Runs a command to its end.
    pub(crate) async fn command(&self, line: &str) -> Ended {
        let mut command = daemon::command(&self.config(), line, &self.settings);
        tokio::task::spawn_blocking(move || Ended::of(&command.output().unwrap())).await.unwrap()
    }

    /// Runs a command that has to exit 0; returns what it printed.
    pub(crate) async fn fine(&self, line: &str) -> String {
        let ended = self.command(line).await;
        assert_eq!(ended.code, Some(0), "tripline {line}\n{}", ended.text);
        ended.text
    }

    pub(crate) async fn init(&self) {
        self.fine("init").await;
    }

    /// Starts `run`, `publish` or `apply`.
    pub(crate) fn start(&self, half: &str) -> Daemon {
        let daemon = Daemon::start(daemon::command(&self.config(), half, &self.settings), half);
        self.logs.lock().unwrap().push(daemon.log());
        daemon
    }

    /// Starts a daemon with `FAILPOINTS`: places where it is to die.
    pub(crate) fn start_armed(&self, half: &str, failpoints: &str) -> Daemon {
        self.start_with(half, &[("FAILPOINTS", failpoints.to_owned())])
    }

    /// Starts a daemon in this environment.
    pub(crate) fn start_with(&self, half: &str, environment: &[(&str, String)]) -> Daemon {
        let mut command = daemon::command(&self.config(), half, &self.settings);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        let daemon = Daemon::start(command, half);
        self.logs.lock().unwrap().push(daemon.log());
        daemon
    }

    /// Starts a daemon and waits until it works.
    pub(crate) async fn start_ready(&self, half: &str) -> Daemon {
        let daemon = self.start(half);
        self.wait_until(&format!("{half} is ready"), async || daemon.has_logged("INFO ready")).await;
        daemon
    }

    /// Starts a daemon that has to refuse: exit status 2 and a message that holds all of `says`.
    pub(crate) async fn refuses(&self, half: &str, says: &[&str]) {
        let daemon = self.start(half);
        self.ends_with(daemon, 2, says).await;
    }

    /// Waits until a daemon has died of its failpoint.
    pub(crate) async fn died(&self, mut daemon: Daemon) {
        self.wait_until("the daemon dies", async || daemon.poll().is_some()).await;
        assert!(daemon.has_logged("dying at a failpoint"));
    }

    /// Waits for a daemon's end with this exit status and a last message that holds all of `says`.
    pub(crate) async fn ends_with(&self, mut daemon: Daemon, code: i32, says: &[&str]) {
        self.wait_until("the daemon ends", async || daemon.poll().is_some()).await;
        let ended = daemon.ended();
        assert_eq!(ended.code, Some(code), "{}", ended.text);
        for text in says {
            assert!(ended.text.contains(text), "{text:?} is not in:\n{}", ended.text);
        }
    }

    /// Sends SIGTERM and waits for exit status 0.
    pub(crate) async fn stop(&self, daemon: Daemon) {
        daemon.term();
        self.ends_with(daemon, 0, &["stopped"]).await;
    }

    /// Waits for a condition, under a deadline.
    pub(crate) async fn wait_until(&self, what: &str, mut condition: impl AsyncFnMut() -> bool) {
        let start = Instant::now();
        while !condition().await {
            assert!(start.elapsed() < DEADLINE, "gave up after {DEADLINE:?}: {what}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether existing rows are still to be copied. A status that fails is no answer.
    pub(crate) async fn copying(&self) -> bool {
        let status = self.command("status").await;
        assert!(matches!(status.code, Some(0 | 1)), "{}", status.text);
        status.text.contains("snapshot ")
    }

    /// Waits until `status` says that nothing is behind anywhere.
    pub(crate) async fn caught_up(&self) {
        let mut last = String::new();
        let start = Instant::now();
        loop {
            let status = self.command("status").await;
            if status.code == Some(0) {
                return;
            }
            if start.elapsed() > DEADLINE {
                panic!("not caught up after {DEADLINE:?}: {last}");
            }
            last = status.text;
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until nothing is behind anywhere, and fails at once when the daemon ends before.
    pub(crate) async fn caught_up_by(&self, daemon: &mut Daemon) {
        self.wait_until("everything is applied", async || {
            assert!(daemon.poll().is_none(), "the daemon ended");
            self.command("status").await.code == Some(0)
        })
        .await;
    }

    /// Tells whether `status` says that everything committed is published.
    pub(crate) async fn source_is_drained(&self) -> bool {
        let status: serde_json::Value =
            serde_json::from_str(self.command("status --json").await.text.lines().next().unwrap()).unwrap();
        status["source"]["ok"]["rows_behind"] == 0
    }

    /// Waits until everything is applied, then compares all captured tables. Returns the rows of the source.
    pub(crate) async fn compare(&self) -> usize {
        self.caught_up().await;
        stores::compare(&self.from, &self.to, Some(&self.mirror)).await
    }

    /// Returns everything that the daemons have logged.
    pub(crate) fn logged(&self) -> String {
        self.logs.lock().unwrap().iter().flat_map(|log| log.lines()).collect::<Vec<_>>().join("\n")
    }

    /// Problems that the logs show.
    fn problems(&self) -> String {
        let expected = self.expected.lock().unwrap();
        let mut problems = String::new();
        for log in self.logs.lock().unwrap().iter() {
            for line in log.lines() {
                let level = line.split_whitespace().nth(1).unwrap_or_default();
                let unexpected =
                    matches!(level, "WARN" | "ERROR") && !expected.iter().any(|text| line.contains(text));
                if unexpected || line.contains(MARKER) || line.contains("panicked") {
                    writeln!(problems, "{}: {line}", log.what).unwrap();
                }
            }
        }
        problems
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.logs.lock().unwrap().iter().for_each(|log| log.kill());
        let cleaned = [self.topics.delete_all(), self.mirror.drop_database()];
        // Shown when the test fails, or with --show-output.
        for log in self.logs.lock().unwrap().iter() {
            println!("---- {}\n{}", log.what, log.tail());
        }
        if std::thread::panicking() {
            return;
        }
        assert_eq!(cleaned, [Ok(()), Ok(())], "something of {} is left", self.name);
        let problems = self.problems();
        assert!(problems.is_empty(), "the logs hold what they should not:\n{problems}");
    }
}
