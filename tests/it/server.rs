//! A PostgreSQL server of one test, which it may crash, copy and fail over: never the one that all tests share.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

use crate::db::value;
use crate::passes::PATIENCE;

/// A server in a directory of its own on a free port. Stopped and removed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    dir: TempDir,
    bin: PathBuf,
    port: u16,
}

/// Settings of every server: what a crash takes is what was not handed to the operating system, so no fsync is needed.
const SETTINGS: &str = "fsync = off\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\nmax_connections = 50\n\
     shared_buffers = 32MB\nwal_level = replica\nmax_wal_senders = 5\nhot_standby = on\ntimezone = 'UTC'\n";

impl Server {
    /// Creates a cluster, with `settings` in postgresql.conf, and starts it.
    pub(crate) fn start(settings: &str) -> Self {
        let server = Self::prepare();
        server.tool("initdb", &["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]);
        let conf = server.data().join("postgresql.conf");
        let text = std::fs::read_to_string(&conf).unwrap();
        std::fs::write(conf, format!("{text}\n{SETTINGS}{settings}\n")).unwrap();
        server.run();
        server
    }

    /// Takes a base backup of `self` and starts it as a streaming standby.
    pub(crate) fn standby(&self) -> Self {
        let standby = Self::prepare();
        let port = self.port.to_string();
        standby.tool(
            "pg_basebackup",
            &["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-c", "fast", "--no-sync", "-R"],
        );
        standby.run();
        standby
    }

    /// Stops, copies the data directory, and starts again. [`Server::restore`] takes it back.
    pub(crate) fn backup(&self) {
        self.stop();
        self.copy("data", "backup");
        self.run();
    }

    /// Stops and starts again with the files of the backup.
    pub(crate) fn restore(&self) {
        self.stop();
        std::fs::remove_dir_all(self.data()).unwrap();
        self.copy("backup", "data");
        self.run();
    }

    /// Crashes and recovers: what was not flushed is gone.
    pub(crate) fn crash(&self) {
        self.ctl(&["stop", "-m", "immediate"]);
        self.run();
    }

    /// Shuts down in order.
    pub(crate) fn stop(&self) {
        self.ctl(&["stop", "-m", "fast"]);
    }

    /// Makes a standby the primary of a new timeline.
    pub(crate) fn promote(&self) {
        self.ctl(&["promote"]);
    }

    /// Restarts a standby so that it never again hears of its primary.
    pub(crate) fn cut_off(&self) {
        self.stop();
        let conf = self.data().join("postgresql.auto.conf");
        let text = std::fs::read_to_string(&conf).unwrap();
        std::fs::write(conf, format!("{text}\nprimary_conninfo = ''\n")).unwrap();
        self.run();
    }

    /// Returns the URL of a database.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Opens a session.
    pub(crate) async fn connect(&self, database: &str) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.url(database), NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Waits until a query answers `expected` in a database, whatever is in the way.
    pub(crate) async fn wait_for(&self, database: &str, sql: &str, expected: &str) {
        let client = self.connect(database).await;
        let start = Instant::now();
        while value(&client, sql).await != expected {
            assert!(start.elapsed() < PATIENCE, "{sql} is never {expected}");
        }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn prepare() -> Self {
        let dir = TempDir::new().unwrap();
        if is_root() {
            done(Command::new("chown").arg("postgres").arg(dir.path()));
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { dir, bin: newest(), port }
    }

    fn run(&self) {
        let port = format!("-p {}", self.port);
        let log = self.dir.path().join("log");
        self.ctl(&["start", "-l", log.to_str().unwrap(), "-o", &port]);
    }

    fn ctl(&self, arguments: &[&str]) {
        self.tool("pg_ctl", &[&["-w", "-s"], arguments].concat());
    }

    fn copy(&self, from: &str, to: &str) {
        let path = |name: &str| self.dir.path().join(name);
        done(Command::new("cp").arg("-a").arg(path(from)).arg(path(to)));
    }

    /// Runs a tool of the server on the data directory, as postgres when we are root, which the server refuses.
    fn tool(&self, name: &str, arguments: &[&str]) {
        let tool = self.bin.join(name);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(tool);
            command
        } else {
            Command::new(tool)
        };
        done(command.current_dir("/").arg("-D").arg(self.data()).args(arguments));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.data().join("postmaster.pid").exists() {
            self.ctl(&["stop", "-m", "immediate"]);
        }
    }
}

/// Runs a command that has to succeed. Its output goes nowhere: a server that it starts would hold it open.
fn done(command: &mut Command) {
    let null = std::process::Stdio::null;
    let status = command.stdin(null()).stdout(null()).stderr(null()).status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

/// Tells whether we are root, whom servers refuse.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// The newest installation, or that of `TRIPLINE_POSTGRES_BIN`.
fn newest() -> PathBuf {
    if let Some(bin) = std::env::var_os("TRIPLINE_POSTGRES_BIN") {
        return bin.into();
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL's server is installed");
    let number = |path: &Path| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let newest = versions.filter_map(|entry| number(&entry.unwrap().path())).max().unwrap();
    format!("/usr/lib/postgresql/{newest}/bin").into()
}
