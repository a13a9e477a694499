//! The supervisor: owns every task by name, starts it again after errors that pass, and stops all when one halts.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use sd_notify::NotifyState;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::repeats::Repeats;
use crate::error::{Disposition, Error, chain};
use crate::telemetry::{Task, catalog, notify};

/// First and longest wait before a task starts again; jitter is added.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(15));

/// Tells that a task does its work: its first pass is read, or its positions are. May be said again and again.
#[derive(Debug, Clone)]
pub(super) struct Ready {
    task: Arc<Task>,
    said: Arc<AtomicBool>,
    waiting: Arc<AtomicUsize>,
}

impl Ready {
    /// Says it. When the last task has, the service manager is told.
    pub(super) fn set(&self) {
        if self.said.swap(true, Ordering::AcqRel) {
            return;
        }
        self.task.set_ready(true);
        if self.waiting.fetch_sub(1, Ordering::AcqRel) == 1 {
            tracing::info!("ready");
            notify(&[NotifyState::Ready]);
        }
    }

    /// Returns what is seen of the task.
    pub(super) fn task(&self) -> &Arc<Task> {
        &self.task
    }
}

/// The tasks of a process.
#[derive(Debug)]
pub(super) struct Supervisor {
    stop: CancellationToken,
    tasks: JoinSet<Result<(), Error>>,
    waiting: Arc<AtomicUsize>,
}

impl Supervisor {
    pub(super) fn new(stop: CancellationToken) -> Self {
        Self { stop, tasks: JoinSet::new(), waiting: Arc::new(AtomicUsize::new(0)) }
    }

    /// Starts a task that runs `work` again and again until the stop, or until an error that needs a person.
    pub(super) fn spawn<F, W>(&mut self, task: Arc<Task>, work: W)
    where
        W: Fn(CancellationToken, Ready) -> F + Send + 'static,
        F: Future<Output = Result<(), Error>> + Send,
    {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let stop = self.stop.clone();
        let waiting = Arc::clone(&self.waiting);
        self.tasks.spawn(async move {
            let mut backoff = backoff();
            let mut repeats = Repeats::default();
            loop {
                let said = Arc::new(AtomicBool::new(false));
                let ready = Ready { task: Arc::clone(&task), said, waiting: Arc::clone(&waiting) };
                let result = work(stop.clone(), ready.clone()).await;
                let Err(error) = result else { return Ok(()) };
                if ready.said.load(Ordering::Acquire) {
                    // It worked for a while: the next trouble is a new one.
                    backoff = self::backoff();
                    waiting.fetch_add(1, Ordering::AcqRel);
                }
                let disposition = error.disposition();
                if disposition != Disposition::Again {
                    let kind = error.kind().label();
                    metrics::counter!(catalog::ERRORS, "task" => task.name, "kind" => kind).increment(1);
                }
                match disposition {
                    Disposition::Halt => return Err(error),
                    _ if stop.is_cancelled() => return Ok(()),
                    Disposition::Again => {}
                    Disposition::Retry => {
                        let wait = backoff.next().unwrap_or(BACKOFF.1);
                        let (name, error) = (task.name, chain(&error));
                        task.restarts(&error);
                        metrics::counter!(catalog::RESTARTS, "task" => name).increment(1);
                        match repeats.say(&error, Instant::now()) {
                            Some(0) => tracing::warn!(task = name, %error, ?wait, "starting again"),
                            Some(unsaid) => {
                                tracing::warn!(task = name, %error, ?wait, unsaid, "starting again")
                            }
                            None => tracing::debug!(task = name, %error, ?wait, "starting again"),
                        }
                        tokio::select! {
                            () = stop.cancelled() => return Ok(()),
                            () = tokio::time::sleep(wait) => {}
                        }
                    }
                }
            }
        });
    }

    /// Waits for all tasks. The first that halts stops the others; its error is returned.
    pub(super) async fn join(mut self) -> Result<(), Error> {
        let mut result = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    self.stop.cancel();
                    if result.is_ok() {
                        result = Err(error);
                    }
                }
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
        }
        notify(&[NotifyState::Stopping]);
        if let Err(error) = &result {
            // systemd shows it for as long as the unit is failed.
            notify(&[NotifyState::Status(&format!("halted: {}", chain(error).replace('\n', " ")))]);
        }
        result
    }
}

fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(BACKOFF.0)
        .with_max_delay(BACKOFF.1)
        .with_jitter()
        .without_max_times()
        .build()
}
