//! Messages that are larger than the broker, or the producer, allows.

use super::{RECOVERS, goes_on, nothing_is_lost};
use crate::db::{run, value};
use crate::pipeline::daemon::Daemon;
use crate::pipeline::harness::Pipeline;
use crate::pipeline::load::{Load, SHOP, seed};

const NOTES: &str = "create table notes (id bigint primary key, body text);";

/// Writes a large row between two small ones; the daemon halts and names it and the way out.
async fn halts(pipeline: &Pipeline, daemon: Daemon, id: u32, kilobytes: u32) {
    let body = format!(
        "(select string_agg(md5(random()::text), '') from generate_series(1, {}))",
        kilobytes * 1024 / 32
    );
    let sql =
        format!("insert into notes values ({}, 'before'), ({id}, {body}), ({}, 'behind')", id - 1, id + 1);
    run(&pipeline.from, &sql).await;
    let cdc_id = value(&pipeline.from, &format!("select cdc_id from cdc.notes_cdc where id = {id}")).await;
    let topic = pipeline.topics.name("public.notes");
    let row = format!("public.notes with cdc_id {cdc_id} (");
    let raise = format!("raise max.message.bytes on the topic {topic}");
    pipeline.ends_with(daemon, 2, &[&row, &raise, "message.max.bytes in [kafka.options]"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_larger_than_kafka_takes_halts_and_goes_on_once_the_limits_are_raised() {
    let mut pipeline = Pipeline::create(&[], &format!("{SHOP}{NOTES}")).await;
    RECOVERS.iter().for_each(|text| pipeline.expect(text));
    pipeline.init().await;
    let topic = pipeline.topics.name("public.notes");
    pipeline.topics.limit(&topic, 20_000).await;
    let daemon = pipeline.start_ready("run").await;
    let load = Load::start(&pipeline, 2, seed()).await;
    goes_on(&pipeline, &daemon).await;

    halts(&pipeline, daemon, 2, 200).await;
    // It is still there after a start that changes nothing.
    pipeline.refuses("run", &["public.notes", &topic]).await;
    pipeline.topics.limit(&topic, 900_000).await;
    let daemon = pipeline.start_ready("run").await;
    goes_on(&pipeline, &daemon).await;

    // Larger than the producer's own limit, and than what a consumer fetches at a time.
    halts(&pipeline, daemon, 5, 5 * 1024).await;
    pipeline.topics.limit(&topic, 8 << 20).await;
    pipeline.set("kafka.options.message_max_bytes", &(8 << 20).to_string());
    let daemon = pipeline.start_ready("run").await;
    goes_on(&pipeline, &daemon).await;
    load.finish().await;
    nothing_is_lost(&pipeline).await;
    assert_eq!(value(&pipeline.to, "select count(*) from notes").await, "6");
    pipeline.stop(daemon).await;
}
