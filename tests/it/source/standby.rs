//! One active, one standby: at the source and at the destination.

use crate::db::run;
use crate::pipeline::harness::Pipeline;
use crate::pipeline::load::{Load, SHOP, seed};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_takes_over_when_the_active_one_is_killed() {
    let mut pipeline = Pipeline::create(&[], SHOP).await;
    pipeline.expect("Failed to acquire transactional PID");
    // The same foreign key at the destination.
    run(&pipeline.to, SHOP).await;
    pipeline.init().await;
    let mut publisher = pipeline.start_ready("publish").await;
    let mut applier = pipeline.start_ready("apply").await;
    let load = Load::start(&pipeline, 2, seed()).await;
    for _ in 0..2 {
        // On another machine: the offset file is a copy, and an old one when it is needed.
        pipeline.move_offsets();
        let standbys = ["publish", "apply"].map(|half| pipeline.start(half));
        for standby in &standbys {
            let waits = async || standby.has_logged("waiting as a standby");
            pipeline.wait_until("it says that it waits", waits).await;
        }
        assert!(standbys[0].has_logged("holder=\"pid "), "it says for whom");
        let before = load.committed();
        pipeline.wait_until("the load goes on", async || load.committed() > before + 20).await;
        assert!(!standbys[0].has_logged("publishing"), "nothing is published by two");
        publisher.kill9();
        applier.kill9();
        [publisher, applier] = standbys;
        pipeline.wait_until("the standby takes over", async || publisher.has_logged("published")).await;
    }
    load.finish().await;
    pipeline.compare().await;
    pipeline.topics.assert_exactly_once(&pipeline.from).await;
    pipeline.stop(publisher).await;
    pipeline.stop(applier).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_without_an_offset_file_is_refused_at_once() {
    let mut pipeline = Pipeline::create(&[], SHOP).await;
    pipeline.init().await;
    let publisher = pipeline.start_ready("publish").await;
    run(&pipeline.from, "insert into customers values (1, 'x')").await;
    pipeline.wait_until("it is published", async || publisher.has_logged("published")).await;
    let nowhere = pipeline.offsets().with_file_name("nowhere");
    pipeline.set("offset.dir", nowhere.to_str().unwrap());
    pipeline.refuses("publish", &["is missing", "tripline offset recover"]).await;
    pipeline.stop(publisher).await;
}
