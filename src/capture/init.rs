//! `tripline init`, the source's part: installs capture, changes nothing that is already right.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, GenericClient, Transaction};

use crate::config::{Config, Snapshot, TableOverride};
use crate::table::{CaptureMode, TableName, quote_ident, quote_literal};

use super::append;
use super::catalog::{self, Source, State};
use super::ddl::{self, History};
use super::error::{CaptureError, Refusal};
use super::partitions;
use super::pattern::Patterns;
use super::plan::{self, Plan, Wanted};
use super::registry::{self, Registered};
use super::render::render;
use super::row::salt_table;
use super::{gaps, name, probe, query};

/// How often a table's lock is tried for, each time for the 2 s that others may have to wait behind us.
const LOCK_ATTEMPTS: u32 = 4;
/// First pause between two attempts, in ms; doubles.
const LOCK_PAUSE_MS: u64 = 500;

/// How `init` goes about it.
#[derive(Debug, Clone, Copy, Default)]
pub struct InitOptions {
    /// Return the SQL, execute nothing.
    pub dry_run: bool,
    /// Go on with the other tables where some cannot be captured.
    pub skip_unusable: bool,
}

/// What was done with a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Already right; nothing was touched.
    Unchanged,
    /// Captured from now on.
    Installed,
    /// Followed a change of columns, key or name: the version grew.
    Altered,
    /// Put back functions or triggers that were missing, altered, switched off or from another release.
    Repaired,
}

/// What was done with one table, or would be.
#[derive(Debug, Clone, Serialize)]
pub struct TableReport {
    /// The table.
    pub table: TableName,
    /// Its log table.
    pub log_table: TableName,
    /// How it is captured.
    pub mode: CaptureMode,
    /// Version of its shape.
    pub version: u32,
    /// What was done.
    pub action: Action,
    /// Rows may not have been logged before: the table's targets may lack them.
    pub needs_snapshot: bool,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

/// What `init` did, or would do.
#[derive(Debug, Clone, Serialize)]
pub struct InitReport {
    /// Captured tables, by name.
    pub tables: Vec<TableReport>,
    /// Tables that were left out (`skip_unusable`).
    pub refused: Vec<Refusal>,
    /// Tables that are still captured although no pattern names them any more.
    pub kept: Vec<TableName>,
    /// What is worth knowing of the whole.
    pub notes: Vec<String>,
    /// Every statement, in order; empty when everything was right already.
    pub sql: String,
}

/// Everything that is decided before anything is changed.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) setup: Vec<String>,
    /// The salt of hashes, where another one or none stands in the source.
    pub(super) salt: Option<SecretString>,
    /// The event triggers are there.
    pub(super) events: bool,
    pub(super) notes: Vec<String>,
    pub(super) tables: Vec<(Source, Plan)>,
    pub(super) refused: Vec<Refusal>,
    pub(super) kept: Vec<TableName>,
}

/// Installs capture for the tables that `config.source.tables` names.
///
/// Refused tables mean that nothing is changed, unless `skip_unusable`. Otherwise each table is one transaction, with
/// a short lock; after an error the tables done so far stay done, and running again goes on.
pub async fn init(
    client: &mut Client,
    config: &Config,
    options: InitOptions,
) -> Result<InitReport, CaptureError> {
    let schema = config.capture.schema.as_str();
    let mut decided = decide(client, config).await?;
    if !decided.refused.is_empty() && !options.skip_unusable {
        return Err(CaptureError::Refused { refusals: decided.refused });
    }
    let mut sql = String::new();
    for statement in &decided.setup {
        sql.push_str(statement);
    }
    if decided.salt.is_some() {
        sql.push_str(&format!("-- mask.salt goes into {}\n", salt_table(schema).quoted()));
    }
    for (source, plan) in decided.tables.iter().filter(|(_, plan)| !plan.statements.is_empty()) {
        sql.push_str(&format!("begin;\n{}commit;\n", script(source, plan)));
    }
    let mut notes = std::mem::take(&mut decided.notes);
    if options.dry_run && !decided.events {
        sql.push_str(&ddl::triggers(schema));
    }
    if !options.dry_run {
        if !decided.setup.is_empty() || decided.salt.is_some() {
            set_up(client, schema, &decided).await?;
        }
        if !decided.events {
            match ddl::create_triggers(client, schema).await? {
                None => sql.push_str(&ddl::triggers(schema)),
                Some(refused) => notes.push(format!(
                    "DDL is not followed by itself, because this role may not create event triggers ({refused}): run tripline \
                     init after each migration of a captured table (docs/ddl.md)"
                )),
            }
        }
        for (source, plan) in decided.tables.iter().filter(|(_, plan)| !plan.statements.is_empty()) {
            with_patience(&source.name, async || install(client, schema, source, plan).await).await?;
        }
    }
    let tables = decided
        .tables
        .into_iter()
        .map(|(source, plan)| TableReport {
            table: source.name,
            log_table: TableName::new(schema, plan.log_table),
            mode: plan.mode,
            version: plan.version,
            action: plan.action,
            needs_snapshot: plan.needs_snapshot,
            notes: [plan.notes, plan.accepted].concat(),
        })
        .collect();
    Ok(InitReport { tables, refused: decided.refused, kept: decided.kept, notes, sql })
}

/// Reads catalog and registry and decides for every table.
pub(super) async fn decide(client: &mut Client, config: &Config) -> Result<Decided, CaptureError> {
    let schema = config.capture.schema.as_str();
    let patterns = Patterns::parse(&config.source.tables)?;
    let mut transaction = query::begin(client).await?;
    let state = catalog::state(&transaction, schema).await?;
    if state.server < 140_000 {
        return Err(CaptureError::TooOld { major: state.server / 10_000 });
    }
    if state.recovery {
        return Err(CaptureError::Recovery);
    }
    let candidates = catalog::candidates(&transaction, schema).await?;
    let names: Vec<TableName> = candidates.iter().map(|candidate| candidate.name.clone()).collect();
    patterns.all_match(&names)?;
    let matched: Vec<_> = candidates.iter().filter(|candidate| patterns.matches(&candidate.name)).collect();
    if let Some(entry) =
        config.table.iter().find(|entry| !matched.iter().any(|found| found.name.to_string() == entry.name))
    {
        return Err(CaptureError::Pattern {
            pattern: entry.name.clone(),
            why: "has a [[table]] entry but is not captured; correct its name or add a pattern",
        });
    }
    // A partition comes with its table.
    let oids = matched
        .iter()
        .filter(|leaf| !matched.iter().any(|root| leaf.root == Some(root.oid) && root.oid != leaf.oid))
        .map(|candidate| candidate.oid);
    let sources = catalog::describe(&transaction, schema, oids).await?;
    let registered = if state.tables { registry::read(&transaction, schema).await? } else { Vec::new() };
    let gaps = if state.gaps { gaps::gaps(&transaction, schema).await? } else { Vec::new() };
    let history = History::read(&transaction, config, &state).await?;
    let moved = partitions::moved(&transaction, schema, &registered, &sources).await?;
    let wanted_salt = config.mask.salt.as_ref();
    let salt = catalog::salt(&transaction, schema, &state).await?;
    let salted = wanted_salt.is_some() || state.salt.is_some();
    let resalted =
        salt.as_ref().is_some_and(|salt| wanted_salt.is_some_and(|new| new.expose_secret() != salt));

    let mut decided = Decided {
        setup: [setup(schema, &state), ddl::setup(config, &patterns, &state, &history)].concat(),
        events: state.events,
        salt: None,
        notes: Vec::new(),
        tables: Vec::new(),
        refused: Vec::new(),
        kept: Vec::new(),
    };
    if state.sequence == Some(false) || registered.iter().any(Registered::sequence_altered) {
        decided.setup.push(render(
            include_str!("../../sql/capture/seal_sequence.sql"),
            &[("schema", &quote_ident(schema)), ("schema_literal", &quote_literal(schema))],
        ));
        decided
            .notes
            .push(format!("accepted: the sequence {schema}.cdc_id_seq was altered since tripline init"));
    }
    let mut taken: Vec<(String, u32)> = Vec::new();
    for source in sources {
        let row = find(&registered, &source);
        let log_table = match row {
            Some(row) => row.log_table.clone(),
            None => name::log_table(&source.name, |name| {
                history.relations.contains(name)
                    || registered.iter().any(|row| row.log_table == name)
                    || taken.iter().any(|(other, _)| other == name)
            }),
        };
        taken.push((log_table.clone(), source.oid));
        let entry = config.table.iter().find(|entry| entry.name == source.name.to_string());
        let selection = entry.map(TableOverride::selection).unwrap_or_default();
        let gap = gaps.iter().find(|gap| gap.relation == source.oid);
        let most_bytes = entry.and_then(TableOverride::stops_at_bytes);
        let append_only = entry.is_some_and(|entry| entry.append_only);
        // A table without a key is logged anew; the rows of others are copied past the log.
        let relogged =
            append_only && config.source.snapshot != Snapshot::Never && gap.is_some_and(|gap| gap.open);
        let rows_bytes = if relogged { append::size(&transaction, &source).await? } else { 0 };
        let (stop, ends_gap) = gaps::guarded(gap, most_bytes, rows_bytes);
        let wanted = Wanted {
            stop,
            ends_gap,
            mode: entry.and_then(|entry| entry.mode).unwrap_or(config.capture.mode),
            key_index: entry.and_then(|entry| entry.key_index.as_deref()),
            append_only,
            selection: &selection,
            former: history.version(&source.name),
        };
        let mut plan = match plan::plan(schema, &source, wanted, row, &log_table) {
            Ok(plan) => plan,
            Err(refusal) => {
                decided.refused.push(refusal);
                continue;
            }
        };
        plan.notes.extend(gaps::stays_full(gap, most_bytes, rows_bytes));
        for what in row.and_then(|row| moved.get(&row.relation)).into_iter().flatten() {
            plan.accepted.push(format!("accepted: {what}"));
            plan.needs_snapshot = true;
        }
        if selection.hashes() && !salted {
            decided.refused.push(Refusal {
                table: source.name,
                why: "it has a hash as a mask and there is no salt".into(),
                way_out: "set mask.salt or mask.salt_file".into(),
            });
            continue;
        }
        if !plan.statements.is_empty()
            && let Some(refusal) = probe::probe(&mut transaction, &source, &selection).await?
        {
            decided.refused.push(refusal);
            continue;
        }
        if selection.hashes() {
            if salt.is_none() || resalted {
                decided.salt = wanted_salt.cloned();
            }
            if resalted && row.is_some_and(|row| row.selection == selection) {
                plan.notes.push(plan::stale(&source.name, "mask.salt changed"));
                plan.needs_snapshot = true;
            }
        }
        if wanted.append_only {
            if plan.needs_snapshot
                && let Some(refusal) =
                    append::log_existing(&transaction, config, &source, &selection, &mut plan).await?
            {
                decided.refused.push(refusal);
                continue;
            }
        } else if plan.needs_snapshot
            && plan.action != Action::Installed
            && config.source.snapshot == Snapshot::Initial
        {
            plan.statements.push(missed(config, &source));
        }
        decided.tables.push((source, plan));
    }
    refuse_shared_names(&mut decided, &registered, config);
    if decided.salt.is_some() && state.salt.is_none() {
        let salt_table = include_str!("../../sql/capture/salt_table.sql");
        decided.setup.push(render(salt_table, &[("schema", &quote_ident(schema))]));
    }
    decided.kept = registered
        .iter()
        .filter(|row| !taken.iter().any(|(log_table, _)| *log_table == row.log_table))
        .map(|row| row.name.clone())
        .collect();
    Ok(decided)
}

/// Requests the rows of a table that may have missed changes, in the transaction that makes its capture whole.
fn missed(config: &Config, source: &Source) -> String {
    render(
        include_str!("../../sql/capture/missed.sql"),
        &[
            ("schema", &quote_ident(&config.capture.schema)),
            ("relation", &source.oid.to_string()),
            ("table_literal", &quote_literal(&source.name.quoted())),
            ("pipeline", &quote_literal(&config.pipeline)),
        ],
    )
}

/// Refuses tables that would have the same name at the targets as another one.
fn refuse_shared_names(decided: &mut Decided, registered: &[Registered], config: &Config) {
    let kept = registered.iter().map(|row| (row.relation, &row.name));
    let mut taken: Vec<(TableName, u32, TableName)> = kept
        .filter(|(oid, name)| {
            !decided.tables.iter().any(|(source, _)| source.oid == *oid || source.name == **name)
        })
        .map(|(oid, name)| (config.rename.name(name), oid, name.clone()))
        .collect();
    let tables = std::mem::take(&mut decided.tables);
    for (source, plan) in tables {
        let there = config.rename.name(&source.name);
        match taken.iter().find(|(name, ..)| *name == there) {
            Some((_, _, other)) => decided.refused.push(Refusal {
                table: source.name,
                why: format!("it would be {there} at the targets, as {other} is"),
                way_out: "correct [[rename]]".into(),
            }),
            None => {
                taken.push((there, source.oid, source.name.clone()));
                decided.tables.push((source, plan));
            }
        }
    }
}

/// The registry's row of a table: by object id; by name where the table of that id is gone.
fn find<'a>(registered: &'a [Registered], source: &Source) -> Option<&'a Registered> {
    let by_oid = registered.iter().find(|row| row.relation == source.oid);
    by_oid.or_else(|| registered.iter().find(|row| row.name == source.name && !row.exists))
}

/// The statements for what is missing of schema, sequence and registry.
fn setup(schema: &str, state: &State) -> Vec<String> {
    let sequence = quote_literal(&TableName::new(schema, "cdc_id_seq").quoted());
    let mut setup = Vec::new();
    let mut add = |missing: bool, template: &str| {
        if missing {
            setup
                .push(render(template, &[("schema", &quote_ident(schema)), ("sequence_literal", &sequence)]));
        }
    };
    add(!state.schema, include_str!("../../sql/capture/schema.sql"));
    add(state.sequence.is_none(), include_str!("../../sql/capture/sequence.sql"));
    add(state.sequence == Some(false), include_str!("../../sql/capture/sequence_repair.sql"));
    add(!state.tables, include_str!("../../sql/capture/tables.sql"));
    add(state.tables && !state.seal, include_str!("../../sql/capture/seal_column.sql"));
    add(state.tables && !state.selection, include_str!("../../sql/capture/selection_column.sql"));
    add(!state.pipelines, include_str!("../../sql/capture/pipelines.sql"));
    add(!state.snapshots, include_str!("../../sql/capture/snapshots.sql"));
    add(!state.retention, include_str!("../../sql/capture/retention.sql"));
    add(!state.gaps, include_str!("../../sql/capture/gaps.sql"));
    setup
}

async fn set_up(client: &mut Client, schema: &str, decided: &Decided) -> Result<(), CaptureError> {
    let failed = |source| CaptureError::Query { what: "create the schema of capture".into(), source };
    let transaction = query::begin(client).await?;
    transaction.batch_execute(&decided.setup.concat()).await.map_err(failed)?;
    if let Some(salt) = &decided.salt {
        let sql = render(include_str!("../../sql/capture/salt.sql"), &[("schema", &quote_ident(schema))]);
        transaction.execute(&sql, &[&salt.expose_secret()]).await.map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)
}

fn script(source: &Source, plan: &Plan) -> String {
    lock(source, plan.locks) + &plan.statements.concat()
}

/// The statement that keeps DDL away from a table, and writers too where triggers are created.
fn lock(source: &Source, writers: bool) -> String {
    let template = match writers {
        true => include_str!("../../sql/capture/lock.sql"),
        false => include_str!("../../sql/capture/lock_shape.sql"),
    };
    render(template, &[("table", &source.name.quoted())])
}

/// Tries again while others hold the lock of `table`.
pub(super) async fn with_patience(
    table: &TableName,
    mut attempt: impl AsyncFnMut() -> Result<(), CaptureError>,
) -> Result<(), CaptureError> {
    let mut attempts = 1;
    loop {
        let error = match attempt().await {
            Err(CaptureError::Query { source, .. }) if is_busy(&source) => source,
            done => return done,
        };
        if attempts == LOCK_ATTEMPTS {
            return Err(CaptureError::Busy { table: table.clone(), attempts, source: error });
        }
        tokio::time::sleep(Duration::from_millis(LOCK_PAUSE_MS << (attempts - 1))).await;
        attempts += 1;
    }
}

async fn install(
    client: &mut Client,
    schema: &str,
    source: &Source,
    plan: &Plan,
) -> Result<(), CaptureError> {
    let failed =
        |error| CaptureError::Query { what: format!("install capture of {}", source.name), source: error };
    let changed = || CaptureError::Changed { table: source.name.clone() };
    let transaction = query::begin(client).await?;
    // Who may create triggers need not be one who may write the table, as LOCK TABLE asks for.
    let may_lock = may_lock(&transaction, source.oid).await?;
    transaction
        .batch_execute(&lock(source, plan.locks && may_lock))
        .await
        .map_err(|error| unless_gone(error, &source.name, failed))?;
    let now = catalog::describe(&transaction, schema, [source.oid]).await?;
    // The table may look the same and have been followed through changes since: the log table is another one then.
    let relation = plan.known.as_ref().map_or(source.oid, |(relation, ..)| *relation);
    let row = format!(
        "select pg_catalog.json_build_array(t.relation::pg_catalog.int8, t.version, t.definition) from {}.tables t \
         where t.relation = {relation}",
        quote_ident(schema)
    );
    let known: Option<(u32, u32, String)> = query::json(&transaction, "the registry", &row).await?;
    if now.first() != Some(source) || known != plan.known {
        return Err(changed());
    }
    transaction.batch_execute(&plan.statements.concat()).await.map_err(failed)?;
    if plan.locks && !may_lock {
        locked_since(&transaction, schema, source).await?;
    }
    transaction.commit().await.map_err(failed)
}

/// Tells whether the role may lock a table against its writers.
pub(super) async fn may_lock(client: &impl GenericClient, relation: u32) -> Result<bool, CaptureError> {
    let sql = format!(
        "select pg_catalog.to_json(pg_catalog.has_table_privilege({relation}, 'update, delete, truncate'))"
    );
    query::json(client, "the right to lock a table", &sql).await
}

/// Makes sure that the triggers which were just created hold the lock that could not be taken before them, and that the
/// table was not altered before they did. Existing rows are logged behind the triggers, so under that lock.
async fn locked_since(
    transaction: &Transaction<'_>,
    schema: &str,
    source: &Source,
) -> Result<(), CaptureError> {
    let sql = render(include_str!("../../sql/capture/locked.sql"), &[("relation", &source.oid.to_string())]);
    if !query::json::<bool>(transaction, "the locks", &sql).await? {
        return Err(no_lock(transaction, &source.name).await);
    }
    let mut before = source.clone();
    let mut now = catalog::describe(transaction, schema, [source.oid]).await?;
    // The triggers on partitions are ours.
    before
        .leaves
        .iter_mut()
        .chain(now.iter_mut().flat_map(|now| &mut now.leaves))
        .for_each(|leaf| leaf.ready = true);
    if now.first() != Some(&before) {
        return Err(CaptureError::Changed { table: source.name.clone() });
    }
    Ok(())
}

/// Says which right is missing to lock a table.
pub(super) async fn no_lock(client: &impl GenericClient, table: &TableName) -> CaptureError {
    const ROLE: &str = "select pg_catalog.to_json(current_user)";
    match query::json(client, "the role", ROLE).await {
        Ok(role) => CaptureError::NoLock { table: table.clone(), role },
        Err(error) => error,
    }
}

/// Says that a table which was to be locked is another one now, where that is what an error says.
pub(super) fn unless_gone(
    error: tokio_postgres::Error,
    table: &TableName,
    failed: impl FnOnce(tokio_postgres::Error) -> CaptureError,
) -> CaptureError {
    match error.code() {
        Some(&SqlState::UNDEFINED_TABLE) => CaptureError::Changed { table: table.clone() },
        _ => failed(error),
    }
}

fn is_busy(error: &tokio_postgres::Error) -> bool {
    matches!(error.code(), Some(&SqlState::LOCK_NOT_AVAILABLE | &SqlState::T_R_DEADLOCK_DETECTED))
}
