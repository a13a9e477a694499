//! Talks to the destination: one session, one transaction a batch.

mod blame;
mod error;
mod session;
mod inspect;
mod misfit;
mod prepared;
mod run;
mod attempt;
mod patient;
mod remove;
mod rights;
mod state;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::SimpleQueryMessage;
use tracing::{debug, info};

pub use remove::{kept, remove};
pub use rights::lacking;
pub use state::{Applied, LastCut, progress, reset};

use self::attempt::{Work, is_bulk};
use self::blame::{Culprit, culprit};
use self::error::{Failure, NAME, refused, setup, unavailable, unwritable};
use self::inspect::{Missing, NotReady, Ready};
use self::prepared::{Insert, Prepared, Tables, stage};
use self::run::Buffers;
use self::session::{Session, State};
use super::fold::{Plan, fold};
use super::held::Held;
use super::order::{Emptying, parents_first};
use super::script::Label;
use super::sql;
use crate::config::{self, Consistency};
use crate::consume::{Batch, Positions, Resumed, Target, TargetError};
use crate::event::Op;
use crate::failpoint;
use crate::rename::Renames;
use crate::table::{Table, TableName};
use crate::telemetry::catalog;

/// Batches for which COPY into a table rests after it has failed.
const REST: u32 = 16;
/// Has one row for an answer.
const IN_STEP: &str = "select 1";

/// Applies batches to a PostgreSQL: rows, positions and cut in one transaction each.
///
/// A batch is folded and applied with one DELETE and one upsert per table. Where a constraint stands in the way of
/// that order, the same transaction starts over and takes the changes one by one, in the order in which the source
/// accepted them.
pub struct PostgresTarget {
    url: SecretString,
    pipeline: String,
    create_tables: bool,
    renames: Renames,
    /// One of several appliers, each with its partitions.
    shared: bool,
    session: Option<Session>,
    tables: Tables,
    buffers: Buffers,
    replays: u64,
    /// Deletes of the pass at hand that come last.
    held: Held,
    /// Tables into which rows are not brought by COPY for so many batches: some were there already.
    resting: HashMap<TableName, u32>,
    /// Batches of an unfinished pass that constraints refuse before the rest of it has come.
    waiting: Option<Batch>,
}

impl fmt::Debug for PostgresTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresTarget").field("pipeline", &self.pipeline).finish_non_exhaustive()
    }
}

impl PostgresTarget {
    /// Prepares the target of `pipeline` at the PostgreSQL of `url`. Connects in [`Target::resume`].
    pub fn new(url: &str, pipeline: &str, config: &config::Apply) -> Self {
        Self {
            url: url.into(),
            pipeline: pipeline.to_owned(),
            create_tables: config.create_tables,
            renames: Renames::default(),
            shared: config.consistency == Consistency::Key,
            session: None,
            tables: Tables::default(),
            buffers: Buffers::default(),
            replays: 0,
            held: Held::default(),
            resting: HashMap::new(),
            waiting: None,
        }
    }

    /// Writes tables under other names.
    pub fn renamed(mut self, renames: &Renames) -> Self {
        self.renames = renames.clone();
        self
    }

    /// Returns how many batches had to be applied change by change.
    pub fn replays(&self) -> u64 {
        self.replays
    }

    fn session(&mut self) -> Result<&mut Session, TargetError> {
        let lost = |session: &Session| session.state == State::Busy || session.client.is_closed();
        if self.session.as_ref().is_some_and(lost) {
            self.session = None;
        }
        self.session.as_mut().ok_or_else(|| TargetError::Unavailable {
            target: NAME,
            what: "applying a batch".into(),
            source: "not connected".into(),
        })
    }

    /// Makes the destination ready for changes of `tables`, as [`Target::prepare`] does, while an applier may be at
    /// work there.
    pub async fn install(&self, tables: &[Arc<Table>]) -> Result<(), TargetError> {
        let client = session::open_installed(self.url.expose_secret()).await?;
        for table in tables {
            inspect::make_ready(&client, &self.pipeline, &self.renames.table(table), self.missing()).await?;
        }
        Ok(())
    }

    /// Says which of these tables' changes could not be written, and why: nothing is altered, no lock is taken.
    pub async fn misfits(&self, tables: &[Arc<Table>]) -> Result<Vec<String>, TargetError> {
        let client = session::open(self.url.expose_secret(), "check").await?;
        let mut found = Vec::new();
        for table in tables {
            found.extend(misfit::misfit(&client, &self.renames.table(table), self.create_tables).await?);
        }
        Ok(found)
    }

    fn missing(&self) -> Missing {
        if self.create_tables { Missing::Create } else { Missing::Refuse }
    }

    /// Prepares what the batch touches and is not prepared yet: after a reconnect nothing is.
    async fn make_ready(&mut self, batch: &Batch, plan: &Plan) -> Result<(), TargetError> {
        let swept = batch.sweeps.iter().map(|sweep| &sweep.table);
        // Following DDL forgets the shapes of older versions.
        while let Some(table) =
            plan.tables.iter().chain(swept.clone()).find(|table| self.tables.get(table).is_none())
        {
            self.prepare(table).await?;
        }
        let may_stage = self.session()?.may_stage;
        let failed = |error| setup("cannot prepare the COPY of a table", error);
        for group in plan.groups.iter().filter(|group| is_bulk(group, may_stage)) {
            let Some(session) = self.session.as_mut() else { continue };
            let Some(prepared) = self.tables.get_mut(&group.table) else { continue };
            let resting = self.resting.contains_key(&group.table.name);
            let direct = group.fresh && !batch.thinned && !prepared.shape.rules && !resting;
            let Prepared { shape, texts, upserts, deletes, insert } = prepared;
            if direct && insert.is_none() && !group.upserts.is_empty() {
                let copy = session.client.prepare(&sql::copy_into(shape)).await.map_err(failed)?;
                *insert = Some(Insert { copy, check: sql::check_insert(shape, texts) });
            }
            if !direct && upserts.is_none() && !group.upserts.is_empty() {
                *upserts = Some(stage(session, shape, texts, sql::upsert_stage).await?);
            }
            if deletes.is_none() && !group.deletes.is_empty() {
                *deletes = Some(stage(session, shape, texts, sql::delete_stage).await?);
            }
        }
        Ok(())
    }

    /// Asks which tables can be truncated, when the batch truncates any.
    async fn look_at_emptying(&mut self, plan: &Plan) -> Result<Vec<Emptying>, TargetError> {
        let prepared = plan.truncated.iter().filter_map(|table| self.tables.get(table));
        let oids: Vec<u32> = prepared.map(|prepared| prepared.shape.oid).collect();
        if oids.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self
            .session()?
            .client
            .query(include_str!("../../../sql/apply/emptying.sql"), &[&oids])
            .await
            .map_err(|error| setup("cannot look at foreign keys", error))?;
        let emptying = |row: &tokio_postgres::Row| Emptying {
            oid: row.get(0),
            may_truncate: row.get(1),
            referenced_by: row.get(2),
        };
        Ok(rows.iter().map(emptying).collect())
    }

    /// Applies the batch, and where rows were there that had not been expected, once more without expecting anything.
    async fn attempt_twice(
        &mut self,
        batch: &Batch,
        plan: &Plan,
        commit: bool,
    ) -> Result<Result<(), Failure>, TargetError> {
        let result = self.attempt(batch, plan, commit).await?;
        let Some(failure) = result.as_ref().err().filter(|failure| failure.is_insert()) else {
            return Ok(result);
        };
        debug!(
            cause = failure.cause(),
            pass = batch.cut.pass,
            "rows that were not expected at the destination are there"
        );
        metrics::counter!(catalog::SECOND_ATTEMPTS, "target" => NAME).increment(1);
        for group in plan.groups.iter().filter(|group| group.fresh) {
            self.resting.insert(group.table.name.clone(), REST);
            self.tables.forget_insert(&group.table.name);
        }
        // A COPY that fails before its first row leaves tokio-postgres one answer behind.
        let answers = self.session()?.client.simple_query(IN_STEP).await;
        let answered = |message: &SimpleQueryMessage| matches!(message, SimpleQueryMessage::Row(_));
        if !answers.map_err(|error| unavailable("asking the session", error))?.iter().any(answered) {
            self.session = None;
            let (what, source) = ("applying a batch".into(), "the session has to be another one".into());
            return Err(TargetError::Unavailable { target: NAME, what, source });
        }
        self.attempt(batch, plan, commit).await
    }

    /// Applies the batch folded, and where constraints forbid that, change by change, for which all changes have to be there.
    /// After a failure the session is where it was before.
    async fn attempt(
        &mut self,
        batch: &Batch,
        plan: &Plan,
        commit: bool,
    ) -> Result<Result<(), Failure>, TargetError> {
        self.make_ready(batch, plan).await?;
        let emptying = self.look_at_emptying(plan).await?;
        let shapes = plan.groups.iter().filter_map(|group| self.tables.get(&group.table));
        let tables: Vec<(u32, &[u32])> =
            shapes.map(|prepared| (prepared.shape.oid, prepared.shape.parents.as_slice())).collect();
        let order = parents_first(&tables);
        let Some(session) = self.session.as_mut() else { return self.session().map(|_| Ok(())) };
        let continues = session.state == State::Open;
        session.state = State::Busy;
        let work = Work {
            client: &session.client,
            pipeline: &self.pipeline,
            batch,
            plan,
            order: &order,
            tables: &self.tables,
            emptying: &emptying,
            continues,
            commit,
            replica: session.replica,
            shared: self.shared,
        };
        let mut result = match plan.in_order {
            true if batch.thinned => return Err(TargetError::NeedsAll),
            true => work.exact(&mut self.buffers, false).await,
            false => work.folded(&mut self.buffers).await,
        };
        if let Err(failure) = &result
            && failure.is_replayable()
        {
            if batch.thinned {
                return Err(TargetError::NeedsAll);
            }
            self.replays += 1;
            metrics::counter!(catalog::REPLAYS, "target" => NAME).increment(1);
            info!(
                changes = batch.changes.len(),
                pass = batch.cut.pass,
                part = batch.cut.part,
                cause = failure.cause(),
                "applying a batch change by change"
            );
            result = work.exact(&mut self.buffers, true).await;
            if let Err(failure) = &result
                && failure.is_order()
            {
                info!(
                    cause = failure.cause(),
                    "applying a batch once more, with changes that wait for others"
                );
                result = work.patient(&mut self.buffers).await;
            }
        }
        let stays_open = if result.is_ok() { !commit } else { continues };
        if result.is_err() {
            let undo = if continues { sql::UNDO } else { "rollback" };
            // Fails when the connection is gone, which the result says already.
            if session.client.batch_execute(undo).await.is_err() {
                return Ok(result);
            }
        }
        session.state = if stays_open { State::Open } else { State::Idle };
        Ok(result)
    }

    /// Returns the batch as it is to be applied: behind what waits, with deletes that take other rows along at the end
    /// of the pass.
    async fn arrange<'a>(&mut self, batch: &'a Batch) -> Result<Cow<'a, Batch>, TargetError> {
        let mut arranged = Cow::Borrowed(batch);
        if !self.session()?.replica && !self.shared {
            let mut tables: Vec<&Arc<Table>> = Vec::new();
            for change in &batch.changes {
                if !tables.iter().any(|table| Arc::ptr_eq(table, &change.table)) {
                    tables.push(&change.table);
                }
            }
            for table in &tables {
                self.prepare(table).await?;
            }
            let cascades = |name: &TableName| self.tables.cascades(name);
            if !self.held.is_empty() || tables.iter().any(|table| cascades(&table.name)) {
                let arranged = arranged.to_mut();
                arranged.changes = self.held.arrange(&batch.changes, cascades, batch.cut.done);
                // A commit would move the positions past what is held.
                arranged.commit &= self.held.is_empty();
            }
        }
        if let Some(mut waiting) = self.waiting.take() {
            waiting.append(arranged.into_owned());
            arranged = Cow::Owned(waiting);
        }
        Ok(arranged)
    }

    /// Finds the column that a change is refused for. What was applied of its pass is given up, with the session.
    async fn culprit(&mut self, failure: &Failure, batch: &Batch) -> Option<Culprit> {
        let change = batch.changes.get(failure.misfit()?)?;
        let session = self.session.as_mut()?;
        if session.state == State::Open {
            session.state = State::Busy;
            session.client.batch_execute("rollback").await.ok()?;
        }
        culprit(&session.client, change, &self.tables.get(&change.table)?.shape).await
    }

    /// Finds the partition whose position is not where the batch expects it.
    async fn overtaken(&mut self, batch: &Batch) -> TargetError {
        let pipeline = self.pipeline.clone();
        let stored = match self.session() {
            Ok(session) => state::resumed(&session.client, &pipeline).await.unwrap_or_default().positions,
            Err(_) => Positions::new(),
        };
        let moved = batch
            .progress
            .iter()
            .find(|step| stored.get(&(step.topic.clone(), step.partition)).copied() != step.expected)
            .or(batch.progress.first());
        let (topic, partition, expected) = match moved {
            Some(step) => (step.topic.clone(), step.partition, step.expected),
            None => (String::new(), 0, None),
        };
        TargetError::Overtaken { target: NAME, topic, partition, expected }
    }
}

/// Refuses what no member of a group can apply alone.
fn all_partitions(batch: &Batch) -> Result<(), TargetError> {
    let truncate = batch.changes.iter().find(|change| change.op == Op::Truncate);
    let (what, table, cdc_id) = match (truncate, batch.sweeps.first()) {
        (Some(change), _) => ("a TRUNCATE", &change.table, Some(change.cdc_id)),
        (None, Some(sweep)) => ("copying all rows of a table anew", &sweep.table, None),
        (None, None) => return Ok(()),
    };
    let why = format!(
        "{what} concerns all partitions; run one applier with apply.consistency = \"cut\" until it is applied"
    );
    Err(TargetError::Refused { target: NAME, table: table.name.clone(), cdc_id, why, source: None })
}

/// Names the table and the log row that a failure is about, as far as they are known.
fn subject(failure: &Failure, batch: &Batch, plan: &Plan) -> (TableName, Option<u64>) {
    let change = |index: usize| batch.changes.get(index).map(|c| (c.table.name.clone(), Some(c.cdc_id)));
    let found = match failure {
        Failure::Encode { change: index, .. } => change(*index),
        Failure::Server { label: Label::Change(index), .. } => change(*index),
        Failure::Server { label: Label::Group(group) | Label::Insert(group), .. } => {
            plan.groups.get(*group).map(|group| (group.table.name.clone(), None))
        }
        Failure::Server { label: Label::Truncates, .. } => {
            plan.truncated.first().map(|table| (table.name.clone(), None))
        }
        Failure::Server { label: Label::Sweep(sweep), .. } => {
            batch.sweeps.get(*sweep).map(|sweep| (sweep.table.name.clone(), None))
        }
        Failure::Server { .. } => None,
    };
    let any = || batch.changes.first().map(|change| (change.table.name.clone(), None));
    found.or_else(any).unwrap_or_else(|| (TableName::new("tripline", "cuts"), None))
}

impl Target for PostgresTarget {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn resume(&mut self) -> Result<Resumed, TargetError> {
        // What an old session left open goes with it.
        self.session = None;
        self.tables.clear();
        self.held.clear();
        self.waiting = None;
        let session = session::open_applier(self.url.expose_secret(), &self.pipeline, self.shared).await?;
        let mut resumed = state::resumed(&session.client, &self.pipeline).await?;
        if self.shared {
            // Members note no cut: this one is from before they came.
            resumed.last = None;
        }
        self.session = Some(session);
        Ok(resumed)
    }

    async fn prepare(&mut self, table: &Arc<Table>) -> Result<(), TargetError> {
        let missing = self.missing();
        if self.tables.get(table).is_some() {
            return Ok(());
        }
        let shared = self.shared;
        let here = self.renames.shared(table);
        let pipeline = self.pipeline.clone();
        let session = self.session()?;
        let inside = session.state == State::Open && missing == Missing::Create;
        let now = if inside { Missing::NotNow } else { missing };
        let ready = inspect::make_ready(&session.client, &pipeline, &here, now).await;
        if let (true, Err(NotReady::Missing)) = (inside, &ready) {
            let undone = session.client.batch_execute("rollback").await;
            undone.map_err(|error| unavailable("giving up a pass", error))?;
            session.state = State::Idle;
            inspect::make_ready(&session.client, &pipeline, &here, missing).await?;
        }
        let Ready { shape, altered } = ready?;
        if shared && !shape.parents.is_empty() && !session.replica {
            let why = format!(
                "{} has foreign keys, whose order apply.consistency = \"key\" does not keep; grant the right to set \
                 session_replication_role, or use \"cut\"",
                table.name
            );
            return Err(TargetError::Setup { target: NAME, why, source: None });
        }
        if altered {
            // Shapes of older versions name columns that may be called otherwise now.
            self.tables.clear();
        }
        self.tables.insert(table, Prepared::new(shape));
        Ok(())
    }

    async fn apply(&mut self, batch: &Batch) -> Result<(), TargetError> {
        failpoint::hit("apply::before-batch");
        let arranged = self.arrange(batch).await?;
        let batch = &*arranged;
        let plan = fold(&batch.changes);
        self.resting.retain(|name, batches| {
            let named = plan.groups.iter().any(|group| group.fresh && group.table.name == *name);
            *batches -= u32::from(named);
            *batches > 0
        });
        if self.shared {
            all_partitions(batch)?;
        }
        let mut result = self.attempt_twice(batch, &plan, batch.commit).await?;
        if result.as_ref().is_err_and(Failure::is_stale) {
            // Somebody altered the destination: look again, which works or says what is wrong.
            self.tables.clear();
            result = self.attempt_twice(batch, &plan, batch.commit).await?;
        }
        let split = batch.commit && !batch.cut.done;
        if split && result.as_ref().is_err_and(Failure::is_unfinished) {
            // Deferred constraints hold at the end of a pass: this is no place to commit.
            result = self.attempt_twice(batch, &plan, false).await?;
        } else if split && result.is_ok() {
            info!(
                pass = batch.cut.pass,
                part = batch.cut.part,
                "committed a part of a pass (apply.max_cut_rows): the destination is catching up"
            );
        }
        let Err(failure) = result else {
            failpoint::hit(if batch.commit { "apply::after-commit" } else { "apply::after-part" });
            return Ok(());
        };
        if failure.is_overtaken() {
            return Err(self.overtaken(batch).await);
        }
        // A unique value may be held by a row that another member is about to change.
        let waits = self.shared && failure.is_conflict();
        if (failure.is_passing() || waits)
            && let Failure::Server { error, .. } = failure
        {
            return Err(unavailable("applying a batch", error));
        }
        if !batch.cut.done && !self.shared && failure.is_order() {
            // The row that is missing, or in the way, comes with the rest of the pass.
            info!(
                changes = batch.changes.len(),
                pass = batch.cut.pass,
                part = batch.cut.part,
                cause = failure.cause(),
                "a part of a pass waits for the next one"
            );
            self.waiting = Some(arranged.into_owned());
            return Ok(());
        }
        let silent = self.session.as_ref().is_some_and(|session| session.replica);
        let (table, cdc_id) = subject(&failure, batch, &plan);
        if failure.is_stale() {
            return Err(unwritable(&failure, &table));
        }
        let culprit = self.culprit(&failure, batch).await;
        Err(refused(failure, table, cdc_id, silent, culprit))
    }
}
