//! What the last comparison of all tables found, kept beside the offset file for the daemon's metrics.

use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{Answer, Compared, TableReport};
use crate::config::Config;

/// What the last comparison of all tables with one target found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// `postgres` or `clickhouse`.
    pub target: String,
    /// The pass at whose end the first of the tables was compared; 0 when none was.
    pub pass: u64,
    /// When, seconds since 1970.
    pub at_seconds: u64,
    /// Rows that differed.
    pub differing: u64,
    /// Tables that could not be compared.
    pub failed: u64,
}

fn path(config: &Config) -> PathBuf {
    config.offset.dir.join(format!("{}.verified.json", config.pipeline))
}

/// Notes what a comparison of all tables found. Blocking.
pub fn note(config: &Config, reports: &[TableReport]) -> std::io::Result<()> {
    let at_seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
    let noted: Vec<Noted> = ["postgres", "clickhouse"]
        .into_iter()
        .filter(|target| reports.iter().any(|report| report.target == *target))
        .map(|target| summary(target, at_seconds, reports))
        .collect();
    let (path, next) = (path(config), path(config).with_extension("json.tmp"));
    fs::write(&next, serde_json::to_vec(&noted)?)?;
    fs::rename(next, path)
}

fn summary(target: &str, at_seconds: u64, reports: &[TableReport]) -> Noted {
    let of_target = reports.iter().filter(|report| report.target == target);
    let compared: Vec<&Compared> = of_target
        .clone()
        .filter_map(|report| match &report.result {
            Answer::Compared(compared) => Some(compared),
            Answer::Failed { .. } => None,
        })
        .collect();
    Noted {
        target: target.to_owned(),
        pass: compared.iter().map(|compared| compared.pass).min().unwrap_or(0),
        at_seconds,
        differing: compared.iter().map(|compared| compared.differing).sum(),
        failed: (of_target.count() - compared.len()) as u64,
    }
}

/// Returns what was noted last, nothing where nothing was, or cannot be read. Blocking, but for a small file.
pub fn noted(config: &Config) -> Vec<Noted> {
    let bytes = fs::read(path(config)).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_verified_as_far_as_its_first_table() {
        let compared = |pass, differing| Compared { pass, differing, ..Compared::default() };
        let report = |target, result| TableReport { table: "public.t".into(), target, result };
        let reports = [
            report("postgres", Answer::Compared(compared(9, 0))),
            report("postgres", Answer::Compared(compared(7, 2))),
            report("postgres", Answer::Failed { error: "away".into() }),
        ];
        let dir = tempfile::TempDir::new().unwrap();
        let mut config = Config { pipeline: "shop".into(), ..Config::default() };
        config.offset.dir = dir.path().to_owned();
        assert_eq!(noted(&config), []);
        note(&config, &reports).unwrap();
        let found = noted(&config);
        assert!(found[0].at_seconds > 1_700_000_000);
        let expected =
            Noted { target: "postgres".into(), pass: 7, differing: 2, failed: 1, ..found[0].clone() };
        assert_eq!(found, [expected]);
    }
}
