//! The target: prepares tables, inserts batches, and moves the progress once everything is confirmed.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::ProgressStore;
use super::batch::{self, Step};
use super::clickhouse::Server;
use super::error::{self, NAME};
use super::evolve::{self, Follow};
use super::plan::{Existing, TablePlan};
use super::policy::Policies;
use super::sql;
use crate::config;
use crate::consume::{Batch, Resumed, Target, TargetError};
use crate::failpoint;
use crate::rename::Renames;
use crate::table::{Column, Table, TableName};

/// Tables that are inserted into at the same time.
const PARALLEL_TABLES: usize = 4;
/// Oldest server: the first whose `ReplacingMergeTree` knows deleted rows.
const OLDEST_VERSION: (u32, u32) = (23, 2);

/// Mirrors changes into ClickHouse.
///
/// Every row carries its `cdc_id` as version and the highest version of a key wins, so applying a batch again, whole
/// or in part, now or much later, changes nothing. A batch is not atomic for readers of ClickHouse.
pub struct ClickHouseTarget<S> {
    server: Server,
    database: String,
    policies: Policies,
    renames: Renames,
    store: S,
    /// Per table and schema version.
    plans: HashMap<(TableName, u32), Arc<TablePlan>>,
    /// Which source table a table of the mirror belongs to, and the newest schema version its view was made for.
    owners: HashMap<String, (TableName, u32)>,
    /// Part of all deduplication tokens. A token must not outlive this process: after somebody removes rows and
    /// rewinds, the same inserts come again, and a server that remembers their tokens would drop them in silence.
    nonce: u64,
}

impl<S> fmt::Debug for ClickHouseTarget<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClickHouseTarget").field("database", &self.database).finish_non_exhaustive()
    }
}

impl<S: ProgressStore> ClickHouseTarget<S> {
    /// Makes a target for the configured server, with its progress in `store`. Needs no connection yet.
    pub fn new(config: &config::ClickHouse, store: S) -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            server: Server::new(config),
            database: config.database.clone(),
            policies: Policies::default(),
            renames: Renames::default(),
            store,
            plans: HashMap::new(),
            owners: HashMap::new(),
            nonce: (started.as_nanos() as u64).rotate_left(32) ^ u64::from(std::process::id()),
        }
    }

    /// Says what is done with values that the types of their columns cannot hold; without, they are errors.
    #[must_use]
    pub fn with_policies(self, policies: Policies) -> Self {
        Self { policies, ..self }
    }

    /// Writes tables under other names.
    #[must_use]
    pub fn renamed(mut self, renames: &Renames) -> Self {
        self.renames = renames.clone();
        self
    }

    /// Makes the server ready for changes of `tables`, as [`Target::prepare`] does; the stored progress is not touched.
    pub async fn install(&mut self, tables: &[Arc<Table>]) -> Result<(), TargetError> {
        self.prepare_database().await?;
        for table in tables {
            self.prepare_table(table).await?;
        }
        Ok(())
    }

    /// Says which of these tables' changes could not be mirrored, and why. Nothing is altered.
    pub async fn misfits(&mut self, tables: &[Arc<Table>]) -> Result<Vec<String>, TargetError> {
        check_version(&self.server).await?;
        let mut misfits = Vec::new();
        for table in tables {
            match self.look_at(table).await {
                Ok(()) => {}
                Err(TargetError::Setup { why, source: None, .. }) => misfits.push(why),
                Err(error) => return Err(error),
            }
        }
        Ok(misfits)
    }

    async fn look_at(&mut self, table: &Table) -> Result<(), TargetError> {
        let name = sql::target_name(&self.renames.name(&table.name));
        self.claim(&name, table)?;
        let found = look_up(&self.server, &self.database, &name, &sql::view_name(&name)).await?;
        let target = sql::qualified(&self.database, &name);
        let check = |existing: &Existing| existing.check(&target, table, &self.policies).map(drop);
        found.table.as_ref().map_or(Ok(()), check).map_err(error::setup)
    }

    async fn prepare_database(&mut self) -> Result<(), TargetError> {
        check_version(&self.server).await?;
        // Asked for first, because the right to create databases is not needed where it exists.
        let found: Vec<u64> =
            self.server.rows("look up the database", &sql::find_database(&self.database)).await?;
        if found == [0] {
            let statement = sql::create_database(&self.database);
            self.server.execute("create the database", &statement).await?;
        }
        Ok(())
    }

    async fn prepare_table(&mut self, table: &Arc<Table>) -> Result<(), TargetError> {
        let mut name = sql::target_name(&self.renames.name(&table.name));
        let newest = self.claim(&name, table)?;
        let view = sql::view_name(&name);
        let mut found = look_up(&self.server, &self.database, &name, &view).await?;
        if let Some((place, version)) = self.place(table, &name, &found).await? {
            if version > table.version {
                name = place;
                found = look_up(&self.server, &self.database, &name, &sql::view_name(&name)).await?;
            } else {
                self.rename(&place, &name).await?;
                found = look_up(&self.server, &self.database, &name, &view).await?;
            }
        }
        let target = sql::qualified(&self.database, &name);
        let made = found.table.as_ref().and_then(|existing| evolve::made_for(&existing.comment));
        if made.is_some_and(|(_, version)| table.relation != 0 && version > table.version) {
            // Rows from before DDL that the mirror has followed already.
            let existing = found.table(&target)?;
            let (here, members) = evolve::older(table, existing);
            let plan = TablePlan::new(target, &here, existing, &self.policies, Some(members))?;
            self.plans.insert((table.name.clone(), table.version), Arc::new(plan));
            return Ok(());
        }
        if found.table.is_none() {
            self.server
                .execute(&format!("create {target}"), &sql::create_table(&target, table, &self.policies))
                .await?;
            found = look_up(&self.server, &self.database, &name, &view).await?;
        }
        let steps = evolve::follow(&target, table, found.table(&target)?, &self.policies);
        if !steps.is_empty() {
            let what = format!("let {target} follow {}", table.name);
            for step in &steps {
                match step {
                    Follow::Short(statement) => self.server.execute(&what, statement).await?,
                    Follow::Long(statement) => self.server.execute_long(&what, statement).await?,
                }
                let (Follow::Short(statement) | Follow::Long(statement)) = step;
                tracing::info!(table = %table.name, statement, "followed the source's DDL");
            }
            found = look_up(&self.server, &self.database, &name, &view).await?;
        }
        let missing = found.table(&target)?.check(&target, table, &self.policies).map_err(error::setup)?;
        let altered = !steps.is_empty() || !missing.is_empty();
        if !missing.is_empty() {
            let added = sql::add_columns(&target, table, missing);
            self.server.execute(&format!("add columns to {target}"), &added).await?;
            found = look_up(&self.server, &self.database, &name, &view).await?;
        }
        let existing = found.table(&target)?;
        // Left alone where it is right: replacing it needs rights that only the first start should need.
        if newest && !found.view.as_ref().is_some_and(|view| existing.is_shown_by(view, table)) {
            let view = sql::qualified(&self.database, &view);
            self.server.execute(&format!("create {view}"), &sql::create_view(&view, &target, table)).await?;
        }
        if let Some(mark) = evolve::table_mark(table).filter(|mark| *mark != existing.comment) {
            self.server.execute(&format!("mark {target}"), &sql::comment(&target, &mark)).await?;
        }
        let plan = TablePlan::new(target, table, existing, &self.policies, None)?;
        if altered {
            // Plans of older versions name columns that may be called otherwise now.
            self.plans.retain(|_, older| older.target != plan.target);
        }
        self.plans.insert((table.name.clone(), table.version), Arc::new(plan));
        Ok(())
    }

    /// Returns under which other name the mirror of a table is, and for which version; `None` when it is where it belongs.
    async fn place(
        &mut self,
        table: &Table,
        name: &str,
        found: &Found,
    ) -> Result<Option<(String, u32)>, TargetError> {
        let here = found.table.as_ref().and_then(|existing| evolve::made_for(&existing.comment));
        if table.relation == 0 || here.is_some_and(|(relation, _)| relation == table.relation) {
            return Ok(None);
        }
        let mark = evolve::relation_mark(table.relation);
        let places: Vec<(String, String)> =
            self.server.rows("look for a renamed table", &sql::find_marked(&self.database, &mark)).await?;
        let mut places = places.into_iter().filter(|(place, _)| place != name);
        let Some((place, comment)) = places.next() else { return Ok(None) };
        let version = evolve::made_for(&comment).map_or(0, |(_, version)| version);
        if found.table.is_some() && version <= table.version {
            return Err(error::setup(format!(
                "{name} is taken, but the mirror of {} is still called {place}: rename {name}, or drop it when its table is \
                 gone at the source",
                table.name
            )));
        }
        Ok(Some((place, version)))
    }

    /// Follows a renamed table; its view is made anew.
    async fn rename(&mut self, from: &str, to: &str) -> Result<(), TargetError> {
        let view = sql::qualified(&self.database, &sql::view_name(from));
        self.server.execute(&format!("drop {view}"), &sql::drop_view(&view)).await?;
        let (from, to) = (sql::qualified(&self.database, from), sql::qualified(&self.database, to));
        self.server.execute(&format!("rename {from}"), &sql::rename_table(&from, &to)).await?;
        self.plans.retain(|_, plan| plan.target != from);
        Ok(())
    }

    /// Notes that `name` belongs to `table`; returns whether this schema version is the newest one seen.
    fn claim(&mut self, name: &str, table: &Table) -> Result<bool, TargetError> {
        if table.key_indexes().len() != table.key.len() {
            return Err(error::setup(format!("{} lacks columns of its key", table.name)));
        }
        let is_reserved = |column: &&Column| {
            column.name == sql::SYNCED_AT || sql::own(table).any(|(name, _)| name == column.name)
        };
        if let Some(column) = table.columns.iter().find(is_reserved) {
            return Err(error::setup(format!(
                "column {} of {} has a name that the mirror needs for itself; rename it or leave the table out",
                column.name, table.name
            )));
        }
        let owned = (table.name.clone(), table.version);
        let (owner, version) = self.owners.entry(name.to_owned()).or_insert(owned);
        if *owner != table.name {
            return Err(error::setup(format!(
                "{owner} and {} would share the table {name}; give one of them another name with [[rename]], or leave one out",
                table.name
            )));
        }
        *version = table.version.max(*version);
        Ok(*version == table.version)
    }

    async fn write(&mut self, batch: &Batch) -> Result<(), WriteError> {
        let plan = |table: &Table| self.plans.get(&(table.name.clone(), table.version)).cloned();
        let lists = batch::steps(batch, self.nonce, plan)?;
        stream::iter(lists)
            .map(|steps| write_table(self.server.clone(), steps))
            .buffer_unordered(PARALLEL_TABLES)
            .try_collect()
            .await
    }
}

/// Returns what is found under the two names. `view` must be a view or nothing.
pub(super) async fn look_up(
    server: &Server,
    database: &str,
    name: &str,
    view: &str,
) -> Result<Found, TargetError> {
    let what = format!("look up {name}");
    let objects: Vec<(String, String, String, String, String)> =
        server.rows(&what, &sql::find_tables(database, &[name, view])).await?;
    let columns: Vec<(String, String, String, String)> =
        server.rows(&what, &sql::find_columns(database, &[name, view])).await?;
    let mut found = Found::default();
    for (object, engine, engine_full, sorting_key, comment) in objects {
        if object == view && engine != "View" {
            return Err(error::setup(format!(
                "{view} exists with engine {engine}, but the mirror of {name} wants a view there: rename one of them"
            )));
        }
        let columns = columns.iter().filter(|(of, ..)| *of == object);
        let comments = columns.clone().map(|(_, name, _, comment)| (name.clone(), comment.clone())).collect();
        let columns = columns.map(|(_, name, ty, _)| (name.clone(), ty.clone())).collect();
        let existing = Existing { engine, engine_full, sorting_key, columns, comments, comment };
        *(if object == view { &mut found.view } else { &mut found.table }) = Some(existing);
    }
    Ok(found)
}

/// What is there for one source table.
#[derive(Default)]
pub(super) struct Found {
    pub(super) table: Option<Existing>,
    pub(super) view: Option<Existing>,
}

impl Found {
    fn table(&self, target: &str) -> Result<&Existing, TargetError> {
        self.table.as_ref().ok_or_else(|| error::setup(format!("{target} went away while it was prepared")))
    }
}

/// Does one table's steps in order.
///
/// The inserts in front of a truncate are confirmed before it looks at the table. Rows of other transactions with a
/// lower `cdc_id` cannot turn up later: TRUNCATE waits for them under its ACCESS EXCLUSIVE lock, so they belong to
/// this pass or an earlier one.
async fn write_table(server: Server, steps: Vec<Step>) -> Result<(), WriteError> {
    for step in steps {
        match step {
            Step::Insert { plan, body, token } => {
                server.insert(&plan.insert, &token, &body).await.map_err(|error| WriteError {
                    other_shape: error.is_other_shape(),
                    error: error.explain(&format!("insert into {}", plan.target)),
                })?;
            }
            Step::Truncate { plan, cdc_id } => {
                let statement = sql::truncate(&plan.target, &plan.table, cdc_id);
                server
                    .execute_long(&format!("mark the rows of {} as deleted", plan.target), &statement)
                    .await?;
            }
        }
    }
    Ok(())
}

/// Why a batch was not written.
struct WriteError {
    /// Worth a second look at the tables: somebody altered one since they were prepared.
    other_shape: bool,
    error: TargetError,
}

impl From<TargetError> for WriteError {
    fn from(error: TargetError) -> Self {
        Self { other_shape: false, error }
    }
}

impl<S: ProgressStore> Target for ClickHouseTarget<S> {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn resume(&mut self) -> Result<Resumed, TargetError> {
        self.plans.clear();
        self.prepare_database().await?;
        Ok(Resumed { positions: self.store.load().await?, ..Resumed::default() })
    }

    async fn prepare(&mut self, table: &Arc<Table>) -> Result<(), TargetError> {
        self.prepare_table(table).await
    }

    async fn apply(&mut self, batch: &Batch) -> Result<(), TargetError> {
        let tables = batch::tables(batch);
        // Following DDL forgets the plans of older versions.
        let is_planned =
            |plans: &HashMap<_, _>, table: &Table| plans.contains_key(&(table.name.clone(), table.version));
        while let Some(table) = tables.iter().find(|table| !is_planned(&self.plans, table)) {
            self.prepare_table(table).await?;
        }
        match self.write(batch).await {
            Ok(()) => {}
            Err(WriteError { other_shape: true, .. }) => {
                for table in batch::tables(batch) {
                    self.prepare_table(&table).await?;
                }
                self.write(batch).await.map_err(|failed| failed.error)?;
            }
            Err(failed) => return Err(failed.error),
        }
        failpoint::hit("mirror::before-progress");
        self.store.save(&batch.progress).await?;
        failpoint::hit("mirror::after-progress");
        Ok(())
    }
}

async fn check_version(server: &Server) -> Result<(), TargetError> {
    let found: Vec<String> = server.rows("read the server's version", "SELECT version()").await?;
    let version = found.into_iter().next().unwrap_or_default();
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or_default());
    if (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default()) < OLDEST_VERSION {
        let (major, minor) = OLDEST_VERSION;
        return Err(error::setup(format!("the server is {version}; {major}.{minor} or newer is needed")));
    }
    Ok(())
}
