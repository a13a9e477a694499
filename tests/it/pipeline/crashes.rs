//! kill -9 in the middle of a large pass; the history's kills are everywhere else.

use super::harness::{MARKER, Pipeline};
use crate::db::run;

/// librdkafka says so while the coordinator still ends the transaction of the one that was killed, and asks again.
const FENCING: &str = "Failed to acquire transactional PID";

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
