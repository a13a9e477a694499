//! The source side as a daemon: tail, publisher and offset file, each on its own thread or task, in a row.
//!
//! The next window is read while Kafka confirms the last one, and the file is written while the next is published.
//! The file may lag behind the cuts topic, never the other way round: at the start the topic is read to its end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::supervisor::Ready;
use super::takeover::{fenced, lock_file, open};
use crate::config::{Config, Delivery};
use crate::error::Error;
use crate::failpoint;
use crate::offset::{OffsetDir, Stored};
use crate::position::Position;
use crate::publish::{PublishError, Published, Publisher, Recorded, Staged, read_cuts};
use crate::tail::{SourceLock, Tail, TailError, Window};

/// Time between two acknowledgements at the source at least.
const ACKNOWLEDGE: Duration = Duration::from_secs(10);

/// Publishes until the stop.
pub(super) async fn run(config: Arc<Config>, stop: CancellationToken, ready: Ready) -> Result<(), Error> {
    // What is wrong here is said before waiting for another publisher's end.
    let (mut offsets, stored) = {
        let config = Arc::clone(&config);
        blocking(move || lock_file(&config)).await?
    };
    let lock = tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(()),
        lock = SourceLock::wait(&config, config.source_url()?) => lock?,
    };
    let opening = {
        let config = Arc::clone(&config);
        blocking(move || {
            let (publisher, stored) = open(&config, &mut offsets, stored)?;
            Ok::<_, Error>((publisher, offsets, stored))
        })
    };
    let (mut publisher, offsets, mut stored) = tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(()),
        opened = opening => opened?,
    };
    let known = stored.source.is_known().then_some(&stored.source);
    let mut tail =
        Tail::connect(&config, config.source_url()?, stored.position.clone(), known, &stored.anchors).await?;
    stored.source = tail.identity().clone();
    publisher.begin(stored.source.clone());
    let offsets = Arc::new(Mutex::new(offsets));
    save(&offsets, &stored)?;
    tail.acknowledge(&stored.position).await?;
    tracing::info!(
        pass = stored.position.pass,
        offset = stored.position.offset,
        epoch = stored.epoch,
        tables = tail.tables().len(),
        "publishing"
    );

    let epoch = stored.epoch;
    let (steps, received) = mpsc::channel(1);
    let (confirmed, to_save) = mpsc::channel(16);
    let (sent, to_commit) = mpsc::channel(1);
    let (saved, to_acknowledge) = watch::channel(stored.position.clone());
    // The end of any stage ends the reading, and with it all of them: also while nothing new is logged.
    let over = stop.child_token();
    let sending = stage(&over, move || send(publisher, received, sent));
    let watch = Watch::new(&config, &stored);
    let committing = stage(&over, move || commit(to_commit, confirmed, watch));
    let saving = stage(&over, move || save_all(&offsets, stored, to_save, saved));
    let reading = AbortOnDropHandle::new(tokio::spawn(read(
        Arc::clone(&config),
        tail,
        lock,
        steps,
        to_acknowledge,
        over,
        ready,
    )));
    // The first error counts: when a stage goes, those before it only find their channel closed.
    let committed = joined(committing.await);
    let published = committed.and(joined(sending.await));
    let saved = joined(saving.await);
    let read = joined(reading.await);
    if let Err(PublishError::Fenced { pipeline }) = published {
        return Err(blocking(move || fenced(&config, pipeline, epoch)).await);
    }
    published.map_err(Error::from).and(saved).and(read.map_err(Error::from))
}

/// Runs a stage on a thread of its own; its end cancels `over`.
fn stage<T: Send + 'static>(
    over: &CancellationToken,
    work: impl FnOnce() -> T + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    let guard = over.clone().drop_guard();
    tokio::task::spawn_blocking(move || {
        let result = work();
        drop(guard);
        result
    })
}

/// What the tail hands to the publisher, in order.
enum Step {
    /// Rows to publish.
    Window(Box<Window>),
    /// Nothing to publish, but the position moved on over what is settled.
    Settled(Position),
}

/// Reads windows and hands them on. Ends at the stop; an open transaction ends with its connection.
async fn read(
    config: Arc<Config>,
    mut tail: Tail,
    lock: SourceLock,
    steps: mpsc::Sender<Step>,
    mut saved: watch::Receiver<Position>,
    stop: CancellationToken,
    ready: Ready,
) -> Result<(), TailError> {
    let busy = Duration::from_millis(config.tail.busy_interval_ms);
    let idle = Duration::from_millis(config.tail.idle_interval_ms);
    let mut wait = busy;
    let mut acknowledged = Instant::now();
    loop {
        // A place for the window first: at most one is being published and one is ready.
        let place = steps.reserve().await;
        let Ok(place) = place else { return Ok(()) };
        lock.check()?;
        let due = acknowledged.elapsed() >= ACKNOWLEDGE || tail.awaits_acknowledgement();
        if due && saved.has_changed().unwrap_or(false) {
            acknowledged = Instant::now();
            let position = saved.borrow_and_update().clone();
            tail.acknowledge(&position).await?;
        }
        let polled = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            polled = tail.poll() => polled,
        };
        let found = match polled {
            Err(error @ TailError::Locked) => {
                tracing::warn!("{error}");
                None
            }
            other => other?,
        };
        ready.set();
        wait = match found {
            None => {
                if let Some(position) = tail.settled().await? {
                    place.send(Step::Settled(position));
                }
                (wait * 2).clamp(busy, idle)
            }
            Some(window) => {
                let full = !window.done;
                place.send(Step::Window(Box::new(window)));
                if full {
                    continue;
                }
                // Where hundreds of tables make a pass expensive, the source is not asked more than half of the time.
                busy.max(tail.opening().min(idle))
            }
        };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// What was sent, and what follows it in order.
enum Sent {
    /// A part that waits for its commit.
    Part(Box<Staged>),
    /// Nothing to commit.
    Settled(Position),
}

/// Sends window by window.
fn send(
    mut publisher: Publisher,
    mut steps: mpsc::Receiver<Step>,
    sent: mpsc::Sender<Sent>,
) -> Result<(), PublishError> {
    while let Some(step) = steps.blocking_recv() {
        let step = match step {
            Step::Window(window) => Sent::Part(Box::new(publisher.stage(&window)?)),
            Step::Settled(position) => Sent::Settled(position),
        };
        if sent.blocking_send(step).is_err() {
            break;
        }
    }
    Ok(())
}

/// Notices another publisher where Kafka does not fence: nobody else writes to the cuts topic between two records.
struct Watch {
    config: Arc<Config>,
    epoch: u64,
    last: Option<i64>,
}

impl Watch {
    fn new(config: &Arc<Config>, stored: &Stored) -> Self {
        Self { config: Arc::clone(config), epoch: stored.epoch, last: stored.cuts_offset }
    }

    /// Looks at what lies between the last record of this publisher and its newest one, at `offset`.
    fn see(&mut self, offset: i64) -> Result<(), PublishError> {
        let last = self.last.replace(offset);
        if let Some(last) = last.filter(|last| offset <= *last) {
            let found = format!(
                "the cuts topic goes back to offset {offset} after {last}: it was deleted and created again, or Kafka has \
                 lost data"
            );
            return Err(PublishError::Contradiction { found });
        }
        let gap =
            last.filter(|last| last + 1 < offset && self.config.kafka.delivery == Delivery::AtLeastOnce);
        let Some(last) = gap else { return Ok(()) };
        let newer = |recorded: &Recorded| recorded.cut.epoch > self.epoch;
        match read_cuts(&self.config, last + 1)?.iter().any(newer) {
            true => Err(PublishError::Fenced { pipeline: self.config.pipeline.clone() }),
            false => Ok(()),
        }
    }
}

/// Commits part by part, in order, while the next one is being sent. What is confirmed goes on to the file.
fn commit(
    mut sent: mpsc::Receiver<Sent>,
    confirmed: mpsc::Sender<Confirmed>,
    mut watch: Watch,
) -> Result<(), PublishError> {
    while let Some(step) = sent.blocking_recv() {
        let step = match step {
            Sent::Part(staged) => {
                let published = staged.finish()?;
                watch.see(published.cuts_offset)?;
                tracing::debug!(pass = published.position.pass, rows = published.rows, "published");
                Confirmed::Published(published)
            }
            Sent::Settled(position) => Confirmed::Settled(position),
        };
        if confirmed.blocking_send(step).is_err() {
            break;
        }
    }
    Ok(())
}

/// What may be written to the offset file.
enum Confirmed {
    /// Kafka confirmed a part.
    Published(Published),
    /// The position moved without one.
    Settled(Position),
}

impl Confirmed {
    fn apply(self, stored: &mut Stored) {
        match self {
            Self::Settled(position) => stored.position = position,
            Self::Published(published) => {
                stored.position = published.position;
                stored.cuts_offset = Some(published.cuts_offset);
                if !published.anchors.is_empty() {
                    stored.anchors = published.anchors;
                }
            }
        }
    }
}

/// Writes the newest confirmed position; those that came in between are skipped.
fn save_all(
    offsets: &Mutex<OffsetDir>,
    mut stored: Stored,
    mut confirmed: mpsc::Receiver<Confirmed>,
    saved: watch::Sender<Position>,
) -> Result<(), Error> {
    while let Some(step) = confirmed.blocking_recv() {
        step.apply(&mut stored);
        while let Ok(newer) = confirmed.try_recv() {
            newer.apply(&mut stored);
        }
        save(offsets, &stored)?;
        saved.send_replace(stored.position.clone());
        failpoint::hit("offset::after-save");
    }
    Ok(())
}

fn save(offsets: &Mutex<OffsetDir>, stored: &Stored) -> Result<(), Error> {
    let mut offsets = offsets.lock().unwrap_or_else(PoisonError::into_inner);
    offsets.save(stored).map_err(Error::from)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    joined(tokio::task::spawn_blocking(work).await)
}

/// Returns a task's result; its panic goes on here.
fn joined<T>(ended: Result<T, tokio::task::JoinError>) -> T {
    match ended {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
