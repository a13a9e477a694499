//! Log rows are removed when nobody needs them, and not before; and what happens when a log is full.

mod full;
mod held;
mod positions;
mod removed;
mod said;

use crate::db::{run, value};
use crate::pipeline::harness::Pipeline;

/// A table and one that has no key.
const SCHEMA: &str = "create table t (id bigint primary key, v text)";

/// Makes all log rows so far look as if they had been logged two days ago, but for those that are looked up at a restart.
async fn age(pipeline: &Pipeline) {
    let anchor =
        "select coalesce(min((p.acknowledged ->> 'anchor')::int8), 9223372036854775807) from cdc.pipelines p";
    let tables = crate::db::rows(&pipeline.from, "select quote_ident(log_table) from cdc.tables").await;
    for table in tables {
        let sql = format!(
            "update cdc.{} set cdc_at = cdc_at - interval '2 days' where cdc_id < ({anchor})",
            table[0]
        );
        run(&pipeline.from, &sql).await;
    }
}

/// Counts the rows of `cdc.t_cdc`.
async fn logged(pipeline: &Pipeline) -> u64 {
    value(&pipeline.from, "select count(*) from cdc.t_cdc").await.parse().unwrap()
}

/// How far rows were removed; 0 when none were.
async fn removed_to(pipeline: &Pipeline) -> u64 {
    let sql = "select coalesce(max(removed_to), 0) from cdc.retention";
    value(&pipeline.from, sql).await.parse().unwrap()
}

/// Waits until at most the rows are left that are looked up at a restart.
async fn emptied(pipeline: &Pipeline) {
    pipeline.wait_until("old log rows are removed", async || logged(pipeline).await <= 8).await;
}

/// A pipeline that keeps nothing, has published `rows` rows, and runs.
async fn published(settings: &[(&str, &str)], rows: u64) -> (Pipeline, crate::pipeline::daemon::Daemon) {
    let pipeline = Pipeline::create(settings, SCHEMA).await;
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    run(&pipeline.from, &format!("insert into t select n, 'x' from generate_series(1, {rows}) n")).await;
    pipeline.caught_up().await;
    (pipeline, daemon)
}
