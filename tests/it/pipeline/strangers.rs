//! Messages on our topics that we did not write.

use super::harness::Pipeline;
use crate::db::run;

const ONE: &str = "create table orders (id bigint primary key, body text)";

async fn insert(pipeline: &Pipeline, id: u32) {
    run(&pipeline.from, &format!("insert into orders values ({id}, 'ours')")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_a_stranger_on_a_data_topic_halts_the_applier() {
    let pipeline = Pipeline::create(&[("kafka.partitions", "1")], ONE).await;
    pipeline.init().await;
    let (publisher, applier) = (pipeline.start_ready("publish").await, pipeline.start_ready("apply").await);
    insert(&pipeline, 1).await;
    pipeline.compare().await;

    let topic = pipeline.topics.name("public.orders");
    let offset = tokio::task::block_in_place(|| pipeline.topics.disturb(&topic, 0));
    insert(&pipeline, 2).await;
    let named = format!("{topic}[0] holds a message at offset {offset} that tripline did not write");
    pipeline.ends_with(applier, 2, &[&named]).await;
    // It stays where it is until a person has decided.
    pipeline.refuses("apply", &[&named]).await;
    assert_eq!(crate::db::value(&pipeline.to, "select count(*) from orders").await, "1");
    pipeline.stop(publisher).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_a_stranger_on_the_cuts_topic_halts_both_halves() {
    let pipeline = Pipeline::create(&[], ONE).await;
    pipeline.init().await;
    let (publisher, applier) = (pipeline.start_ready("publish").await, pipeline.start_ready("apply").await);
    insert(&pipeline, 1).await;
    pipeline.compare().await;

    let topic = pipeline.topics.name("tripline.cuts");
    let offset = tokio::task::block_in_place(|| pipeline.topics.disturb(&topic, 0));
    let named = format!("{topic}[0] holds a message at offset {offset} that tripline did not write");
    pipeline.ends_with(applier, 2, &[&named]).await;
    pipeline.stop(publisher).await;
    let named = format!("{topic}[0] holds a record at offset {offset} that tripline did not write");
    pipeline.refuses("publish", &[&named]).await;
}
