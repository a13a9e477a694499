//! The source side as a daemon: tail, publisher and offset file, each on its own thread or task, in a row.
//!
//! The next window is read while Kafka confirms the last one, and the file is written while the next is published.
//! The file may lag behind the cuts topic, never the other way round: at the start the topic is read to its end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::supervisor::Ready;
use crate::config::{Config, Delivery};
use crate::error::Error;
use crate::failpoint;
use crate::offset::{self, FORMAT, OffsetDir, Stored};
use crate::position::{Identity, Position};
use crate::publish::{PublishError, Published, Publisher, Recorded, Staged, read_cuts, read_last_cut};
use crate::tail::{SourceLock, Tail, TailError, Window};

/// Publishes until the stop.
pub(super) async fn run(config: Arc<Config>, stop: CancellationToken, ready: Ready) -> Result<(), Error> {
    // What is wrong here is said before waiting for another publisher's end.
    let (offsets, stored) = {
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
        blocking(move || open(&config, stored))
    };
    let (mut publisher, mut stored) = tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(()),
        opened = opening => opened?,
    };
    let known = stored.source.is_known().then_some(&stored.source);
    let tail =
        Tail::connect(&config, config.source_url()?, stored.position.clone(), known, &stored.anchors).await?;
    stored.source = tail.identity().clone();
    publisher.begin(stored.source.clone());
    let offsets = Arc::new(Mutex::new(offsets));
    save(&offsets, &stored)?;
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
    let sending = tokio::task::spawn_blocking(move || send(publisher, received, sent));
    let watch = Watch::new(&config, &stored);
    let committing = tokio::task::spawn_blocking(move || commit(to_commit, confirmed, watch));
    let saving = tokio::task::spawn_blocking(move || save_all(&offsets, stored, to_save));
    let reading =
        AbortOnDropHandle::new(tokio::spawn(read(Arc::clone(&config), tail, lock, steps, stop, ready)));
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

/// Tells what a fenced producer means. The broker fences also the one whose transaction it ended because nothing was
/// heard of it for too long, on a machine that was suspended: then there is no other publisher, and it may go on.
fn fenced(config: &Config, pipeline: String, epoch: u64) -> Error {
    let cuts = offset::read(&config.offset.dir, &config.pipeline).map_err(Error::from).and_then(|stored| {
        let from = stored.and_then(|stored| stored.cuts_offset).unwrap_or(0);
        read_cuts(config, from).map_err(Error::from)
    });
    match cuts {
        Ok(cuts) if cuts.iter().any(|recorded| recorded.cut.epoch > epoch) => {
            PublishError::Fenced { pipeline }.into()
        }
        Ok(_) => PublishError::GivenUp { pipeline }.into(),
        Err(error) => error,
    }
}

/// Locks and reads the offset file.
fn lock_file(config: &Config) -> Result<(OffsetDir, Stored), Error> {
    let mut offsets = OffsetDir::lock(&config.offset.dir, &config.pipeline)?;
    if let Some(stored) = offsets.load()? {
        return Ok((offsets, stored));
    }
    let (pipeline, dir) = (config.pipeline.clone(), config.offset.dir.clone());
    Err(match read_last_cut(config, None)? {
        Some(_) => Error::LostFile { pipeline, dir },
        None => Error::FirstStart { pipeline, dir },
    })
}

/// Opens the producers and brings the position up to what the cuts topic says: the file of a standby is an old one.
fn open(config: &Config, mut stored: Stored) -> Result<(Publisher, Stored), Error> {
    // First fence whoever published before; only then is the end of the cuts topic the end.
    let mut publisher = Publisher::open(config)?;
    let part = stored.position.inside.as_ref().map(|inside| inside.part - 1);
    let known = stored.cuts_offset.map(|offset| (offset, stored.position.pass, part));
    let recorded = read_last_cut(config, known)?;
    publisher.begin(stored.source.clone());
    claim(config, &mut publisher, &mut stored, recorded)?;
    Ok((publisher, stored))
}

/// Takes the pipeline over where the cuts topic says. Repeated while records of a former publisher, which nothing but
/// the claim can stop with `delivery = "at_least_once"`, still come in before it.
fn claim(
    config: &Config,
    publisher: &mut Publisher,
    stored: &mut Stored,
    mut last: Option<Recorded>,
) -> Result<(), Error> {
    let mut claimed = None;
    loop {
        if let Some(last) = &last {
            forward(stored, last);
        }
        let seen = claimed.or(stored.cuts_offset).map_or(0, |offset| offset + 1);
        let epoch = stored.epoch + 1;
        let mine = publisher.claim(epoch, &stored.position, last.as_ref().map(|last| &last.cut))?;
        let between = read_cuts(config, seen)?;
        // Behind a claim, ours or a former one, records of lower epochs do not count.
        let least = stored.epoch + u64::from(claimed.is_some());
        let counts = |recorded: &Recorded| recorded.offset < mine && recorded.cut.epoch >= least;
        let other = between.into_iter().rfind(counts);
        claimed = Some(mine);
        stored.epoch = epoch;
        if other.is_none() {
            stored.cuts_offset = Some(mine);
            return Ok(());
        }
        last = other;
    }
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
    stop: CancellationToken,
    ready: Ready,
) -> Result<(), TailError> {
    let busy = Duration::from_millis(config.tail.busy_interval_ms);
    let idle = Duration::from_millis(config.tail.idle_interval_ms);
    let mut wait = busy;
    loop {
        // A place for the window first: at most one is being published and one is ready.
        let place = steps.reserve().await;
        let Ok(place) = place else { return Ok(()) };
        lock.check()?;
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
                busy
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
) -> Result<(), Error> {
    while let Some(step) = confirmed.blocking_recv() {
        step.apply(&mut stored);
        while let Ok(newer) = confirmed.try_recv() {
            newer.apply(&mut stored);
        }
        save(offsets, &stored)?;
        failpoint::hit("offset::after-save");
    }
    Ok(())
}

fn save(offsets: &Mutex<OffsetDir>, stored: &Stored) -> Result<(), Error> {
    let mut offsets = offsets.lock().unwrap_or_else(PoisonError::into_inner);
    offsets.save(stored).map_err(Error::from)
}

/// Moves a position forward to what the cuts topic says: the file may lag behind it.
pub(crate) fn forward(stored: &mut Stored, recorded: &Recorded) {
    if Some(recorded.offset) > stored.cuts_offset {
        stored.position = recorded.cut.position.clone();
        stored.cuts_offset = Some(recorded.offset);
        // The anchors stay: rows that were published stand in the log as they were. The source may be another one by now,
        // by the decision of a person elsewhere.
        stored.source.system = recorded.cut.system;
        stored.source.timeline = recorded.cut.timeline;
    }
    stored.epoch = stored.epoch.max(recorded.cut.epoch);
}

/// Returns what the file of a pipeline that never published holds.
pub(crate) fn first(config: &Config) -> Stored {
    Stored {
        format: FORMAT,
        pipeline: config.pipeline.clone(),
        source: Identity::default(),
        sequence: format!("{}.cdc_id_seq", config.capture.schema),
        position: Position::start(),
        epoch: 0,
        cuts_offset: None,
        anchors: Vec::new(),
        saved_at: String::new(),
    }
}

/// Writes the offset file of a new pipeline: the first start is made explicit. Returns false when there is a file
/// already, or when the pipeline has published before (then a person decides).
pub(crate) fn first_position(config: &Config) -> Result<bool, Error> {
    if offset::read(&config.offset.dir, &config.pipeline)?.is_some() {
        return Ok(false);
    }
    let mut offsets = OffsetDir::lock(&config.offset.dir, &config.pipeline)?;
    if read_last_cut(config, None)?.is_some() {
        return Ok(false);
    }
    offsets.save(&first(config))?;
    Ok(true)
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
