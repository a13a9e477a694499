//! Where log lines go: to the journal as fields, or to stderr as text or JSON.

use std::io::IsTerminal as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::config::{Config, Log, LogFormat};
use crate::error::chain;

/// Below these levels the client libraries log statements and answers, with row values in them.
const CAPPED: [(&str, LevelFilter); 2] =
    [("tokio_postgres", LevelFilter::INFO), ("clickhouse", LevelFilter::WARN)];

/// The log's filter, which can be changed while the program runs.
#[derive(Debug)]
pub struct Logs {
    filter: reload::Handle<EnvFilter, Registry>,
    /// Where the filter is from, in words.
    level: String,
}

/// Starts logging. What librdkafka warns of it deals with itself, and what it does not comes back as an error of ours.
/// `RUST_LOG` wins over the configured level, but never so far that row values are logged.
pub fn log(log: &Log) -> Logs {
    let (level, filter) = from_environment().unwrap_or_else(|| configured(&log.level));
    let (filter, handle) = reload::Layer::new(filter);
    let wanted = match log.format {
        LogFormat::Auto => is_journal(std::env::var("JOURNAL_STREAM").ok().as_deref()),
        LogFormat::Journald => true,
        LogFormat::Text | LogFormat::Json => false,
    };
    // Without a journal there is still stderr.
    let journal = wanted.then(tracing_journald::layer).and_then(Result::ok);
    let subscriber = tracing_subscriber::registry().with(filter);
    if let Some(journal) = journal {
        subscriber.with(journal).init();
    } else {
        // Colours are for people: a journal or a file would keep the escape sequences, and no search would find a word.
        let lines = tracing_subscriber::fmt::layer()
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr);
        match log.format {
            LogFormat::Json => subscriber.with(lines.json()).init(),
            _ => subscriber.with(lines.with_target(false)).init(),
        }
    }
    Logs { filter: handle, level }
}

impl Logs {
    /// Reads the configuration again and takes over its level, nothing else. One that cannot be used changes nothing.
    pub(super) fn reload(&mut self, path: Option<&Path>) {
        let config = match Config::load(path) {
            Ok(config) => config,
            Err(error) => {
                let (error, level) = (chain(&error), &self.level);
                tracing::warn!(%error, %level, "the configuration cannot be used: the log level stays as it is");
                return;
            }
        };
        let (level, filter) = from_environment().unwrap_or_else(|| configured(&config.log.level));
        let former = std::mem::replace(&mut self.level, level);
        let say = |level: &str| tracing::info!(%level, %former, "read the configuration again for the log level alone");
        // Said where it can be heard: before a quieter level, behind a more talkative one.
        let heard = tracing::enabled!(tracing::Level::INFO);
        if heard {
            say(&self.level);
        }
        if let Err(error) = self.filter.reload(filter) {
            tracing::warn!(%error, "the log level stays as it is");
        } else if !heard {
            say(&self.level);
        }
    }
}

/// Returns the filter of `RUST_LOG`, when that is set, and what to call it.
fn from_environment() -> Option<(String, EnvFilter)> {
    let filter = EnvFilter::try_from_default_env().ok()?;
    let directives = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    Some((format!("{directives} (RUST_LOG)"), capped(filter)))
}

fn configured(level: &str) -> (String, EnvFilter) {
    (level.to_owned(), capped(EnvFilter::new(format!("librdkafka=error,{level}"))))
}

fn capped(filter: EnvFilter) -> EnvFilter {
    CAPPED.into_iter().fold(filter, |filter, (target, most)| {
        let directive = format!("{target}={most}").parse();
        directive.map_or(filter.clone(), |directive| filter.add_directive(directive))
    })
}

/// Tells whether stderr is the journal that systemd names in `JOURNAL_STREAM`, `device:inode`.
fn is_journal(stream: Option<&str>) -> bool {
    let Ok(stderr) = std::fs::metadata("/proc/self/fd/2") else { return false };
    stream == Some(&format!("{}:{}", stderr.dev(), stderr.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stderr_is_the_journal_only_where_systemd_says_that_it_is() {
        let stderr = std::fs::metadata("/proc/self/fd/2").unwrap();
        assert!(is_journal(Some(&format!("{}:{}", stderr.dev(), stderr.ino()))));
        assert!(!is_journal(Some(&format!("{}:{}", stderr.dev(), stderr.ino() + 1))));
        assert!(!is_journal(Some("")));
        assert!(!is_journal(None));
    }
}
