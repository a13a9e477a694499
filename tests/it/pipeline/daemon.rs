//! The binary as a child process, with what it logs.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Lines that are shown of a log when a test fails.
const TAIL: usize = 60;

/// Prepares `tripline LINE`.
pub(crate) fn command(config: &Path, line: &str, settings: &[(String, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tripline"));
    command.arg("-c").arg(config).args(line.split_whitespace());
    command.env_remove("RUST_LOG").envs(settings.iter().map(|(name, value)| (name, value)));
    command
}

/// How a process ended.
pub(crate) struct Ended {
    /// Exit status; `None` after a signal.
    pub(crate) code: Option<i32>,
    /// What it said on both streams.
    pub(crate) text: String,
}

impl Ended {
    pub(crate) fn of(output: &Output) -> Self {
        let text =
            [&output.stdout, &output.stderr].map(|stream| String::from_utf8_lossy(stream).into_owned());
        Self { code: output.status.code(), text: text.concat() }
    }
}

/// The process and what it logged, which outlives it.
pub(crate) struct Log {
    /// Which daemon it is.
    pub(crate) what: String,
    lines: Mutex<Vec<String>>,
    child: Mutex<Child>,
}

impl Log {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Returns the last lines.
    pub(crate) fn tail(&self) -> String {
        let lines: VecDeque<String> = self.lines().into();
        let skipped = lines.len().saturating_sub(TAIL);
        lines.into_iter().skip(skipped).collect::<Vec<_>>().join("\n")
    }

    /// Ends the process with SIGKILL and waits for it; nothing happens when it has ended.
    pub(crate) fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

/// A running daemon; killed when dropped.
pub(crate) struct Daemon {
    log: Arc<Log>,
    reader: Option<JoinHandle<()>>,
}

impl Daemon {
    pub(crate) fn start(mut command: Command, what: &str) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let what = format!("{what} (pid {})", child.id());
        let log = Arc::new(Log { what, lines: Mutex::default(), child: Mutex::new(child) });
        let sink = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                sink.lines.lock().unwrap().push(line);
            }
        });
        Self { log, reader: Some(reader) }
    }

    pub(crate) fn log(&self) -> Arc<Log> {
        Arc::clone(&self.log)
    }

    pub(crate) fn has_logged(&self, text: &str) -> bool {
        self.log.lines.lock().unwrap().iter().any(|line| line.contains(text))
    }

    /// Counts the lines that hold a text.
    pub(crate) fn times_logged(&self, text: &str) -> usize {
        self.log.lines.lock().unwrap().iter().filter(|line| line.contains(text)).count()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.log.child.lock().unwrap().id()
    }

    /// Sends SIGTERM.
    pub(crate) fn term(&self) {
        self.signal("-TERM");
    }

    /// Sends a signal that `kill` knows by this name.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Ends it the hard way.
    pub(crate) fn kill9(&self) {
        self.log.kill();
    }

    /// Returns the exit status once the process has ended.
    pub(crate) fn poll(&mut self) -> Option<ExitStatus> {
        self.log.child.lock().unwrap().try_wait().unwrap()
    }

    /// Waits for the end; returns how it ended and what it logged.
    pub(crate) fn ended(mut self) -> Ended {
        let status = self.log.child.lock().unwrap().wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        Ended { code: status.code(), text: self.log.lines().join("\n") }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.log.kill();
    }
}
