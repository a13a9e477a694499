//! Several pipelines read one source, each with its own position there.

use crate::db::{run, value};
use crate::pipeline::harness::Pipeline;
use crate::pipeline::load::{Load, SHOP, seed};
use crate::pipeline::topics::Topics;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_pipelines_read_one_source_and_both_are_registered() {
    let mut pipeline = Pipeline::create(&[], SHOP).await;
    pipeline.init().await;
    let first = pipeline.start_ready("run").await;
    let load = Load::start(&pipeline, 2, seed()).await;
    // The same log, another position, other topics.
    let name = format!("{}_second", pipeline.name);
    pipeline.set("pipeline", &name);
    pipeline.init().await;
    let second = pipeline.start_ready("publish").await;
    let registered = async |name: &str| {
        let sql = format!("select acknowledged ->> 'offset' from cdc.pipelines where pipeline = '{name}'");
        value(&pipeline.from, &sql).await.parse::<u64>().unwrap()
    };
    let at_first = registered(&name).await;
    pipeline
        .wait_until("both have said how far they are", async || {
            registered(&name).await > at_first && registered(&pipeline.name).await > at_first
        })
        .await;
    load.finish().await;
    pipeline.stop(second).await;
    run(&pipeline.from, "insert into customers values (1000, 'while the second is away')").await;
    let latter = pipeline.start_ready("publish").await;
    pipeline.wait_until("it has published that", async || pipeline.source_is_drained().await).await;
    pipeline.stop(latter).await;
    let topics = Topics::new(&name);
    topics.assert_exactly_once(&pipeline.from).await;
    tokio::task::block_in_place(|| topics.delete_all()).unwrap();

    pipeline.set("pipeline", &pipeline.name.clone());
    pipeline.compare().await;
    pipeline.topics.assert_exactly_once(&pipeline.from).await;
    pipeline.stop(first).await;
}
