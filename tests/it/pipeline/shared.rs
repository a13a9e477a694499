//! Several appliers share the partitions (`apply.consistency = "key"`).

use super::daemon::Daemon;
use super::harness::Pipeline;
use super::load::{Load, SHOP, seed};
use crate::db::{run, value};

const KEY: [(&str, &str); 3] =
    [("apply.consistency", "key"), ("tail.window_rows", "50"), ("apply.batch_rows", "100")];

/// Waits until every member has partitions of its own: after a change the group deals anew.
async fn dealt(pipeline: &Pipeline, members: &[&Daemon], times: usize) {
    pipeline
        .wait_until("the group has dealt", async || {
            members.iter().all(|member| member.times_logged("the group dealt out partitions") >= times)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appliers_come_and_go_in_the_middle_of_a_load() {
    let pipeline = Pipeline::create(&KEY, SHOP).await;
    pipeline.expect("was moved by somebody else");
    pipeline.init().await;
    // The publisher mirrors nothing: ClickHouse has one applier, and every member would wait for it.
    let publisher = pipeline.start_ready("publish").await;
    let load = Load::start(&pipeline, 3, seed()).await;
    let first = pipeline.start_ready("apply").await;
    dealt(&pipeline, &[&first], 1).await;
    let second = pipeline.start_ready("apply").await;
    dealt(&pipeline, &[&first], 2).await;
    let third = pipeline.start_ready("apply").await;
    dealt(&pipeline, &[&first], 3).await;
    second.kill9();
    // The broker finds out; until then its partitions wait.
    dealt(&pipeline, &[&first, &third], 2).await;
    pipeline.stop(first).await;
    let fourth = pipeline.start_ready("apply").await;
    dealt(&pipeline, &[&fourth], 1).await;
    let committed = load.finish().await;
    let compared = pipeline.compare().await;
    println!("{committed} transactions, {compared} rows compared");
    let status = pipeline.fine("status").await;
    assert!(status.contains("per key"), "{status}");
    for daemon in [third, fourth, publisher] {
        pipeline.stop(daemon).await;
    }
    pipeline.topics.assert_exactly_once(&pipeline.from).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncate_is_left_to_one_applier_which_takes_over_and_hands_back() {
    let mut pipeline = Pipeline::create(&KEY, "create table t (id int primary key, v text)").await;
    pipeline.expect("a TRUNCATE concerns all partitions");
    pipeline.init().await;
    let publisher = pipeline.start_ready("publish").await;
    let applier = pipeline.start_ready("apply").await;
    run(&pipeline.from, "insert into t select n, 'a' from generate_series(1, 200) n").await;
    pipeline.compare().await;
    run(&pipeline.from, "truncate t; insert into t select n, 'b' from generate_series(100, 400) n").await;
    pipeline.ends_with(applier, 2, &["public.t", "apply.consistency = \"cut\""]).await;
    assert_eq!(value(&pipeline.to, "select count(*) from t where v = 'a'").await, "200");

    pipeline.set("apply.consistency", "cut");
    let applier = pipeline.start_ready("apply").await;
    pipeline.compare().await;
    pipeline.stop(applier).await;

    pipeline.set("apply.consistency", "key");
    let applier = pipeline.start_ready("apply").await;
    run(&pipeline.from, "update t set v = 'c' where id < 300").await;
    pipeline.compare().await;
    pipeline.stop(applier).await;
    pipeline.stop(publisher).await;
}
