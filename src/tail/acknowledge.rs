//! Tells the source how far the pipeline is, so that nobody deletes log rows that it still needs.

use tokio_postgres::error::SqlState;

use super::postgres::Session;
use super::{Tail, TailError};
use crate::capture;
use crate::config::Config;
use crate::position::{Anchor, Position};
use crate::session::Client;
use crate::table::{quote_ident, quote_literal};

/// What is said of a position that is stored.
#[derive(Debug, Clone)]
pub struct Reached {
    /// The position.
    pub position: Position,
    /// The lowest `cdc_id` of the anchors that are stored with it.
    anchor: Option<u64>,
}

impl Reached {
    /// Takes a position and the anchors that are stored with it.
    pub fn new(position: Position, anchors: &[Anchor]) -> Self {
        Self { position, anchor: anchors.iter().map(|anchor| anchor.cdc_id).min() }
    }

    /// Registers it. Inside a pass, B is where the pass began.
    async fn write(&self, client: &Client, schema: &str, pipeline: &str) -> Result<(), TailError> {
        let Position { pass, base, offset, inside, .. } = &self.position;
        let number = |number: Option<u64>| number.map_or("null".to_owned(), |number| number.to_string());
        let sql = include_str!("../../sql/tail/acknowledge.sql")
            .replace("{{schema}}", &quote_ident(schema))
            .replace("{{pipeline}}", &quote_literal(pipeline))
            .replace("{{base}}", &quote_literal(&base.to_string()))
            .replace("{{offset}}", &offset.to_string())
            .replace("{{anchor}}", &number(self.anchor))
            .replace("{{pass}}", &pass.to_string())
            .replace("{{part}}", &number(inside.as_ref().map(|inside| inside.part.into())));
        client.batch_execute(&sql).await.map_err(|source| match source.code() {
            Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                TailError::NotRegistered { registry: format!("{}.pipelines", quote_ident(schema)) }
            }
            _ => TailError::Query { what: "registering the pipeline", source },
        })
    }
}

impl Tail {
    /// Registers the pipeline with the position where it starts. Refuses one that misses what retention has removed.
    pub async fn register(&mut self, reached: &Reached) -> Result<(), TailError> {
        let (client, schema, pipeline) = (self.client(), &self.schema, &self.pipeline);
        under_lock(client, schema, async || {
            if let Some(removed) = capture::removed(client, schema).await? {
                let registered = capture::registration(client, schema, pipeline).await?;
                if removed.is_missed_at(&reached.position, registered.as_ref()) {
                    let (pipeline, offset) = (pipeline.clone(), reached.position.offset);
                    return Err(TailError::Behind { pipeline, offset, removed_to: removed.to });
                }
                if reached.position.is_start()
                    && let Some(table) = capture::cut_short(client, schema, &self.captured).await?
                {
                    return Err(TailError::CutShort { table });
                }
            }
            reached.write(client, schema, pipeline).await
        })
        .await?;
        self.end_load(&reached.position).await
    }

    /// Says how far the pipeline is by now: a position that Kafka confirmed and that is stored.
    pub async fn acknowledge(&mut self, reached: &Reached) -> Result<(), TailError> {
        reached.write(self.client(), &self.schema, &self.pipeline).await?;
        self.end_load(&reached.position).await
    }
}

/// Registers the position to which a person moves a pipeline back, so that nothing behind it is removed any more. Refused
/// where something was, unless it is the start.
pub async fn register_back(config: &Config, url: &str, position: &Position) -> Result<(), TailError> {
    let (schema, pipeline) = (&config.capture.schema, &config.pipeline);
    let session = Session::open(url, schema, config.tail.lock_timeout_ms).await?;
    let client = session.client();
    under_lock(client, schema, async || {
        let removed = capture::removed(client, schema).await?;
        if let Some(removed) = removed.filter(|removed| !position.is_start() && position.offset < removed.to)
        {
            return Err(TailError::removed(&removed, format!("cdc_id {}", position.offset)));
        }
        if position.is_start() && capture::registration(client, schema, pipeline).await?.is_none() {
            return Ok(());
        }
        Reached::new(position.clone(), &[]).write(client, schema, pipeline).await
    })
    .await
}

/// Does something that rests on what retention has removed so far: it removes nothing meanwhile.
async fn under_lock(
    client: &Client,
    schema: &str,
    work: impl AsyncFnOnce() -> Result<(), TailError>,
) -> Result<(), TailError> {
    if !capture::records_removal(client, schema).await? {
        return work().await;
    }
    let failed = |source: tokio_postgres::Error| match source.code() {
        Some(&SqlState::LOCK_NOT_AVAILABLE) => TailError::Locked,
        _ => TailError::Query { what: "registering the pipeline", source },
    };
    let begin = format!(
        "begin isolation level read committed; set local lock_timeout = '10s'; select pg_catalog.pg_advisory_xact_lock({})",
        capture::retention_key(schema)
    );
    let begun = client.batch_execute(&begin).await.map_err(failed);
    let done = match begun {
        Ok(()) => work().await,
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => client.batch_execute("commit").await.map_err(failed),
        Err(error) => {
            // The error says more than that the session is gone with it.
            client.batch_execute("rollback").await.ok();
            Err(error)
        }
    }
}
