//! The tail: reads the log tables pass by pass (docs/tail.md has the algorithm and its proof).
//!
//! A pass is everything visible in snapshot T that was not visible in snapshot B, in `cdc_id` order; then B := T.
//! [`Tail::poll`] is one step: it reads one window of a pass, or finds that there is nothing to read.

mod acknowledge;
mod error;
mod identity;
mod load;
mod lock;
mod postgres;
mod rewind;
mod seen;
mod sql;
mod window;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;

use crate::capture::{self, CaptureError, Captured, LogRows};
use crate::config::Config;
use crate::failpoint;
use crate::position::{Anchor, Identity, Inside, Mark, Marks, Position, Snapshot};
use crate::table::{Table, TableName};
use crate::telemetry::catalog;
use crate::wire::TableEncoder;

pub use acknowledge::{Reached, register_back};
pub use error::TailError;
pub use lock::SourceLock;
pub use rewind::{Back, Rewound, rewind};
pub use seen::Seen;
pub use window::{Message, ReadChunk, Window};

use load::Loads;
use postgres::{Opened, Session};
use sql::{Prepared, WindowQuery};
use window::WindowBuilder;

/// Transactions of the application between two marks while changes arrive.
const MARK_EVERY_XIDS: u64 = 100;
/// Time between two marks at most, when there is something to mark.
const MARK_EVERY: Duration = Duration::from_secs(1);
/// Time between two looks at the catalog, while no pass is opened, and what it may become.
const CHECK_EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// How many times as long as a look takes it is to the next one: of thousands of tables it takes a while.
const CHECK_REST: u32 = 200;

/// Time between two positions that are stored for nothing but their offset.
const SETTLE_EVERY: Duration = Duration::from_secs(1);

/// A log table as the tail reads it.
#[derive(Debug, Clone)]
pub struct LogTable {
    /// The captured table.
    pub table: Table,
    /// Its log table.
    pub log_table: TableName,
    /// Which of its rows have this shape: one log table is several of these when DDL has altered its table.
    pub rows: LogRows,
    /// Writes its messages.
    pub encoder: TableEncoder,
}

/// The tail of one pipeline: a session at the source and everything it knows about what is settled.
#[derive(Debug)]
pub struct Tail {
    session: Session,
    schema: String,
    pipeline: String,
    window_rows: u32,
    window_bytes: usize,
    require_flushed: bool,
    tables: Arc<Vec<LogTable>>,
    /// Reads a window of them, where they are many.
    prepared: Option<Prepared>,
    captured: Vec<Captured>,
    outputs: HashMap<String, String>,
    fingerprint: Option<String>,
    /// When the next look at the catalog is due, while no pass is opened.
    check_at: Instant,
    /// How long opening the last window took.
    opening: Duration,
    identity: Identity,
    /// Snapshot B, offset, pass number; inside a pass also T and the cursor. In memory only until published.
    position: Position,
    marks: Marks,
    marked_at: Option<Instant>,
    /// The highest value at which the sequence was seen.
    highest: u64,
    /// Rows of the next window: `window_rows`, or fewer after rows turned out to be large.
    limit: u32,
    /// Size of the last window, the best guess for the next.
    last_bytes: usize,
    /// The offset of the last position that was handed out, and when that was.
    handed: (u64, Instant),
    /// Existing rows that are being copied.
    loads: Loads,
    /// What the source last said of itself.
    seen: Seen,
    /// Where the sequence stood at the last pass: up to there ids were gone over.
    scanned: u64,
}

/// A pass that is open at its snapshot, before its rows are read.
#[derive(Debug)]
pub struct OpenPass {
    opened: Opened,
    until: Snapshot,
    cursor: u64,
    part: u32,
    /// A table is locked for a chunk of its existing rows.
    loads: bool,
}

impl OpenPass {
    /// Returns snapshot T of the pass.
    pub fn until(&self) -> &Snapshot {
        &self.until
    }

    /// Returns the id above which this window reads: the floor of the pass, or where its last window ended.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Tells whether this is the first window of its pass: its transaction is T's own.
    pub fn is_first(&self) -> bool {
        self.part == 0
    }
}

impl Tail {
    /// Connects to the source and resumes at `position`, whose last rows were `anchors`.
    ///
    /// `known` is the identity under which the position was stored, `None` at the first start. Refuses a server that
    /// is another one, in recovery, on another timeline, or that no longer holds the anchors.
    pub async fn connect(
        config: &Config,
        url: &str,
        position: Position,
        known: Option<&Identity>,
        anchors: &[Anchor],
    ) -> Result<Self, TailError> {
        let session = Session::open(url, &config.capture.schema, config.tail.lock_timeout_ms).await?;
        let identity = session.identity().await?;
        identity.accept(known)?;
        let mut tail = Self {
            outputs: session.output_functions().await?,
            session,
            schema: config.capture.schema.clone(),
            pipeline: config.pipeline.clone(),
            window_rows: config.tail.window_rows,
            window_bytes: config.tail.window_bytes,
            require_flushed: config.tail.require_flushed,
            tables: Arc::new(Vec::new()),
            prepared: None,
            captured: Vec::new(),
            fingerprint: None,
            check_at: Instant::now(),
            opening: Duration::ZERO,
            identity,
            marks: Marks::resume(&position.base, position.offset),
            handed: (position.offset, Instant::now()),
            position,
            marked_at: None,
            highest: 0,
            limit: config.tail.window_rows,
            last_bytes: 0,
            loads: Loads::default(),
            seen: Seen::default(),
            scanned: 0,
        };
        // From before the look at capture: what changes behind it is seen by the first pass. Where it cannot be had, what
        // comes next says why.
        let polled = tail.session.poll(Some(&capture::fingerprint_sql(&tail.schema))).await;
        tail.reload().await?;
        tail.fingerprint = polled.ok().and_then(|polled| polled.fingerprint);
        let standing = tail.session.standing(&tail.tables).await?;
        identity::accept_standing(&standing, &tail.position, anchors)?;
        tail.highest = standing.last_id;
        tail.verify_anchors(anchors).await?;
        Ok(tail)
    }

    /// Returns the captured tables in the order that windows count them.
    pub fn tables(&self) -> &Arc<Vec<LogTable>> {
        &self.tables
    }

    /// Returns who the source is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns the position in memory: ahead of what is published by at most the windows not yet confirmed.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Returns what the source last said of itself.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Asks how the source goes on while nothing is read from it.
    pub async fn look(&mut self) -> Result<(), TailError> {
        let polled = self.session.poll(None).await?;
        self.seen.note(&polled.snapshot, polled.clock_micros, polled.last_id);
        Ok(())
    }

    /// Returns how many ids were drawn that were not read, those of what was rolled back or is still open among them.
    pub fn unread(&self) -> u64 {
        let read = self.position.inside.as_ref().map_or(self.scanned, |inside| inside.cursor);
        self.seen.last_id.saturating_sub(read)
    }

    /// Returns how long the last window took to open, checks of the catalog included: what a pass costs the source however
    /// few rows it has.
    pub fn opening(&self) -> Duration {
        self.opening
    }

    /// Returns the session, for reads in a pass's own transaction.
    pub fn client(&self) -> &tokio_postgres::Client {
        self.session.client()
    }

    /// Reads the next window, or returns `None` when there is nothing to read.
    pub async fn poll(&mut self) -> Result<Option<Window>, TailError> {
        match self.open().await? {
            Some(pass) => self.read(pass).await,
            None => Ok(None),
        }
    }

    /// Returns the position when its offset has moved on since the last window without a row to publish, at most once
    /// a second. Stored, it spares the next start a scan of what is settled long since.
    ///
    /// Like a window, it covers only what has reached the source's disk.
    pub async fn settled(&mut self) -> Result<Option<Position>, TailError> {
        let (offset, at) = self.handed;
        let moved = self.position.inside.is_none() && self.position.offset > offset;
        if !moved || at.elapsed() < SETTLE_EVERY {
            return Ok(None);
        }
        if self.require_flushed && !self.session.is_flushed().await? {
            self.session.nudge().await?;
        }
        self.handed = (self.position.offset, Instant::now());
        Ok(Some(self.position.clone()))
    }

    /// Opens the next window: takes the locks, then the snapshot, and checks what every pass checks.
    ///
    /// Returns `None` when the log holds nothing new. The transaction stays open until [`Tail::read`].
    pub async fn open(&mut self) -> Result<Option<OpenPass>, TailError> {
        self.seen.idle = false;
        let idle = self.position.inside.is_none() && self.is_idle().await?;
        self.seen.idle = idle;
        let load = self.next_load().await?;
        if idle && load.is_none() {
            return Ok(None);
        }
        // Whether capture was whole at T is known from the first window of the pass. Later ones ask what they read by.
        let inside = self.position.inside.is_some() && self.fingerprint.is_some();
        let fingerprint = match inside {
            true => capture::log_fingerprint_sql(&self.schema),
            false => capture::fingerprint_sql(&self.schema),
        };
        let prepared = self.prepared.as_ref();
        let began = Instant::now();
        let opened = match self.session.begin(&self.tables, load.as_ref(), &fingerprint, prepared).await {
            Err(TailError::Locked) if load.is_some() => {
                // By a migration of the table, most likely: the next pass does without it.
                self.loads.rest();
                return Ok(None);
            }
            Err(TailError::Query { source, .. }) if source.code() == Some(&SqlState::UNDEFINED_TABLE) => {
                // A log table is gone or has another name: verifying says which.
                self.reload().await?;
                return Ok(None);
            }
            opened => opened.map_err(|error| match &load {
                Some(table) => load::unreadable(error, table),
                None => error,
            })?,
        };
        if opened.postmaster_start != self.identity.postmaster_start {
            return Err(TailError::Restarted);
        }
        self.identity.check(opened.in_recovery, opened.timeline)?;
        self.seen.note(&opened.snapshot, opened.clock_micros, None);
        self.opening = began.elapsed();
        let known = self.fingerprint.as_deref();
        if known.map(|known| if inside { capture::log_part(known) } else { known })
            != Some(&opened.fingerprint)
        {
            self.session.rollback().await?;
            self.recheck((!inside).then_some(opened.fingerprint)).await?;
            return Ok(None);
        }
        let (until, cursor, part) = match &self.position.inside {
            Some(inside) => (inside.until.clone(), inside.cursor, inside.part),
            None => {
                let oldest = self.position.base.oldest_ended_by(&opened.snapshot);
                (opened.snapshot.clone(), self.marks.floor(oldest), 0)
            }
        };
        Ok(Some(OpenPass { opened, until, cursor, part, loads: load.is_some() }))
    }

    /// Reads the open window and closes its transaction; `None` when the whole pass turned out to be empty.
    pub async fn read(&mut self, pass: OpenPass) -> Result<Option<Window>, TailError> {
        let number = self.position.pass + u64::from(pass.part == 0);
        let mut builder = WindowBuilder {
            tables: Arc::clone(&self.tables),
            pass: number,
            now_millis: i64::try_from(now_micros() / 1000).unwrap_or(i64::MAX),
            messages: Vec::new(),
            bytes: Vec::with_capacity(self.last_bytes + self.last_bytes / 8),
        };
        let cut_short = match self.read_rows(&pass, &mut builder).await {
            Ok(cut_short) => cut_short,
            Err(error) => return Err(self.session.give_up(error).await),
        };
        if pass.part == 0 {
            metrics::counter!(catalog::RESCANNED).increment(self.scanned.saturating_sub(pass.cursor));
            self.scanned = self.scanned.max(self.highest);
        }
        let rows = builder.messages.len();
        let done = !cut_short && rows < self.limit as usize;
        self.adapt_limit(rows, builder.bytes.len());
        let last = builder.messages.last().map(|message| message.cdc_id);
        let chunk = match pass.loads && pass.part == 0 && done {
            true => match self.read_chunk(&pass, &mut builder).await {
                Ok(chunk) => chunk,
                Err(error) => {
                    self.loads.rest();
                    return Err(self.session.give_up(error).await);
                }
            },
            false => None,
        };
        let flushed = self.session.end(&pass.opened.insert_lsn).await?;
        let handed_out = rows > 0 || pass.part > 0 || chunk.is_some();
        if handed_out && self.require_flushed && !flushed {
            self.session.nudge().await?;
        }
        self.last_bytes = builder.bytes.len();
        self.advance(&pass, number, done, last);
        if !handed_out {
            self.seen.idle = true;
            self.position.pass = number - 1;
            return Ok(None);
        }
        failpoint::hit("tail::after-read");
        self.handed = (self.position.offset, Instant::now());
        Ok(Some(Window {
            pass: number,
            part: pass.part,
            done,
            position: self.position.clone(),
            until: pass.until,
            source_micros: pass.opened.clock_micros,
            tables: builder.tables,
            messages: builder.messages,
            bytes: builder.bytes,
            chunk,
        }))
    }

    /// Reads the rows of a window; returns whether it stopped at `window_bytes` before their end.
    async fn read_rows(&mut self, pass: &OpenPass, builder: &mut WindowBuilder) -> Result<bool, TailError> {
        if self.tables.is_empty() {
            return Ok(false);
        }
        let query = WindowQuery {
            cursor: pass.cursor,
            base: &self.position.base,
            until: &pass.until,
            rows: self.limit,
        };
        if let Some(prepared) = &self.prepared {
            let standing = pass.opened.prepared.as_deref().unwrap_or_default();
            return self.session.execute(prepared, standing, query, self.window_bytes, builder).await;
        }
        let copy = sql::copy_window(&self.tables, &self.outputs, query);
        let push = |builder: &mut WindowBuilder, line: &[u8]| builder.push(line).map(drop);
        self.session.copy(&copy, self.window_bytes, builder, push).await
    }

    /// Moves the position in memory over the window that was read.
    fn advance(&mut self, pass: &OpenPass, number: u64, done: bool, last: Option<u64>) {
        self.position.pass = number;
        if done {
            self.settle(pass.until.clone());
            self.position.inside = None;
        } else {
            let cursor = last.unwrap_or(pass.cursor);
            self.position.inside = Some(Inside { until: pass.until.clone(), cursor, part: pass.part + 1 });
        }
    }

    /// Moves B, and the offset behind it.
    fn settle(&mut self, base: Snapshot) {
        self.position.offset = self.position.offset.max(self.marks.floor(base.xmin));
        self.marks.forget_below(&base);
        self.position.base = base;
    }

    /// Asks whether there can be anything to read; takes a mark when one is due.
    async fn is_idle(&mut self) -> Result<bool, TailError> {
        // Capture that is switched off logs nothing, so a tail at rest looks at the catalog too.
        let asked = Instant::now();
        let check = asked >= self.check_at;
        let fingerprint = check.then(|| capture::fingerprint_sql(&self.schema));
        let polled = self.session.poll(fingerprint.as_deref()).await?;
        if polled.postmaster_start != self.identity.postmaster_start {
            return Err(TailError::Restarted);
        }
        self.identity.check(polled.in_recovery, self.identity.timeline)?;
        self.seen.note(&polled.snapshot, polled.clock_micros, polled.last_id);
        if check {
            let (least, most) = CHECK_EVERY;
            self.check_at = Instant::now() + (asked.elapsed() * CHECK_REST).clamp(least, most);
            if polled.fingerprint != self.fingerprint {
                return Ok(false);
            }
        }
        if polled.last_id.is_none() && self.highest > 0 {
            self.session.may_read().await?;
        }
        let last_id = polled.last_id.unwrap_or(0);
        identity::accept_sequence(last_id, self.highest)?;
        self.highest = last_id;
        if last_id > self.marks.last().id && self.mark_is_due(&polled.snapshot) {
            self.take_mark().await?;
        }
        let idle = self.marks.rule_out(&self.position.base, &polled.snapshot, last_id);
        if idle {
            self.scanned = last_id;
            self.settle(polled.snapshot);
        }
        Ok(idle)
    }

    fn mark_is_due(&self, now: &Snapshot) -> bool {
        now.xmax >= self.marks.last().xid + MARK_EVERY_XIDS
            || self.marked_at.is_none_or(|at| at.elapsed() >= MARK_EVERY)
    }

    async fn take_mark(&mut self) -> Result<(), TailError> {
        let (id, xid) = self.session.mark().await?;
        self.marks.push(Mark { xid, id });
        self.marked_at = Some(Instant::now());
        Ok(())
    }

    /// Looks at the catalog again after its fingerprint changed: no pass until capture is known to be whole. Without the
    /// whole fingerprint the next window asks for it, and is checked once more.
    async fn recheck(&mut self, fingerprint: Option<String>) -> Result<(), TailError> {
        self.reload().await?;
        tracing::debug!("catalog rows of captured tables changed; capture was checked again");
        self.fingerprint = fingerprint;
        Ok(())
    }

    /// Loads the captured tables and verifies them. DDL may fall between one look and the next: what is found broken is
    /// broken only when nothing has changed meanwhile.
    async fn reload(&mut self) -> Result<(), TailError> {
        let mut before = None;
        loop {
            match self.load_verified().await {
                Err(TailError::Capture(error @ CaptureError::Broken { .. })) => {
                    let now =
                        self.session.poll(Some(&capture::fingerprint_sql(&self.schema))).await?.fingerprint;
                    if before == Some(now.clone()) {
                        return Err(error.into());
                    }
                    before = Some(now);
                }
                loaded => return loaded,
            }
        }
    }

    async fn load_verified(&mut self) -> Result<(), TailError> {
        let mut captured = capture::load(self.session.client(), &self.schema).await?;
        capture::verify(self.session.client_mut(), &self.schema, &captured).await?;
        // Behind the present ones, among which requests for rows look for their table.
        captured
            .extend(capture::load_former(self.session.client(), &self.schema, self.position.offset).await?);
        for former in captured.iter().filter(|table| table.rows.dropped && !self.captured.contains(table)) {
            tracing::info!(
                table = %former.table.name,
                "dropped at the source: what it logged is still published, its tables at the targets are kept"
            );
        }
        if captured != self.captured || self.tables.is_empty() {
            let log_tables = captured.iter().map(|captured| LogTable {
                encoder: TableEncoder::new(&captured.table, &self.pipeline, &self.identity.database),
                table: captured.table.clone(),
                log_table: captured.log_table.clone(),
                rows: captured.rows.clone(),
            });
            self.tables = Arc::new(log_tables.collect());
            self.prepared = Prepared::new(&self.pipeline, &self.tables, &self.outputs);
            self.captured = captured;
            self.loads.forget();
        }
        Ok(())
    }

    async fn verify_anchors(&self, anchors: &[Anchor]) -> Result<(), TailError> {
        for anchor in anchors {
            if let Some(table) = self.tables.iter().find(|table| table.log_table == anchor.log_table) {
                let found = self.session.anchor(&table.log_table, anchor.cdc_id).await?;
                if found.is_none() && self.is_removed(anchor.cdc_id).await? {
                    continue;
                }
                anchor.accept(found)?;
            }
        }
        Ok(())
    }

    /// Tells whether a row may have been removed by retention: an offset file of long ago has anchors that nobody keeps.
    async fn is_removed(&self, cdc_id: u64) -> Result<bool, TailError> {
        let removed = capture::removed(self.session.client(), &self.schema).await?;
        Ok(removed.is_some_and(|removed| cdc_id <= removed.to))
    }

    /// Keeps windows near `window_bytes` when rows are large, and near `window_rows` when they are not.
    fn adapt_limit(&mut self, rows: usize, bytes: usize) {
        // A little less: a window that is cut short costs the source a session.
        let fitting = rows.max(1).saturating_mul(self.window_bytes - self.window_bytes / 16) / bytes.max(1);
        let most = u32::try_from(fitting).unwrap_or(u32::MAX).clamp(1, self.window_rows);
        self.limit = if rows > 0 { most } else { self.window_rows };
    }
}

/// Returns this machine's clock, microseconds since 1970.
pub(crate) fn now_micros() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |age| age.as_micros())
}
