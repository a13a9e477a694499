//! A PostgreSQL server of one test, which it may crash, copy and fail over: never the one that all tests share.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

use crate::db::{Which, value};
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
    /// Creates a cluster of the version that the shared source or destination has, with `settings` in
    /// postgresql.conf, and starts it.
    pub(crate) fn start(which: Which, settings: &str) -> Self {
        let server = Self::prepare(programs(which));
        server.tool("initdb", &["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]);
        server.configure(&format!("{SETTINGS}{settings}"));
        server.run();
        server
    }

    /// Takes a base backup of `self` and starts it as a streaming standby.
    pub(crate) async fn standby(&self) -> Self {
        let client = self.connect("postgres").await;
        let renamed = "select current_setting('server_version_num')::int >= 150000";
        let (begin, end) = match value(&client, renamed).await.as_str() {
            "t" => ("pg_backup_start('standby', true)", "pg_backup_stop(false)"),
            _ => ("pg_start_backup('standby', true, false)", "pg_stop_backup(false, false)"),
        };
        value(&client, &format!("select {begin}")).await;
        let standby = Self::prepare(self.bin.clone());
        // Files may go while they are copied, which is no harm: recovery begins where the label says.
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(self.data()).arg(standby.data()).stderr(std::process::Stdio::null());
        copy.status().unwrap();
        let label = value(&client, &format!("select labelfile from {end}")).await;
        std::fs::remove_file(standby.data().join("postmaster.pid")).unwrap();
        std::fs::write(standby.data().join("backup_label"), label).unwrap();
        std::fs::write(standby.data().join("standby.signal"), "").unwrap();
        own(&standby.data());
        standby.configure(&format!("primary_conninfo = 'host=127.0.0.1 port={} user=postgres'", self.port));
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
        self.configure("primary_conninfo = ''");
        self.run();
    }

    /// Puts a file beside the data that only the server may read; returns where it is.
    pub(crate) fn put(&self, name: &str, content: &[u8]) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.data().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        own(&path);
        path
    }

    /// Starts again with further settings.
    pub(crate) fn restart(&self, settings: &str) {
        self.stop();
        self.configure(settings);
        self.run();
    }

    /// Returns the port.
    pub(crate) fn port(&self) -> u16 {
        self.port
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

    /// Adds to the settings; the last one of a name counts.
    fn configure(&self, settings: &str) {
        let conf = self.data().join("postgresql.conf");
        let text = std::fs::read_to_string(&conf).unwrap();
        std::fs::write(conf, format!("{text}\n{settings}\n")).unwrap();
    }

    fn prepare(bin: PathBuf) -> Self {
        let dir = TempDir::new().unwrap();
        own(dir.path());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { dir, bin, port }
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

/// Gives a folder and what is in it to the user who runs the servers.
fn own(folder: &Path) {
    if is_root() {
        done(Command::new("chown").arg("-R").arg("postgres").arg(folder));
    }
}

/// Tells whether we are root, whom servers refuse.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Returns where the programs of the shared source or destination are, or else those of the newest installation.
pub(crate) fn programs(which: Which) -> PathBuf {
    let name = match which {
        Which::Source => "TRIPLINE_TEST_SOURCE_BIN",
        Which::Destination => "TRIPLINE_TEST_DESTINATION_BIN",
    };
    std::env::var_os(name).map_or_else(newest, PathBuf::from)
}

fn newest() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL's server is installed");
    let number = |path: &Path| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let newest = versions.filter_map(|entry| number(&entry.unwrap().path())).max().unwrap();
    format!("/usr/lib/postgresql/{newest}/bin").into()
}
