//! The destination side as daemons: one task per target, each with its own consumer and positions.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::supervisor::Ready;
use crate::apply::PostgresTarget;
use crate::config::{Config, ConfigError, Consistency};
use crate::consume::{self, ConsumeError, GroupOffsets, Limits, Positions, Progress, TargetError};
use crate::error::Error;
use crate::mirror::{ClickHouseTarget, Policies, ProgressStore};
use crate::telemetry::TargetWatch;

/// What is seen of an applier.
pub(super) const STAGES: [&str; 1] = ["apply"];

/// Returns the destination PostgreSQL as it is configured; connects when it is used.
pub(crate) fn postgres_target(config: &Config) -> Result<Option<PostgresTarget>, ConfigError> {
    let url = config.destination_url()?;
    let target = |url| PostgresTarget::new(url, &config.pipeline, &config.apply).renamed(&config.rename);
    Ok(url.map(target))
}

/// Returns the ClickHouse as it is configured; connects when it is used.
pub(crate) fn clickhouse_target(config: &Arc<Config>) -> Option<ClickHouseTarget<GroupStore>> {
    let target = |clickhouse| {
        let target = ClickHouseTarget::new(clickhouse, GroupStore::new(config));
        target.with_policies(Policies::new(config)).renamed(&config.rename)
    };
    config.clickhouse.as_ref().map(target)
}

/// Applies to the destination PostgreSQL until the stop.
pub(super) async fn postgres(
    config: Arc<Config>,
    stop: CancellationToken,
    ready: Ready,
) -> Result<(), Error> {
    let Some(mut target) = postgres_target(&config)? else { return Ok(()) };
    let limits = Limits {
        rows: config.apply.batch_rows,
        bytes: config.apply.batch_bytes,
        wait: Duration::from_millis(config.apply.batch_ms),
        uncommitted: match (config.apply.consistency, config.apply.max_cut_rows) {
            (Consistency::Key, _) => 0,
            (Consistency::Cut, 0) => u64::MAX,
            (Consistency::Cut, rows) => rows,
        },
        thin: true,
    };
    let watch = watch(ready);
    match config.apply.consistency {
        Consistency::Cut => consume::run(&config, &mut target, limits, &stop, &watch).await?,
        Consistency::Key => consume::run_shared(&config, &mut target, limits, &stop, &watch).await?,
    }
    Ok(())
}

/// Mirrors into ClickHouse until the stop.
pub(super) async fn clickhouse(
    config: Arc<Config>,
    stop: CancellationToken,
    ready: Ready,
) -> Result<(), Error> {
    let Some(mut target) = clickhouse_target(&config) else { return Ok(()) };
    let limits = Limits {
        rows: config.mirror.batch_rows,
        bytes: config.mirror.batch_bytes,
        wait: Duration::from_millis(config.mirror.batch_ms),
        uncommitted: 0,
        thin: true,
    };
    consume::run(&config, &mut target, limits, &stop, &watch(ready)).await?;
    Ok(())
}

fn watch(ready: Ready) -> Arc<TargetWatch> {
    let task = Arc::clone(ready.task());
    Arc::new(TargetWatch::new(&task, move || ready.set()))
}

/// The mirror's progress in Kafka's consumer group.
pub(crate) struct GroupStore {
    config: Arc<Config>,
    offsets: Option<Arc<GroupOffsets>>,
    /// Where every partition stands: committed as a whole, so that it is one state, whoever else commits, and so that no
    /// offset of a partition at rest expires.
    positions: Positions,
}

impl GroupStore {
    pub(crate) fn new(config: &Arc<Config>) -> Self {
        Self { config: Arc::clone(config), offsets: None, positions: Positions::new() }
    }
}

impl ProgressStore for GroupStore {
    async fn load(&mut self) -> Result<Positions, TargetError> {
        let config = Arc::clone(&self.config);
        let opened = tokio::task::spawn_blocking(move || {
            let offsets = GroupOffsets::open(&config, &consume::group(&config, "clickhouse"))?;
            let positions = offsets.load()?;
            Ok((Arc::new(offsets), positions))
        });
        let (offsets, positions) = answer(opened.await, "reading the group's offsets")?;
        self.offsets = Some(offsets);
        self.positions = positions.clone();
        Ok(positions)
    }

    async fn save(&mut self, progress: &[Progress]) -> Result<(), TargetError> {
        let Some(offsets) = &self.offsets else { return Ok(()) };
        let moved = progress.iter().map(|step| ((step.topic.clone(), step.partition), step.next));
        self.positions.extend(moved);
        let (offsets, positions) = (Arc::clone(offsets), self.positions.clone());
        let saved = tokio::task::spawn_blocking(move || offsets.save(&positions));
        answer(saved.await, "committing the group's offsets")
    }
}

fn answer<T>(
    ended: Result<Result<T, ConsumeError>, tokio::task::JoinError>,
    what: &str,
) -> Result<T, TargetError> {
    let unavailable = |source: Box<dyn std::error::Error + Send + Sync>| TargetError::Unavailable {
        target: "clickhouse",
        what: what.to_owned(),
        source,
    };
    match ended {
        Ok(result) => result.map_err(|error| unavailable(error.into())),
        Err(panic) => Err(unavailable(panic.into())),
    }
}
