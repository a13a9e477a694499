//! The session at the destination: settings, the one applier's lock, the applier's own tables.

use std::time::Duration;

use tokio_postgres::{Client, GenericClient, SimpleQueryMessage};
use tracing::{debug, info};

use super::super::sql;
use super::error::{connecting, setup};
use crate::consume::TargetError;
use crate::session::{connect, exact_text_sql};

const SETTINGS: &str = include_str!("../../../sql/apply/session.sql");
pub(super) const SCHEMA: &str = include_str!("../../../sql/apply/schema.sql");
const STATE: &str = include_str!("../../../sql/apply/state.sql");

/// How often a standby asks for the lock.
const LOCK_INTERVAL: Duration = Duration::from_millis(500);
/// How often at first: after a lost connection the server soon notices that the lock's owner is gone.
const LOCK_INTERVAL_AT_FIRST: Duration = Duration::from_millis(20);
/// Attempts before a line says that this is a standby.
const ATTEMPTS_AT_FIRST: u32 = 50;

/// An open session that holds the pipeline's lock.
#[derive(Debug)]
pub(super) struct Session {
    /// The connection.
    pub(super) client: Client,
    /// The role may create temporary tables.
    pub(super) may_stage: bool,
    /// The destination's foreign keys and ordinary triggers are quiet.
    pub(super) replica: bool,
    /// What the session is in.
    pub(super) state: State,
    /// Number of the next stage table.
    pub(super) next_stage: u32,
}

/// What a session is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// No transaction.
    Idle,
    /// A transaction with one or more whole batches, which waits for the end of its pass.
    Open,
    /// A batch is under way: left behind, nobody knows.
    Busy,
}

/// Opens a session with exact text, without a lock.
pub(super) async fn open(url: &str, purpose: &str) -> Result<Client, TargetError> {
    let client = connect("destination", url, purpose).await.map_err(connecting)?;
    client
        .batch_execute(&format!("{}\n{SETTINGS}", exact_text_sql("session")))
        .await
        .map_err(|error| setup("cannot set up the session", error))?;
    Ok(client)
}

/// Tells whether the applier's own tables are there.
pub(super) async fn is_installed(client: &impl GenericClient) -> Result<bool, TargetError> {
    let state = client.query_one(STATE, &[]).await.map_err(|error| setup("cannot look around", error))?;
    Ok(state.get(0))
}

/// Opens a session without a lock, and makes sure that the applier's own tables are there.
pub(super) async fn open_installed(url: &str) -> Result<Client, TargetError> {
    let client = open(url, "init").await?;
    install_if_missing(&client).await?;
    Ok(client)
}

/// Opens the applier's session: waits for its lock, and makes sure that its tables are there.
///
/// `shared`: other appliers of the kind may be at work at the same time, but none that is alone.
pub(super) async fn open_applier(url: &str, pipeline: &str, shared: bool) -> Result<Session, TargetError> {
    let client = open(url, "apply").await?;
    let replica = replica_role(&client).await?;
    wait_for_lock(&client, pipeline, shared).await?;
    let may_stage = install_if_missing(&client).await?;
    Ok(Session { client, may_stage, replica, state: State::Idle, next_stage: 0 })
}

/// Makes sure that the applier's own tables are there; returns whether the role may create stage tables.
async fn install_if_missing(client: &Client) -> Result<bool, TargetError> {
    let state = client.query_one(STATE, &[]).await.map_err(|error| setup("cannot look around", error))?;
    if !state.get::<_, bool>(0) {
        install(client).await?;
    }
    Ok(state.get(1))
}

/// Keeps the destination's triggers and foreign keys quiet, and returns whether the role may.
async fn replica_role(client: &Client) -> Result<bool, TargetError> {
    match client.batch_execute("set session session_replication_role = replica").await {
        Ok(()) => Ok(true),
        Err(error) if error.code().is_some_and(|code| code.code() == "42501") => {
            debug!("the role may not set session_replication_role: triggers and foreign keys stay active");
            Ok(false)
        }
        Err(error) => Err(setup("cannot set session_replication_role", error)),
    }
}

/// Waits until no other applier of the pipeline is at work here. Dropping the future gives the wait up.
async fn wait_for_lock(client: &Client, pipeline: &str, shared: bool) -> Result<(), TargetError> {
    let kind = if shared { "_shared" } else { "" };
    let statement = format!("select pg_try_advisory_lock{kind}({})::text", sql::lock_key(pipeline));
    let failed = |error| setup("cannot take the applier's lock", error);
    for attempt in 0.. {
        let answer = client.simple_query(&statement).await.map_err(failed)?;
        if answer.iter().any(|m| matches!(m, SimpleQueryMessage::Row(row) if row.get(0) == Some("true"))) {
            break;
        }
        if attempt == ATTEMPTS_AT_FIRST {
            info!(pipeline, "another applier is at work at this destination: waiting as a standby");
        }
        let wait = if attempt < ATTEMPTS_AT_FIRST { LOCK_INTERVAL_AT_FIRST } else { LOCK_INTERVAL };
        tokio::time::sleep(wait).await;
    }
    Ok(())
}

/// Creates schema and tables; appliers of other pipelines may be doing the same.
async fn install(client: &Client) -> Result<(), TargetError> {
    let key = "hashtextextended('tripline install', 0)";
    // The schema may be there without the right to create it: then CREATE SCHEMA IF NOT EXISTS would be an error.
    let there = client
        .query_one("select to_regnamespace('tripline') is not null", &[])
        .await
        .map_err(|error| setup("cannot look around", error))?;
    let schema = if there.get(0) {
        SCHEMA.replace("create schema if not exists tripline;", "")
    } else {
        SCHEMA.into()
    };
    let script = format!("begin; select pg_advisory_xact_lock({key}); {schema} commit;");
    client.batch_execute(&script).await.map_err(|error| {
        let way_out = "cannot create tripline.positions and tripline.cuts; grant CREATE on the database, or run \
                       sql/apply/schema.sql as its owner and grant SELECT, INSERT, UPDATE, DELETE on them";
        setup(way_out, error)
    })
}
