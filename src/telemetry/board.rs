//! The board: every task and stage of a daemon with what it does right now.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Lag, SourceClock};

/// Everything of one daemon.
#[derive(Debug)]
pub(crate) struct Board {
    pipeline: String,
    /// The source's clock.
    pub(crate) clock: Arc<SourceClock>,
    tasks: Mutex<Vec<Arc<Task>>>,
}

/// One task of the supervisor: the publisher, or a target.
#[derive(Debug)]
pub(crate) struct Task {
    /// As the supervisor calls it.
    pub(crate) name: &'static str,
    /// Label of its metrics: `source`, `postgres` or `clickhouse`.
    pub(crate) label: &'static str,
    /// How far behind it is.
    pub(crate) lag: Lag,
    /// The source's clock.
    pub(crate) clock: Arc<SourceClock>,
    ready: AtomicBool,
    restarts: AtomicU64,
    error: Mutex<Option<String>>,
    stages: Vec<Arc<Stage>>,
    /// Since when the oldest open transaction of the source is known; none is open when this is `None`.
    oldest_open: Mutex<Option<Instant>>,
}

/// One loop of a task.
#[derive(Debug)]
pub(crate) struct Stage {
    name: &'static str,
    step: Mutex<Option<Now>>,
}

/// What a stage is at.
#[derive(Debug, Clone, Copy)]
struct Now {
    what: &'static str,
    since: Instant,
    /// When it last said that it only waits for somebody else.
    alive: Instant,
}

/// A stage is at work while this lives. Without, it waits for something to do, which it may do for ever.
#[derive(Debug)]
pub(crate) struct Step<'a>(&'a Stage);

impl Stage {
    /// Begins a step. A stage does one at a time.
    pub(crate) fn step(&self, what: &'static str) -> Step<'_> {
        let now = Instant::now();
        self.put(Some(Now { what, since: now, alive: now }));
        Step(self)
    }

    fn put(&self, step: Option<Now>) {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = step;
    }

    /// Says that somebody else keeps the step waiting and has just been asked again. The step goes on to count; it stalls
    /// only when this is not said any more.
    pub(crate) fn waits(&self, what: &'static str) {
        let mut step = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(now) = step.as_mut() {
            (now.what, now.alive) = (what, Instant::now());
        }
    }

    /// Tells whether it waits for something to do.
    pub(crate) fn is_waiting(&self) -> bool {
        self.current().is_none()
    }

    fn current(&self) -> Option<Now> {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        self.0.put(None);
    }
}

impl Task {
    /// Returns a stage that was named when the task was added.
    pub(crate) fn stage(&self, name: &'static str) -> Arc<Stage> {
        let stage = self.stages.iter().find(|stage| stage.name == name);
        Arc::clone(stage.expect("a task's stages are named where it is added"))
    }

    /// Says whether it does its work.
    pub(crate) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
        if ready {
            *self.error.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// Says that it ended with an error and starts again.
    pub(crate) fn restarts(&self, error: &str) {
        self.set_ready(false);
        self.lag.restart(0);
        self.restarts.fetch_add(1, Ordering::Relaxed);
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_owned());
    }

    /// Says since when the oldest open transaction that has written is known.
    pub(crate) fn set_oldest_open(&self, since: Option<Instant>) {
        *self.oldest_open.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    fn oldest_open(&self) -> Option<f64> {
        let since = *self.oldest_open.lock().unwrap_or_else(PoisonError::into_inner);
        since.map(|since| since.elapsed().as_secs_f64())
    }

    fn report(&self) -> TaskReport {
        let stages = self.stages.iter().map(|stage| {
            let current = stage.current();
            StageReport {
                stage: stage.name,
                step: current.map(|now| now.what),
                step_seconds: current.map_or(0.0, |now| now.since.elapsed().as_secs_f64()),
            }
        });
        TaskReport {
            task: self.name,
            ready: self.ready.load(Ordering::Acquire),
            restarts: self.restarts.load(Ordering::Relaxed),
            error: self.error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            pass: self.lag.pass(),
            rows_behind: self.lag.rows(),
            seconds_behind: self.lag.seconds(self.clock.now()),
            oldest_transaction_seconds: (self.label == "source").then(|| self.oldest_open().unwrap_or(0.0)),
            stages: stages.collect(),
        }
    }
}

impl Board {
    pub(crate) fn new(pipeline: &str) -> Self {
        Self { pipeline: pipeline.to_owned(), clock: Arc::default(), tasks: Mutex::default() }
    }

    /// Adds a task with its stages, in the order in which a change passes them.
    pub(crate) fn add(&self, name: &'static str, label: &'static str, stages: &[&'static str]) -> Arc<Task> {
        let stage = |name: &&'static str| Arc::new(Stage { name, step: Mutex::default() });
        let task = Arc::new(Task {
            name,
            label,
            lag: Lag::default(),
            clock: Arc::clone(&self.clock),
            ready: AtomicBool::new(false),
            restarts: AtomicU64::new(0),
            error: Mutex::default(),
            stages: stages.iter().map(stage).collect(),
            oldest_open: Mutex::default(),
        });
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&task));
        task
    }

    pub(crate) fn tasks(&self) -> Vec<Arc<Task>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns what all of it does.
    pub(crate) fn report(&self) -> Report {
        let tasks: Vec<TaskReport> = self.tasks().iter().map(|task| task.report()).collect();
        Report {
            pipeline: self.pipeline.clone(),
            version: env!("CARGO_PKG_VERSION"),
            ready: tasks.iter().all(|task| task.ready),
            tasks,
        }
    }

    /// Returns the stage that has been at one step for longer than `limit` without saying that it waits, in words.
    pub(crate) fn stalled(&self, limit: Duration) -> Option<String> {
        let tasks = self.tasks();
        let stages = tasks.iter().flat_map(|task| task.stages.iter().map(move |stage| (task, stage)));
        stages.into_iter().find_map(|(task, stage)| {
            let Now { what, since, .. } = stage.current().filter(|now| now.alive.elapsed() > limit)?;
            Some(format!("{} {}: {what} for {} s", task.name, stage.name, since.elapsed().as_secs()))
        })
    }
}

impl Report {
    /// Returns one line for people: how far behind each task is, and what is wrong with it.
    pub fn line(&self) -> String {
        let task = |task: &TaskReport| match (&task.error, task.seconds_behind) {
            (Some(error), _) => format!("{}: {}", task.task, error.replace('\n', " ")),
            (None, Some(seconds)) => {
                format!("{}: {} rows, {seconds:.1} s behind", task.task, task.rows_behind)
            }
            (None, None) => format!("{}: starting", task.task),
        };
        self.tasks.iter().map(task).collect::<Vec<_>>().join("; ")
    }
}

/// What `/status` shows.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Name of the pipeline.
    pub pipeline: String,
    /// Version of this program.
    pub version: &'static str,
    /// Every task does its work.
    pub ready: bool,
    /// The tasks of this daemon.
    pub tasks: Vec<TaskReport>,
}

/// One task of a daemon.
#[derive(Debug, Serialize)]
pub struct TaskReport {
    /// `publish`, `apply postgres` or `apply clickhouse`.
    pub task: &'static str,
    /// It has read a first pass, or has applied a batch or found nothing to apply, and has not failed since.
    pub ready: bool,
    /// How often it started again after an error.
    pub restarts: u64,
    /// Why it is not at work, without row values; absent (`null`) while it is.
    pub error: Option<String>,
    /// Last pass of which something is published or applied.
    pub pass: Option<u64>,
    /// Rows that wait for this task.
    pub rows_behind: u64,
    /// For how long the oldest of them has, by the source's clock; `null` before that is known.
    pub seconds_behind: Option<f64>,
    /// Of the publisher: how long the oldest transaction that holds the offset back has been open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_transaction_seconds: Option<f64>,
    /// Its stages, in the order in which a change passes them.
    pub stages: Vec<StageReport>,
}

/// One stage of a task.
#[derive(Debug, Serialize)]
pub struct StageReport {
    /// `tail`, `produce`, `commit`, `save` or `apply`.
    pub stage: &'static str,
    /// What it is at; `null` while it waits for something to do.
    pub step: Option<&'static str>,
    /// For how long.
    pub step_seconds: f64,
}

/// What consuming reports to.
pub(crate) struct TargetWatch {
    pub(crate) task: Arc<Task>,
    /// Its stage.
    pub(crate) stage: Arc<Stage>,
    ready: Box<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for TargetWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TargetWatch").field("task", &self.task.name).finish_non_exhaustive()
    }
}

impl TargetWatch {
    /// `ready` is called once the target is known to take batches or to have taken all of them, and then again and again.
    pub(crate) fn new(task: &Arc<Task>, ready: impl Fn() + Send + Sync + 'static) -> Self {
        Self { task: Arc::clone(task), stage: task.stage("apply"), ready: Box::new(ready) }
    }

    /// Says that the target takes batches, or has taken all of them.
    pub(crate) fn ready(&self) {
        (self.ready)();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest limit, to 100 µs, at which a stage stalls.
    fn stalled_after(board: &Board) -> Duration {
        let limits = (0..).map(|n| Duration::from_micros(100) * n);
        limits.take_while(|limit| board.stalled(*limit).is_some()).last().unwrap_or_default()
    }

    #[test]
    fn a_stage_stalls_at_a_step_and_never_while_it_waits() {
        let board = Board::new("shop");
        let task = board.add("publish", "source", &["tail", "save"]);
        assert_eq!(board.stalled(Duration::ZERO), None);
        let tail = task.stage("tail");
        let step = tail.step("reading a window");
        std::thread::sleep(Duration::from_millis(2));
        let stalled = board.stalled(Duration::from_millis(1));
        assert_eq!(stalled.as_deref(), Some("publish tail: reading a window for 0 s"));
        assert_eq!(board.stalled(Duration::from_secs(3_600)), None);
        let before = stalled_after(&board);
        tail.waits("waiting for the broker");
        assert!(stalled_after(&board) < before, "who waits for others does not stall");
        let report = board.report().tasks.swap_remove(0).stages.swap_remove(0);
        assert_eq!(report.step, Some("waiting for the broker"));
        assert!(report.step_seconds >= 0.002, "and is still late");
        drop(step);
        assert_eq!(board.stalled(Duration::ZERO), None);
    }

    #[test]
    fn a_task_that_failed_is_not_ready_and_says_why_until_it_works_again() {
        let board = Board::new("shop");
        let task = board.add("publish", "source", &["tail"]);
        task.set_ready(true);
        assert!(board.report().ready);
        task.restarts("the broker is away");
        let report = board.report();
        assert_eq!((report.ready, report.tasks[0].restarts), (false, 1));
        assert_eq!(report.line(), "publish: the broker is away");
        task.set_ready(true);
        assert_eq!(board.report().line(), "publish: starting");
        task.clock.set(7_000_000, Instant::now());
        task.lag.rest(5_000_000);
        assert!(board.report().line().starts_with("publish: 0 rows, 2.0 s"), "{}", board.report().line());
    }
}
