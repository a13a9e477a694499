//! What holds rows back: another pipeline, a right that is missing, a lock.

use super::{SCHEMA, emptied, logged, published};
use crate::db::{run, value};
use crate::pipeline::harness::Pipeline;
use crate::pipeline::topics::Topics;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_pipeline_that_lags_loses_nothing_and_one_that_comes_late_starts() {
    let (mut pipeline, first) = published(&[("retention.keep_hours", "0")], 100).await;
    let own = pipeline.name.clone();
    emptied(&pipeline).await;
    // The log is no longer whole: a pipeline that comes now is told so, and takes it as it is.
    let second_name = format!("{own}_second");
    pipeline.set("pipeline", &second_name);
    let said = pipeline.fine("init").await;
    assert!(said.contains("the log is no longer whole"), "{said}");
    let second = pipeline.start_ready("publish").await;
    pipeline.stop(second).await;
    let at: u64 = value(
        &pipeline.from,
        &format!("select acknowledged ->> 'offset' from cdc.pipelines where pipeline = '{second_name}'"),
    )
    .await
    .parse()
    .unwrap();
    pipeline.set("pipeline", &own);
    run(&pipeline.from, "insert into t select n, 'y' from generate_series(101, 400) n").await;
    pipeline.caught_up().await;
    let acknowledged = async |name: &str| {
        let sql = format!("select acknowledged ->> 'offset' from cdc.pipelines where pipeline = '{name}'");
        value(&pipeline.from, &sql).await.parse::<u64>().unwrap()
    };
    pipeline
        .wait_until("the first has said that it has them", async || acknowledged(&own).await >= at + 300)
        .await;
    assert!(logged(&pipeline).await >= 300, "the second needs them");
    pipeline.set("pipeline", &second_name);
    let second = pipeline.start_ready("publish").await;
    pipeline.wait_until("it has published them", async || pipeline.source_is_drained().await).await;
    emptied(&pipeline).await;
    pipeline.stop(second).await;
    // It can start again, although it is registered with less than was removed before it came.
    let second = pipeline.start_ready("publish").await;
    pipeline.stop(second).await;
    let topics = Topics::new(&second_name);
    tokio::task::block_in_place(|| topics.delete_all()).unwrap();
    pipeline.set("pipeline", &own);
    pipeline.compare().await;
    pipeline.stop(first).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_is_missing_stops_nothing_but_retention_and_is_named_until_it_is_given() {
    let mut pipeline = Pipeline::create(&[("retention.keep_hours", "0")], SCHEMA).await;
    pipeline.init().await;
    let role = pipeline.source.role("reader").await;
    let grants = format!(
        "grant usage on schema public, cdc to {role}; grant select on all tables in schema cdc, public to {role};
         grant insert, update on cdc.pipelines, cdc.snapshots to {role}; grant select, usage on sequence cdc.cdc_id_seq to {role}"
    );
    run(&pipeline.from, &grants).await;
    let url = pipeline.source.url().replacen("postgres@", &format!("{role}@"), 1);
    pipeline.set("source.url", &url);
    pipeline.expect("no log rows are removed; publishing goes on");
    let daemon = pipeline.start_ready("run").await;
    run(&pipeline.from, "insert into t select n, 'x' from generate_series(1, 100) n").await;
    assert_eq!(pipeline.compare().await, 100);
    let grant = format!("run `grant delete on table cdc.t_cdc to {role}`");
    pipeline.wait_until("the right is named", async || daemon.has_logged(&grant)).await;
    let log = daemon.log().lines();
    let warned =
        log.iter().filter(|line| line.contains(" WARN ") && line.contains("no log rows are removed"));
    assert_eq!(warned.count(), 1, "once a minute");
    let check = pipeline.command("check").await;
    assert_eq!(check.code, Some(1), "{}", check.text);
    assert!(check.text.contains("retention.right") && check.text.contains("grant delete on table cdc.t_cdc"));
    run(
        &pipeline.from,
        &format!("grant delete on cdc.t_cdc to {role}; grant insert, update on cdc.retention to {role}"),
    )
    .await;
    emptied(&pipeline).await;
    pipeline.fine("check").await;
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_on_the_log_table_delays_removal_alone() {
    let (pipeline, daemon) = published(&[("retention.keep_hours", "24")], 100).await;
    let other = pipeline.source.connect().await;
    let holds =
        "insert into cdc.pipelines values ('other', '{\"offset\": 0, \"anchor\": null, \"pass\": 0}', now())";
    run(&pipeline.from, holds).await;
    super::age(&pipeline).await;
    run(&other, "begin; lock table cdc.t_cdc in share mode").await;
    run(&pipeline.from, "delete from cdc.pipelines where pipeline = 'other'").await;
    let waits = "select count(*) from pg_stat_activity where application_name = 'tripline retention'
                 and wait_event_type = 'Lock' and datname = current_database()";
    pipeline.wait_until("retention waits", async || value(&pipeline.from, waits).await == "1").await;
    pipeline.wait_until("it waits no longer", async || value(&pipeline.from, waits).await == "0").await;
    assert_eq!(logged(&pipeline).await, 100);
    run(&other, "rollback").await;
    emptied(&pipeline).await;
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_removed_where_retention_is_off() {
    let settings = [("retention.keep_hours", "0"), ("retention.enabled", "false")];
    let (mut pipeline, daemon) = published(&settings, 100).await;
    pipeline.stop(daemon).await;
    let daemon = pipeline.start_ready("run").await;
    assert_eq!(logged(&pipeline).await, 100);
    pipeline.stop(daemon).await;
    pipeline.set("retention.enabled", "true");
    let daemon = pipeline.start_ready("run").await;
    emptied(&pipeline).await;
    pipeline.stop(daemon).await;
}
