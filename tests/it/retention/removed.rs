//! What is removed, and that nothing of it is missed.

use super::{age, emptied, logged, published, removed_to};
use crate::db::{rows, run, value};
use crate::pipeline::harness::Pipeline;
use crate::pipeline::load::{Load, SHOP, seed};

/// librdkafka says so while the coordinator still ends the transaction of the one that was killed, and asks again.
const FENCING: &str = "Failed to acquire transactional PID";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_old_rows_that_every_pipeline_has_published_are_removed() {
    let (pipeline, daemon) = published(&[], 100).await;
    let other = |offset: u32| {
        format!(
            "insert into cdc.pipelines values ('other', '{{\"offset\": {offset}, \"anchor\": null, \"pass\": 1}}', now())
             on conflict (pipeline) do update set acknowledged = excluded.acknowledged"
        )
    };
    run(&pipeline.from, &other(20)).await;
    age(&pipeline).await;
    // What is young stands in the way of what lies behind it.
    run(&pipeline.from, "update cdc.t_cdc set cdc_at = now() where cdc_id = 10").await;
    pipeline.wait_until("9 rows are removed", async || logged(&pipeline).await == 91).await;
    assert_eq!(removed_to(&pipeline).await, 9);
    run(&pipeline.from, "update cdc.t_cdc set cdc_at = now() - interval '25 hours' where cdc_id = 10").await;
    pipeline.wait_until("20 rows are removed", async || logged(&pipeline).await == 80).await;
    // One that does not say what it looks up at a restart holds everything.
    run(
        &pipeline.from,
        "insert into cdc.pipelines values ('old', '{\"base\": \"9:9:\", \"offset\": 90}', now())",
    )
    .await;
    run(&pipeline.from, &other(60)).await;
    run(&pipeline.from, "insert into t values (101, 'later')").await;
    pipeline.caught_up().await;
    assert_eq!(removed_to(&pipeline).await, 20);
    run(&pipeline.from, "delete from cdc.pipelines where pipeline = 'old'").await;
    pipeline.wait_until("60 rows are removed", async || removed_to(&pipeline).await == 60).await;
    let noted = rows(&pipeline.from, "select removed_to, rows, removed_xid::text from cdc.retention").await;
    assert_eq!(noted[0][..2], ["60", "60"]);
    let xid = value(&pipeline.from, "select cdc_txid from cdc.t_cdc where cdc_id = 61").await;
    assert_eq!(noted[0][2], xid, "one statement logged them all");
    pipeline.compare().await;
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rows_that_are_looked_up_at_a_restart_stay_and_an_idle_source_is_known_again() {
    let (pipeline, daemon) = published(&[("retention.keep_hours", "0")], 300).await;
    emptied(&pipeline).await;
    pipeline.stop(daemon).await;
    let left = logged(&pipeline).await;
    assert_eq!(left, 8, "the anchors");
    for _ in 0..2 {
        let daemon = pipeline.start_ready("run").await;
        pipeline.stop(daemon).await;
    }
    assert_eq!(logged(&pipeline).await, left);
    // They are looked up indeed.
    run(&pipeline.from, "update cdc.t_cdc set cdc_at = cdc_at + interval '1 second'").await;
    pipeline.refuses("publish", &["the source lost commits"]).await;
    run(&pipeline.from, "update cdc.t_cdc set cdc_at = cdc_at - interval '1 second'").await;
    let daemon = pipeline.start_ready("run").await;
    run(&pipeline.from, "update t set v = 'y' where id < 20").await;
    assert_eq!(pipeline.compare().await, 300);
    pipeline.fine("verify").await;
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_while_rows_are_removed_under_load_leave_the_targets_equal() {
    let settings = [("retention.keep_hours", "0"), ("tail.window_rows", "200")];
    let pipeline = Pipeline::create(&settings, SHOP).await;
    pipeline.expect(FENCING);
    pipeline.init().await;
    let load = Load::start(&pipeline, 3, seed()).await;
    let noted = async || -> u64 {
        let sql = "select coalesce(sum(rows), 0) from cdc.retention";
        value(&pipeline.from, sql).await.parse().unwrap()
    };
    for _ in 0..4 {
        let daemon = pipeline.start_ready("run").await;
        let before = noted().await;
        pipeline.wait_until("rows are removed", async || noted().await > before).await;
        daemon.kill9();
    }
    load.finish().await;
    let mut daemon = pipeline.start_ready("run").await;
    pipeline.caught_up_by(&mut daemon).await;
    assert!(pipeline.compare().await > 0);
    pipeline.fine("verify").await;
    // Beside the anchors stay the rows of other transactions that were logged between them.
    let file: serde_json::Value =
        serde_json::from_slice(&std::fs::read(pipeline.offset_file()).unwrap()).unwrap();
    let anchors = file["state"]["anchors"].as_array().unwrap();
    let lowest = anchors.iter().map(|anchor| anchor["cdc_id"].as_u64().unwrap()).min().unwrap();
    let left = format!(
        "select count(*) from (select cdc_id from cdc.orders_cdc union all select cdc_id from cdc.customers_cdc) l
         where cdc_id < {lowest}"
    );
    pipeline.wait_until("the rest is removed", async || value(&pipeline.from, &left).await == "0").await;
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_a_dropped_table_go_too_and_of_one_that_was_altered() {
    let (pipeline, daemon) = published(&[("retention.keep_hours", "0")], 50).await;
    run(
        &pipeline.from,
        "create table u (id bigint primary key); insert into u select generate_series(1, 50)",
    )
    .await;
    run(&pipeline.from, "alter table t add column w int; update t set w = 1").await;
    pipeline.caught_up().await;
    run(&pipeline.from, "drop table u").await;
    run(&pipeline.from, "insert into t select n, 'y', n from generate_series(100, 110) n").await;
    let left = "select count(*) from cdc.u_cdc";
    pipeline
        .wait_until("the dropped table's log is empty", async || value(&pipeline.from, left).await == "0")
        .await;
    emptied(&pipeline).await;
    run(&pipeline.from, "update t set v = 'z'").await;
    pipeline.caught_up().await;
    assert_eq!(value(&pipeline.to, "select count(*) from t where v = 'z'").await, "61");
    pipeline.stop(daemon).await;
}
