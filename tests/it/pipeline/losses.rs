//! What Kafka no longer holds, or holds anew.

use super::harness::Pipeline;
use crate::db::run;

const TABLE: &str = "create table t (id int primary key, v int not null)";
const ONE: [(&str, &str); 2] = [("kafka.partitions", "1"), ("tail.window_rows", "100")];

fn insert(from: i32, to: i32) -> String {
    format!("insert into t select n, 0 from generate_series({from}, {to}) n")
}

/// Something is applied; then the applier is away while more is published.
async fn unread() -> (Pipeline, super::daemon::Daemon, String) {
    let pipeline = Pipeline::create(&ONE, TABLE).await;
    pipeline.init().await;
    let publisher = pipeline.start_ready("publish").await;
    let applier = pipeline.start_ready("apply").await;
    run(&pipeline.from, &insert(1, 10)).await;
    pipeline.compare().await;
    pipeline.stop(applier).await;
    run(&pipeline.from, &insert(11, 300)).await;
    pipeline.wait_until("it is published", async || pipeline.source_is_drained().await).await;
    let topic = pipeline.topics.name("public.t");
    (pipeline, publisher, topic)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_messages_that_expired_halt_the_applier() {
    let (pipeline, publisher, topic) = unread().await;
    let (_, end) = pipeline.topics.ends(&topic, 0);
    pipeline.topics.expire(&topic, 0, end - 50).await;
    pipeline.expect("AutoOffsetReset");
    pipeline.refuses("apply", &[&topic, "no longer holds", "tripline offset reset"]).await;
    pipeline.stop(publisher).await;
    // Everything that the log still holds, anew; the position in the topic begins where that does.
    pipeline.fine("offset reset --yes --clear-topics").await;
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    assert_eq!(pipeline.compare().await, 300);
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_made_anew_that_has_outgrown_the_position_is_recognised() {
    let (pipeline, publisher, topic) = unread().await;
    pipeline.stop(publisher).await;
    pipeline.topics.recreate(&topic).await;
    let publisher = pipeline.start_ready("publish").await;
    run(&pipeline.from, &insert(1_001, 2_000)).await;
    pipeline.wait_until("it is published", async || pipeline.source_is_drained().await).await;
    // The offsets that come next exist; what stands there is something else.
    pipeline.refuses("apply", &[&topic, "messages that pass", "tripline offset reset"]).await;
    pipeline.stop(publisher).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_made_anew_between_two_passes_is_recognised() {
    let pipeline = Pipeline::create(&ONE, TABLE).await;
    pipeline.init().await;
    let publisher = pipeline.start_ready("publish").await;
    let applier = pipeline.start_ready("apply").await;
    run(&pipeline.from, &insert(1, 500)).await;
    pipeline.compare().await;
    pipeline.stop(publisher).await;
    pipeline.stop(applier).await;
    let topic = pipeline.topics.name("public.t");
    pipeline.topics.recreate(&topic).await;
    let publisher = pipeline.start_ready("publish").await;
    run(&pipeline.from, &insert(1_001, 2_500)).await;
    pipeline.wait_until("it is published", async || pipeline.source_is_drained().await).await;
    pipeline.refuses("apply", &[&topic, "goes back to offset 0", "tripline offset reset"]).await;
    pipeline.stop(publisher).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cuts_topic_made_anew_is_recognised_by_both_halves() {
    let mut pipeline = Pipeline::create(&ONE, TABLE).await;
    // The broker may answer a producer that knew the former topic with errors until this is over.
    for time_out in ["delivery", "transaction"] {
        pipeline.set(&format!("kafka.options.{time_out}_timeout_ms"), "10000");
    }
    pipeline.init().await;
    let publisher = pipeline.start_ready("publish").await;
    let applier = pipeline.start_ready("apply").await;
    for id in 0..20 {
        run(&pipeline.from, &insert(id, id)).await;
        pipeline.compare().await;
    }
    pipeline.stop(applier).await;
    let cuts = pipeline.topics.name("tripline.cuts");
    pipeline.topics.recreate(&cuts).await;
    run(&pipeline.from, &insert(100, 100)).await;
    // The one that runs sees where its record went; a later one finds another record than its file names.
    pipeline.expect("AutoOffsetReset");
    let status = pipeline.command("status").await;
    assert!(status.code == Some(2) && status.text.contains("was deleted or recreated"), "{}", status.text);
    for text in ["starting again", "librdkafka"] {
        pipeline.expect(text);
    }
    pipeline.ends_with(publisher, 2, &["tripline offset recover"]).await;
    pipeline.refuses("publish", &["names record", "tripline offset reset"]).await;
    pipeline.refuses("apply", &[&cuts]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_are_added_are_read_and_order_is_kept() {
    let mut pipeline = Pipeline::create(&ONE, TABLE).await;
    pipeline.set("kafka.options.topic_metadata_refresh_interval_ms", "1000");
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    run(&pipeline.from, &insert(1, 200)).await;
    pipeline.compare().await;
    let topic = pipeline.topics.name("public.t");
    pipeline.topics.widen(&topic, 3).await;
    // The producer learns of it by itself, after five minutes at the latest: then keys change places.
    let mut v = 0;
    pipeline
        .wait_until("new partitions are used", async || {
            v += 1;
            run(&pipeline.from, &format!("update t set v = {v}; update t set v = -{v} where id % 7 = 0"))
                .await;
            pipeline.topics.ends(&topic, 2).1 > 0
        })
        .await;
    run(&pipeline.from, "update t set v = 1000000; truncate t; insert into t values (1, 1), (2, 2)").await;
    assert_eq!(pipeline.compare().await, 2);
    pipeline.stop(daemon).await;
}
