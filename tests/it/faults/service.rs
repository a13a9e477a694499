//! A Kafka broker or a ClickHouse of one test, which it may stop, suspend and kill. Started by the functions of
//! `scripts/lib`, as the shared services are.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Longest wait for a start or an end.
const PATIENCE: Duration = Duration::from_secs(90);

/// What the scripts need; the arguments are the checkout, the folder, the commands, the broker's user, and what the
/// server is given beside its usual arguments.
const SCRIPT: &str = r#"
set -euo pipefail
repo=$1 services_dir=$2 scram=$4 more=("${@:5}")
for part in deps settings processes kafka clickhouse; do source "$repo/scripts/lib/$part.sh"; done
mkdir -p "$cache"
clickhouse_binary() { :; } # faults are what only our own front can inject
eval "usual_$(declare -f start_detached)"
start_detached() { usual_start_detached "$@" "${more[@]}"; }
java() { # a user can only be there from the beginning
  if [ -n "$scram" ] && [[ " $* " == *" format "* ]]; then set -- "$@" --add-scram "$scram"; fi
  command java "$@"
}
"$3_install"
"$3_start"
"#;

/// A server in a directory of its own on free ports. Killed and removed when dropped.
pub(crate) struct Service {
    dir: TempDir,
    name: &'static str,
    port: u16,
    /// The broker's other port.
    controller: u16,
    /// A user of the broker, as `StorageTool --add-scram` takes it.
    scram: &'static str,
    /// Further arguments.
    more: Vec<String>,
}

impl Service {
    /// Starts a broker.
    pub(crate) fn kafka() -> Self {
        Self::start("kafka", "", Vec::new())
    }

    /// Starts a ClickHouse that injects faults.
    pub(crate) fn clickhouse() -> Self {
        Self::start("clickhouse", "", Vec::new())
    }

    /// Starts a broker with a user and further settings, `name=value`, in which `{port}` and `{controller}` stand for its
    /// ports.
    pub(crate) fn kafka_with(scram: &'static str, settings: &[String]) -> Self {
        let more = settings.iter().flat_map(|setting| ["--override".to_owned(), setting.clone()]);
        Self::start("kafka", scram, more.collect())
    }

    /// Starts a ClickHouse with these users, `name:password`.
    pub(crate) fn clickhouse_with(users: &[&str]) -> Self {
        let more = users.iter().flat_map(|user| ["--user".to_owned(), (*user).to_owned()]);
        Self::start("clickhouse", "", more.collect())
    }

    fn start(name: &'static str, scram: &'static str, more: Vec<String>) -> Self {
        // Both are held while they are chosen, so that they differ.
        let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [port, controller] = ports.map(|port| port.local_addr().unwrap().port());
        let placed = |text: String| {
            text.replace("{port}", &port.to_string()).replace("{controller}", &controller.to_string())
        };
        let more = more.into_iter().map(placed).collect();
        let service = Self { dir: TempDir::new().unwrap(), name, port, controller, scram, more };
        service.run();
        service
    }

    /// Returns its `host:port`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts it on the data that it has, and waits until it accepts connections.
    pub(crate) fn run(&self) {
        let mut command = Command::new("bash");
        command.args(["-c", SCRIPT, "bash", env!("CARGO_MANIFEST_DIR")]).arg(self.dir.path());
        command.args([self.name, self.scram]).args(&self.more);
        command.env("TRIPLINE_KAFKA_PORT", self.port.to_string());
        command.env("TRIPLINE_KAFKA_CONTROLLER_PORT", self.controller.to_string());
        command.env("TRIPLINE_CLICKHOUSE_PORT", self.port.to_string());
        let done = command.stdin(Stdio::null()).output().unwrap();
        assert!(done.status.success(), "{}: {}", self.name, String::from_utf8_lossy(&done.stderr));
        self.wait("accepts no connections", || TcpStream::connect(self.address()).is_ok());
    }

    /// Sends a signal that `kill` knows by this name.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().expect("it was started");
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Ends it with a signal and waits until it is gone.
    pub(crate) fn end(&self, signal: &str) {
        self.signal(signal);
        self.wait("does not end", || !self.is_alive());
        std::fs::remove_file(self.home().join("pid")).unwrap();
    }

    /// Asks ClickHouse for trouble: the next `count` statements that hold `text` meet a fault of this kind and value.
    pub(crate) fn fault(&self, kind: &str, text: &str, count: u32, value: &str) {
        let text = text.replace(' ', "%20");
        let mut stream = TcpStream::connect(self.address()).unwrap();
        let path = format!("/_test/fault?kind={kind}&match={text}&count={count}&value={value}");
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(" 200 "), "{answer}");
    }

    fn wait(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < PATIENCE, "{} {what}: {}", self.name, self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join(self.name)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.home().join("log")).unwrap_or_default()
    }

    fn pid(&self) -> Option<String> {
        Some(std::fs::read_to_string(self.home().join("pid")).ok()?.trim().to_owned())
    }

    /// Tells whether the process is there: its folder stands in its command line, which is empty once it has ended.
    fn is_alive(&self) -> bool {
        let folder = self.home().display().to_string();
        let line = self.pid().and_then(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).ok());
        line.is_some_and(|line| String::from_utf8_lossy(&line).contains(&folder))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("---- {}\n{}", self.name, self.log());
        }
        if self.is_alive() {
            self.end("-KILL");
        }
    }
}
