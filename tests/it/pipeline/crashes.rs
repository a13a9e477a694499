//! kill -9 in the middle of the work.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::daemon::Daemon;
use super::harness::{MARKER, Pipeline};
use super::load::{Load, SHOP, seed};
use crate::db::run;

/// Kills in each test.
const KILLS: usize = 8;

/// librdkafka says so while the coordinator still ends the transaction of the one that was killed, and asks again.
const FENCING: &str = "Failed to acquire transactional PID";

/// Writers at work, publisher and applier killed at random moments; then equal.
async fn survive(settings: &[(&str, &str)]) -> Pipeline {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let pipeline = Pipeline::create(settings, SHOP).await;
    pipeline.expect(FENCING);
    // The same foreign key at the destination.
    run(&pipeline.to, SHOP).await;
    pipeline.init().await;
    let load = Load::start(&pipeline, 4, seed).await;
    let mut halves = ["publish", "apply"].map(|half| (half, pipeline.start(half)));
    let mut moment = async || tokio::time::sleep(Duration::from_millis(random.random_range(50..1500))).await;
    for kill in 0..KILLS {
        // The moment is the test: it may be in the start, a pass, a commit.
        moment().await;
        let (half, daemon) = &mut halves[kill % 2];
        kill_and_start(&pipeline, half, daemon);
    }
    let committed = load.finish().await;
    let compared = pipeline.compare().await;
    println!("{KILLS} kills survived, {committed} transactions, {compared} rows compared");
    for (_, daemon) in halves {
        pipeline.stop(daemon).await;
    }
    pipeline
}

fn kill_and_start(pipeline: &Pipeline, half: &str, daemon: &mut Daemon) {
    daemon.kill9();
    *daemon = pipeline.start(half);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_with_exactly_once_leaves_every_change_once_and_the_stores_equal() {
    let pipeline = survive(&[]).await;
    let messages = pipeline.topics.assert_exactly_once(&pipeline.from).await;
    println!("{messages} messages checked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_with_at_least_once_leaves_the_stores_equal() {
    survive(&[("kafka.delivery", "at_least_once"), ("tail.window_rows", "50")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_inside_a_pass_of_200_000_rows_leaves_every_row_once() {
    let settings = [("tail.window_rows", "4000")];
    let pipeline = Pipeline::create(&settings, "create table big (id bigint primary key, body text)").await;
    pipeline.expect(FENCING);
    pipeline.init().await;
    let mut publisher = pipeline.start_ready("publish").await;
    let applier = pipeline.start_ready("apply").await;
    let sql = format!("insert into big select n, '{MARKER} ' || n from generate_series(1, 200000) n");
    run(&pipeline.from, &sql).await;
    for _ in 0..3 {
        pipeline
            .wait_until("some parts are published", async || publisher.times_logged("published") >= 8)
            .await;
        publisher.kill9();
        publisher = pipeline.start("publish");
    }
    assert_eq!(pipeline.compare().await, 200_000);
    assert_eq!(pipeline.topics.assert_exactly_once(&pipeline.from).await, 200_000);
    pipeline.stop(publisher).await;
    pipeline.stop(applier).await;
}
