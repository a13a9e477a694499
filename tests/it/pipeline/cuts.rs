//! Readers of the destination see whole passes.

use super::harness::{MARKER, Pipeline};
use crate::db::{run, value};

/// Many parts a pass and many batches: nothing of this fits into one.
const SMALL: [(&str, &str); 3] =
    [("tail.window_rows", "1000"), ("apply.batch_rows", "2500"), ("apply.batch_bytes", "100000")];
const BIG: &str = "create table big (id bigint primary key, body text)";
const ROWS: usize = 60_000;

fn bulk() -> String {
    format!("insert into big select n, '{MARKER} ' || n from generate_series(1, {ROWS}) n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pass_that_is_larger_than_a_batch_appears_at_once() {
    let pipeline = Pipeline::create(&SMALL, BIG).await;
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    run(&pipeline.from, &bulk()).await;
    let mut seen = Vec::new();
    pipeline
        .wait_until("the rows are there", async || {
            let count: usize = value(&pipeline.to, "select count(*) from big").await.parse().unwrap();
            seen.push(count);
            count == ROWS
        })
        .await;
    assert!(seen.iter().all(|count| [0, ROWS].contains(count)), "{seen:?}");
    assert!(daemon.times_logged("applied target_name=\"postgres\"") > 10, "many batches");
    pipeline.compare().await;
    let status = pipeline.fine("status").await;
    assert!(status.contains("consistent, pass taken 2"), "{status}");
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_huge_catch_up_may_be_committed_in_parts_and_says_so() {
    let mut pipeline = Pipeline::create(&SMALL, BIG).await;
    pipeline.set("apply.max_cut_rows", "10000");
    pipeline.init().await;
    let publisher = pipeline.start_ready("publish").await;
    run(&pipeline.from, &bulk()).await;
    pipeline.wait_until("all is published", async || pipeline.source_is_drained().await).await;
    // Held up at a row in the middle: what lies before it is committed, and not a state of the source.
    let blocker = pipeline.destination.connect().await;
    run(&blocker, &format!("begin; insert into big values ({}, '')", ROWS / 2)).await;
    let applier = pipeline.start_ready("apply").await;
    pipeline
        .wait_until("a part is committed", async || {
            value(&pipeline.to, "select count(*) from big").await != "0"
        })
        .await;
    let status = pipeline.command("status --json").await.text;
    assert!(status.contains("\"state\":\"catching up\""), "{status}");
    assert!(applier.has_logged("the destination is catching up"));
    run(&blocker, "rollback").await;
    pipeline.compare().await;
    let status = pipeline.fine("status --json").await;
    assert!(!status.contains("catching up"), "{status}");
    pipeline.stop(publisher).await;
    pipeline.stop(applier).await;
}
