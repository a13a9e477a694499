//! The pipeline's lock at the source: one publisher is active, others wait as standbys, on whichever machine.
//!
//! An advisory lock of a session that does nothing else: it goes when the process or its machine does. Kafka's fencing and
//! the claims on the cuts topic keep a publisher harmless that lost it without noticing.

use std::time::Duration;

use tokio_postgres::{Client, SimpleQueryMessage};

use super::TailError;
use crate::config::{Config, Delivery};
use crate::session::connect;
use crate::table::quote_literal;

/// How often a standby asks for the lock.
const INTERVAL: Duration = Duration::from_millis(500);
/// How often at first: after a lost connection the server soon notices that the lock's owner is gone.
const INTERVAL_AT_FIRST: Duration = Duration::from_millis(20);
/// Attempts before a line says that this is a standby.
const ATTEMPTS_AT_FIRST: u32 = 50;
/// Looks at which server process answers, when asking for a pooler.
const LOOKS: u32 = 3;
/// Ends the session, and the lock with it, 30 s after the machine of this process is gone.
const KEEPALIVE: &str = "set tcp_keepalives_idle = 10; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 4; \
     set tcp_user_timeout = 30000; \
     select pg_catalog.set_config(name, '0', false) from pg_catalog.pg_settings where name = 'idle_session_timeout'";

/// The lock, held until this is dropped.
#[derive(Debug)]
pub struct SourceLock {
    /// `None` behind a transaction pooler, where a lock would stay with a session of the pool.
    client: Option<Client>,
}

impl SourceLock {
    /// Waits until no other publisher of the pipeline is at work at this source. Dropping the future gives the wait up.
    ///
    /// Behind a transaction pooler there is no lock: with `exactly_once` Kafka keeps publishers apart and this goes on,
    /// with `at_least_once` it is an error.
    pub async fn wait(config: &Config, url: &str) -> Result<Self, TailError> {
        let client = connect("source", url, "publish lock").await?;
        if is_pooled(&client, url).await? {
            if config.kafka.delivery == Delivery::AtLeastOnce {
                return Err(TailError::Pooled);
            }
            tracing::warn!(
                "source.url leads through a transaction pooler: no lock at the source, Kafka alone keeps a second publisher \
                 of this pipeline away"
            );
            return Ok(Self { client: None });
        }
        run(&client, KEEPALIVE).await?;
        let key = key(config);
        for attempt in 0.. {
            if take(&client, &key).await? {
                break;
            }
            if attempt == ATTEMPTS_AT_FIRST {
                let holder = value(&client, &holder(&key)).await?.unwrap_or_default();
                tracing::info!(holder, "another publisher of this pipeline is at work: waiting as a standby");
            }
            let wait = if attempt < ATTEMPTS_AT_FIRST { INTERVAL_AT_FIRST } else { INTERVAL };
            tokio::time::sleep(wait).await;
        }
        Ok(Self { client: Some(client) })
    }

    /// Takes the lock for a command, which does not wait. Behind a transaction pooler there is none to take.
    pub async fn take(config: &Config, url: &str) -> Result<Self, TailError> {
        let client = connect("source", url, "uninstall lock").await?;
        if is_pooled(&client, url).await? {
            return Ok(Self { client: None });
        }
        let key = key(config);
        if !take(&client, &key).await? {
            let holder = value(&client, &holder(&key)).await?.unwrap_or_default();
            return Err(TailError::AtWork { pipeline: config.pipeline.clone(), holder });
        }
        Ok(Self { client: Some(client) })
    }

    /// Fails when the session that holds the lock is gone.
    pub fn check(&self) -> Result<(), TailError> {
        let lost = self.client.as_ref().is_some_and(Client::is_closed);
        if lost { Err(TailError::LockLost) } else { Ok(()) }
    }
}

/// The lock's number, as SQL.
fn key(config: &Config) -> String {
    let name = quote_literal(&format!("tripline publish {}", config.pipeline));
    format!("pg_catalog.hashtextextended({name}, 0)")
}

async fn take(client: &Client, key: &str) -> Result<bool, TailError> {
    let taken = value(client, &format!("select pg_catalog.pg_try_advisory_lock({key})")).await?;
    Ok(taken.as_deref() == Some("t"))
}

/// The statement that names the session with the lock.
fn holder(key: &str) -> String {
    format!(
        "select pg_catalog.format('pid %s from %s since %s', a.pid, coalesce(pg_catalog.host(a.client_addr), 'a local socket'), \
         pg_catalog.to_char(a.backend_start at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')) \
         from pg_catalog.pg_locks l join pg_catalog.pg_stat_activity a on a.pid = l.pid \
         where l.locktype = 'advisory' and l.granted and l.objsubid = 1 \
         and l.database = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database()) \
         and (l.classid::pg_catalog.int8 << 32) | l.objid::pg_catalog.int8 = {key}"
    )
}

/// Tells whether a transaction pooler is in between: two sessions answer from one server process, or one from several.
async fn is_pooled(client: &Client, url: &str) -> Result<bool, TailError> {
    const PROCESS: &str = "select pg_catalog.pg_backend_pid()";
    let other = connect("source", url, "publish lock").await?;
    for _ in 0..LOOKS {
        let before = value(client, PROCESS).await?;
        run(&other, "begin").await?;
        let others = value(&other, PROCESS).await?;
        let after = value(client, PROCESS).await?;
        run(&other, "rollback").await?;
        if before == others || before != after {
            return Ok(true);
        }
    }
    Ok(false)
}

fn failed(source: tokio_postgres::Error) -> TailError {
    TailError::Query { what: "the publisher's lock", source }
}

async fn run(client: &Client, sql: &str) -> Result<(), TailError> {
    client.batch_execute(sql).await.map_err(failed)
}

async fn value(client: &Client, sql: &str) -> Result<Option<String>, TailError> {
    let messages = client.simple_query(sql).await.map_err(failed)?;
    Ok(messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }))
}
