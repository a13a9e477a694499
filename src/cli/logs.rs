//! Where log lines go: to the journal as fields, or to stderr as text or JSON.

use std::io::IsTerminal as _;
use std::os::unix::fs::MetadataExt as _;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Log, LogFormat};

/// Below these levels the client libraries log statements and answers, with row values in them.
const CAPPED: [(&str, LevelFilter); 2] =
    [("tokio_postgres", LevelFilter::INFO), ("clickhouse", LevelFilter::WARN)];

/// Starts logging. What librdkafka warns of it deals with itself, and what it does not comes back as an error of ours.
/// `RUST_LOG` wins over the configured level, but never so far that row values are logged.
pub fn log(log: &Log) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("librdkafka=error,{}", log.level)));
    let filter = CAPPED.into_iter().fold(filter, |filter, (target, most)| {
        let directive = format!("{target}={most}").parse();
        directive.map_or(filter.clone(), |directive| filter.add_directive(directive))
    });
    let wanted = match log.format {
        LogFormat::Auto => is_journal(std::env::var("JOURNAL_STREAM").ok().as_deref()),
        LogFormat::Journald => true,
        LogFormat::Text | LogFormat::Json => false,
    };
    // Without a journal there is still stderr.
    let journal = wanted.then(tracing_journald::layer).and_then(Result::ok);
    if let Some(journal) = journal {
        tracing_subscriber::registry().with(filter).with(journal).init();
        return;
    }
    // Colours are for people: a journal or a file would keep the escape sequences, and no search would find a word.
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match log.format {
        LogFormat::Json => subscriber.json().init(),
        _ => subscriber.with_target(false).init(),
    }
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
