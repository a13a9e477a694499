//! Asks a daemon over HTTP.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::pipeline::daemon::Daemon;
use crate::pipeline::harness::Pipeline;

/// Series of one scrape: name with labels as they stand there, and value.
pub(super) struct Scrape {
    pub(super) text: String,
    series: BTreeMap<String, f64>,
}

impl Scrape {
    /// Returns a series' value.
    pub(super) fn value(&self, series: &str) -> Option<f64> {
        self.series.get(series).copied()
    }

    /// Names and labels of all series.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.series.keys()
    }
}

/// Sets an address for daemons started from now on: a port that the system chooses.
pub(super) fn listen(pipeline: &mut Pipeline) {
    pipeline.set("http.listen", "127.0.0.1:0");
}

/// Returns where a daemon answers, once it has said so.
pub(super) async fn address(pipeline: &Pipeline, daemon: &Daemon) -> String {
    const SAYS: &str = "answering HTTP address=";
    pipeline.wait_until("HTTP is there", async || daemon.has_logged(SAYS)).await;
    let lines = daemon.log().lines();
    lines.iter().find_map(|line| line.split_once(SAYS)).unwrap().1.trim().to_owned()
}

/// Asks for a path; returns status and body.
pub(super) fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(!head.to_lowercase().contains("chunked"), "{head}");
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Reads the metrics.
pub(super) fn scrape(address: &str) -> Scrape {
    let (code, text) = get(address, "/metrics");
    assert_eq!(code, 200, "{text}");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let series = lines.map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    });
    Scrape { series: series.collect(), text: text.clone() }
}
