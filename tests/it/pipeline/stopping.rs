//! Signals and locks.

use super::harness::{MARKER, Pipeline};
use super::load::{Load, SHOP, seed};
use super::proxy::Proxy;
use crate::db::run;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_in_the_middle_of_a_load_drains_and_leaves_no_gap() {
    let pipeline = Pipeline::create(&[], SHOP).await;
    pipeline.init().await;
    let load = Load::start(&pipeline, 3, seed()).await;
    for round in 1..=3 {
        let daemon = pipeline.start_ready("run").await;
        let before = load.committed();
        pipeline.wait_until("the writers go on", async || load.committed() > before + 50).await;
        let start = std::time::Instant::now();
        pipeline.stop(daemon).await;
        println!("stop {round} took {:?}", start.elapsed());
        assert!(start.elapsed().as_secs() < 15);
    }
    let daemon = pipeline.start("run");
    load.finish().await;
    pipeline.compare().await;
    pipeline.topics.assert_exactly_once(&pipeline.from).await;
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_sigterm_ends_what_cannot_drain() {
    let settings = [("tail.window_rows", "500")];
    let mut pipeline =
        Pipeline::create(&settings, "create table big (id bigint primary key, body text)").await;
    pipeline.init().await;
    let proxy = Proxy::kafka(&pipeline.topics.servers);
    pipeline.set("kafka.bootstrap_servers", &proxy.address.to_string());
    let publisher = pipeline.start_ready("publish").await;
    let sql = format!("insert into big select n, '{MARKER}' from generate_series(1, 50000) n");
    run(&pipeline.from, &sql).await;
    pipeline.wait_until("parts are published", async || publisher.has_logged("published")).await;
    proxy.freeze();

    publisher.term();
    pipeline.wait_until("it stops", async || publisher.has_logged("stopping: finishing")).await;
    publisher.term();
    pipeline.ends_with(publisher, 143, &[]).await;

    proxy.restore();
    pipeline.expect("Failed to acquire transactional PID");
    let daemon = pipeline.start("run");
    assert_eq!(pipeline.compare().await, 50_000);
    assert_eq!(pipeline.topics.assert_exactly_once(&pipeline.from).await, 50_000);
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_publisher_is_refused_and_told_who_holds_the_offset_file() {
    let pipeline = Pipeline::create(&[], SHOP).await;
    pipeline.init().await;
    let first = pipeline.start_ready("publish").await;
    let holder = format!("by pid {}", first.pid());
    pipeline.refuses("publish", &[&holder, "tripline: "]).await;
    pipeline.refuses("run", &[&holder]).await;
    let recover = pipeline.command("offset reset --yes").await;
    assert!(recover.code == Some(2) && recover.text.contains(&holder), "{}", recover.text);

    run(&pipeline.from, "insert into customers values (1, 'still there')").await;
    let applier = pipeline.start_ready("apply").await;
    assert_eq!(pipeline.compare().await, 1);
    pipeline.stop(first).await;
    pipeline.stop(applier).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_with_another_offset_directory_takes_over_and_the_former_one_waits() {
    let mut pipeline = Pipeline::create(&[], SHOP).await;
    pipeline.init().await;
    let former = pipeline.start_ready("publish").await;
    let applier = pipeline.start_ready("apply").await;
    run(&pipeline.from, "insert into customers values (1, 'former')").await;
    pipeline.compare().await;

    // The file is copied to another machine, say, and the former publisher forgotten.
    let copy = pipeline.offsets().with_file_name("copy");
    std::fs::create_dir(&copy).unwrap();
    std::fs::copy(pipeline.offset_file(), copy.join(format!("{}.json", pipeline.name))).unwrap();
    pipeline.set("offset.dir", &copy.display().to_string());
    pipeline.expect("librdkafka");
    pipeline.expect("starting again");
    former.signal("-STOP");
    // It is frozen, not gone: the server keeps its sessions until somebody ends them.
    let gone = "select pg_terminate_backend(pid) from pg_stat_activity
                where application_name like 'tripline publish%' and datname = current_database()";
    run(&pipeline.from, gone).await;
    let latter = pipeline.start_ready("publish").await;
    let load = Load::start(&pipeline, 2, seed()).await;
    pipeline.wait_until("the latter publishes", async || latter.has_logged("published")).await;
    former.signal("-CONT");
    let waits = async || former.has_logged("waiting as a standby");
    pipeline.wait_until("the former one waits", waits).await;
    former.kill9();
    load.finish().await;
    pipeline.compare().await;
    pipeline.topics.assert_exactly_once(&pipeline.from).await;
    pipeline.stop(latter).await;
    pipeline.stop(applier).await;
}
