//! Removes log rows beside the active publisher. What goes wrong here is told and tried again; publishing never ends of it,
//! and neither readiness nor the watchdog asks for it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{counter, gauge};

use super::repeats::Repeats;
use crate::config::Config;
use crate::error::chain;
use crate::retention::pace::{Pace, rest, until_next_look};
use crate::retention::{Batch, Cleaner, Log, Look, RetentionError};
use crate::telemetry::catalog;

/// First and longest wait before it is tried again.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Longest time without a look while there is more to remove: ages, sizes and other tables are known from looks alone.
const ROUND: Duration = Duration::from_secs(30);

/// Looks at the log and removes what may go, for as long as this is polled.
pub(super) async fn run(config: Arc<Config>) {
    let mut repeats = Repeats::default();
    let mut said = Said::default();
    let mut wait = BACKOFF.0;
    loop {
        let began = Instant::now();
        let Err(error) = work(&config, &mut said).await;
        if began.elapsed() > BACKOFF.1 {
            // It worked for a while: the next trouble is a new one.
            wait = BACKOFF.0;
        }
        counter!(catalog::RETENTION_FAILURES).increment(1);
        let error = chain(&error);
        match repeats.say(&error, Instant::now()) {
            Some(0) => tracing::warn!(%error, "no log rows are removed; publishing goes on"),
            Some(unsaid) => tracing::warn!(%error, unsaid, "no log rows are removed; publishing goes on"),
            None => tracing::debug!(%error, "no log rows are removed; publishing goes on"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(BACKOFF.1);
    }
}

async fn work(config: &Config, said: &mut Said) -> Result<std::convert::Infallible, RetentionError> {
    let cleaner = Cleaner::connect(config, !config.retention.enabled).await?;
    let mut pace = Pace::default();
    loop {
        let began = Instant::now();
        let look = cleaner.look().await?;
        let looked = began.elapsed();
        said.see(config, &look);
        if config.retention.enabled {
            remove(config, &cleaner, &look, &mut pace).await?;
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            gauge!(catalog::RETENTION_AT).set(now.map_or(0.0, |now| now.as_secs_f64().floor()));
        }
        tokio::time::sleep(until_next_look(looked)).await;
    }
}

/// Removes what may go now, one batch of each table after the other.
async fn remove(
    config: &Config,
    cleaner: &Cleaner,
    look: &Look,
    pace: &mut Pace,
) -> Result<(), RetentionError> {
    let keep = config.retention.keep();
    let may_go = |log: &Log| {
        let oldest = look.oldest.iter().find(|oldest| oldest.log_table == log.name)?;
        let age = Duration::try_from_secs_f64(oldest.seconds).ok()?;
        (oldest.id <= look.bound(log)? && age >= keep).then(|| (log.clone(), age))
    };
    let mut open: Vec<(Log, Duration)> = look.logs.iter().filter_map(may_go).collect();
    let until = Instant::now() + ROUND;
    while !open.is_empty() && Instant::now() < until {
        let mut next = Vec::new();
        for (mut log, age) in open {
            let (wanted, began) = (pace.rows(), Instant::now());
            let Batch::Removed { rows, to } = cleaner.remove(&log, look.is_stopped(&log), wanted).await?
            else {
                tracing::debug!(log_table = log.name, "locked by somebody else: its rows are removed later");
                continue;
            };
            let took = began.elapsed();
            counter!(catalog::REMOVED).increment(rows);
            if rows == u64::from(wanted) {
                pace.took(took);
                log.removed_to = to;
                next.push((log, age));
            }
            tokio::time::sleep(rest(took, age, keep)).await;
        }
        open = next;
    }
    Ok(())
}

/// What was said already: it stays true for a while.
#[derive(Debug, Default)]
struct Said {
    stopped: BTreeSet<String>,
    full: bool,
}

impl Said {
    fn see(&mut self, config: &Config, look: &Look) {
        gauge!(catalog::LOG_BYTES).set(look.bytes() as f64);
        gauge!(catalog::LOG_OLDEST).set(look.oldest_seconds());
        let stopped: BTreeSet<String> =
            look.gaps.iter().filter(|gap| gap.open).map(|gap| gap.table.to_string()).collect();
        gauge!(catalog::STOPPED).set(stopped.len() as f64);
        for table in stopped.difference(&self.stopped) {
            tracing::warn!(
                %table,
                "nothing of it is logged any more, because its log was full: make room, then run tripline init, which copies its \
                 rows anew"
            );
        }
        self.stopped = stopped;
        let Some(most) = config.retention.max_log_bytes else { return };
        gauge!(catalog::LOG_MOST).set(most as f64);
        let full = look.bytes() >= most;
        if full && !self.full {
            tracing::warn!(bytes = look.bytes(), most, "the log is larger than retention.max_log_bytes");
        }
        self.full = full;
    }
}
