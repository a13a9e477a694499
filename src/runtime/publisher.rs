//! The source side as a daemon: tail, publisher and offset file, each on its own thread or task, in a row.
//!
//! The next window is read while Kafka confirms the last one, and the file is written while the next is published.
//! The file may lag behind the cuts topic, never the other way round: at the start the topic is read to its end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use metrics::{counter, gauge, histogram};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::repeats::Repeats;
use super::supervisor::Ready;
use super::takeover::{fenced, lock_file, open};
use crate::config::{Config, Delivery};
use crate::error::Error;
use crate::failpoint;
use crate::offset::{OffsetDir, Stored};
use crate::position::Position;
use crate::publish::{PublishError, Published, Publisher, Recorded, Staged, read_cuts};
use crate::tail::{Reached, SourceLock, Tail, TailError, Window};
use crate::telemetry::{Taken, Task, catalog};

/// Time between two acknowledgements at the source at least.
const ACKNOWLEDGE: Duration = Duration::from_secs(10);
/// Time between two looks at the source while nothing is read, because what was read cannot be published.
const LOOK: Duration = Duration::from_secs(5);
/// What a stage is at while the broker is away.
const UNCONFIRMED: &str = "waiting for Kafka to confirm a commit";

/// Windows that are being read, sent or committed at a time: one each.
const UNDER_WAY: u32 = 3;
/// The same where every window is a whole pass. What waits for its turn only grows old: the next pass is read when there is
/// nobody before it but the one that is being committed, and takes along what has come until then.
const UNDER_WAY_LIVE: u32 = 2;

/// What is seen of a publisher, in the order in which a change passes.
pub(super) const STAGES: [&str; 4] = ["tail", "produce", "commit", "save"];

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
    let task = Arc::clone(ready.task());
    let first_stage = task.stage("tail");
    let starting = first_stage.step("starting");
    let opening = {
        let (config, stage) = (Arc::clone(&config), Arc::clone(&first_stage));
        blocking(move || {
            let (publisher, stored) = open(&config, &mut offsets, stored, &|| stage.waits(UNCONFIRMED))?;
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
    let reached = Reached::new(stored.position.clone(), &stored.anchors);
    tail.register(&reached).await?;
    tracing::info!(
        pass = stored.position.pass,
        offset = stored.position.offset,
        epoch = stored.epoch,
        tables = tail.tables().len(),
        "publishing"
    );

    drop(starting);
    let epoch = stored.epoch;
    let (steps, received) = mpsc::channel(1);
    let (confirmed, to_save) = mpsc::channel(16);
    let (sent, to_commit) = mpsc::channel(1);
    let (saved, to_acknowledge) = watch::channel(reached);
    // The end of any stage ends the reading, and with it all of them: also while nothing new is logged.
    let over = stop.child_token();
    let of = [(); 3].map(|()| Arc::clone(&task));
    let [of_sending, of_committing, of_saving] = of;
    let sending = stage(&over, move || send(publisher, received, sent, &of_sending));
    let watch = Watch::new(&config, &stored);
    let committing = stage(&over, move || commit(to_commit, confirmed, watch, &of_committing));
    let saving = stage(&over, move || save_all(&offsets, stored, to_save, saved, &of_saving));
    let reading = AbortOnDropHandle::new(tokio::spawn(read(
        Arc::clone(&config),
        tail,
        lock,
        steps,
        to_acknowledge,
        over,
        ready,
    )));
    // Only beside an active publisher; whatever becomes of it, publishing goes on.
    let _cleaning = AbortOnDropHandle::new(tokio::spawn(super::cleaner::run(Arc::clone(&config))));
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

/// Goes with a window until it is committed.
type Turn = Option<OwnedSemaphorePermit>;

/// How many windows are under way.
struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(UNDER_WAY as usize)))
    }
}

impl Turns {
    /// Waits until one more may be under way; `live` where the last one was a whole pass. Cancel-safe.
    async fn next(&self, live: bool) -> Turn {
        let free = if live { UNDER_WAY - UNDER_WAY_LIVE + 1 } else { 1 };
        // Never closed.
        let mut turn = Arc::clone(&self.0).acquire_many_owned(free).await.ok()?;
        turn.split(1)
    }
}

/// What the tail hands to the publisher, in order.
enum Step {
    /// Rows to publish.
    Window(Box<Window>, Turn),
    /// Nothing to publish, but the position moved on over what is settled.
    Settled(Position),
}

/// Reads windows and hands them on. Ends at the stop; an open transaction ends with its connection.
async fn read(
    config: Arc<Config>,
    mut tail: Tail,
    lock: SourceLock,
    steps: mpsc::Sender<Step>,
    mut saved: watch::Receiver<Reached>,
    stop: CancellationToken,
    ready: Ready,
) -> Result<(), TailError> {
    let busy = Duration::from_millis(config.tail.busy_interval_ms);
    let idle = Duration::from_millis(config.tail.idle_interval_ms);
    let mut wait = busy;
    let mut acknowledged = Instant::now();
    let stage = ready.task().stage("tail");
    let mut reading = Reading::new(ready.task());
    let mut repeats = Repeats::default();
    let turns = Turns::default();
    let mut live = true;
    loop {
        // A place for the window first.
        let (place, turn) = loop {
            let room = async { (steps.reserve().await, turns.next(live).await) };
            tokio::select! {
                biased;
                room = room => break room,
                () = tokio::time::sleep(LOOK) => {
                    tail.look().await?;
                    reading.look(&tail);
                }
            }
        };
        let Ok(place) = place else { return Ok(()) };
        let step = stage.step("reading a window");
        lock.check()?;
        let due = acknowledged.elapsed() >= ACKNOWLEDGE || tail.awaits_acknowledgement();
        if due && saved.has_changed().unwrap_or(false) {
            acknowledged = Instant::now();
            let reached = saved.borrow_and_update().clone();
            tail.acknowledge(&reached).await?;
        }
        let began = Instant::now();
        let polled = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            polled = tail.poll() => polled,
        };
        let found = match polled {
            Err(error @ TailError::Locked) => {
                counter!(catalog::LOCKED).increment(1);
                if let Some(unsaid) = repeats.say("locked", Instant::now()) {
                    tracing::warn!(unsaid, "{error}");
                }
                drop(step);
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = tokio::time::sleep(idle) => {}
                }
                continue;
            }
            other => other?,
        };
        ready.set();
        wait = match found {
            None => {
                reading.idle(&tail);
                if let Some(position) = tail.settled().await? {
                    place.send(Step::Settled(position));
                }
                (wait * 2).clamp(busy, idle)
            }
            Some(window) => {
                live = window.done;
                reading.window(&tail, &window, began.elapsed());
                place.send(Step::Window(Box::new(window), turn));
                if !live {
                    continue;
                }
                // Where hundreds of tables make a pass expensive, the source is not asked more than half of the time.
                busy.max(tail.opening().min(idle))
            }
        };
        drop(step);
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Tells what is read.
struct Reading {
    task: Arc<Task>,
    /// Windows so far.
    windows: i64,
    /// All that the source showed up to here was read.
    through: Option<i64>,
    /// The source's clock when the pass at hand began, and the pass's rows so far.
    pass: Option<(i64, usize)>,
}

impl Reading {
    fn new(task: &Arc<Task>) -> Self {
        Self { task: Arc::clone(task), windows: 0, through: None, pass: None }
    }

    /// Takes over what the source said of itself; returns its clock.
    fn see(&self, tail: &Tail) -> Option<i64> {
        let seen = tail.seen();
        self.task.set_oldest_open(seen.oldest_open());
        let (micros, at) = seen.clock?;
        if let Some(jump) = self.task.clock.set(micros, at) {
            counter!(catalog::CLOCK_JUMPS).increment(1);
            let seconds = jump / 1_000_000;
            tracing::warn!(
                seconds,
                "the source's clock has jumped, or this machine slept: nothing is lost by that"
            );
        }
        Some(micros)
    }

    /// Nothing is read, because what was read cannot be published.
    fn look(&self, tail: &Tail) {
        self.see(tail);
        self.task.lag.set_unread(tail.unread());
    }

    /// Nothing was read; mostly because there is nothing to read.
    fn idle(&mut self, tail: &Tail) {
        let Some(micros) = self.see(tail).filter(|_| tail.seen().idle) else { return };
        self.through = Some(micros);
        self.task.lag.rest(micros);
    }

    fn window(&mut self, tail: &Tail, window: &Window, took: Duration) {
        self.see(tail);
        let rows = window.messages.len();
        let (began, before) = self.pass.unwrap_or((window.source_micros, 0));
        self.pass = (!window.done).then_some((began, before + rows));
        let micros = self.through.unwrap_or(began);
        let reaches = window.done.then_some(began);
        self.task.lag.taken(Taken { number: self.windows, micros, rows: rows as u64, reaches });
        self.task.lag.set_unread(if window.done { 0 } else { tail.unread() });
        self.windows += 1;
        self.through = reaches.or(self.through);
        histogram!(catalog::READ_TIME).record(took);
        histogram!(catalog::WINDOW_ROWS).record(rows as f64);
        histogram!(catalog::WINDOW_BYTES).record(window.bytes.len() as f64);
        if window.done {
            counter!(catalog::PASSES).increment(1);
            histogram!(catalog::PASS_ROWS).record((before + rows) as f64);
        }
    }
}

/// What was sent, and what follows it in order.
enum Sent {
    /// A part that waits for its commit.
    Part(Box<Staged>, Turn),
    /// Nothing to commit.
    Settled(Position),
}

/// Sends window by window.
fn send(
    mut publisher: Publisher,
    mut steps: mpsc::Receiver<Step>,
    sent: mpsc::Sender<Sent>,
    task: &Task,
) -> Result<(), PublishError> {
    let stage = task.stage("produce");
    while let Some(step) = steps.blocking_recv() {
        let step = match step {
            Step::Window(window, turn) => {
                let _step = stage.step("sending a part");
                let began = Instant::now();
                let staged = publisher.stage(&window, &|| stage.waits(UNCONFIRMED))?;
                histogram!(catalog::PRODUCE_TIME).record(began.elapsed());
                Sent::Part(Box::new(staged), turn)
            }
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
    task: &Task,
) -> Result<(), PublishError> {
    let stage = task.stage("commit");
    let mut windows = 0;
    while let Some(step) = sent.blocking_recv() {
        let step = match step {
            Sent::Part(staged, turn) => {
                let _step = stage.step("committing a part");
                let began = Instant::now();
                let published = staged.finish(&|| stage.waits(UNCONFIRMED))?;
                drop(turn);
                histogram!(catalog::COMMIT_TIME).record(began.elapsed());
                watch.see(published.cuts_offset)?;
                windows += 1;
                task.lag.done_below(windows, published.position.pass);
                counter!(catalog::PUBLISHED).increment(published.rows as u64);
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
    saved: watch::Sender<Reached>,
    task: &Task,
) -> Result<(), Error> {
    let stage = task.stage("save");
    while let Some(step) = confirmed.blocking_recv() {
        step.apply(&mut stored);
        while let Ok(newer) = confirmed.try_recv() {
            newer.apply(&mut stored);
        }
        let step = stage.step("writing the offset file");
        let began = Instant::now();
        save(offsets, &stored)?;
        histogram!(catalog::OFFSET_TIME).record(began.elapsed());
        gauge!(catalog::OFFSET).set(stored.position.offset as f64);
        drop(step);
        saved.send_replace(Reached::new(stored.position.clone(), &stored.anchors));
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
