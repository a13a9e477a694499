//! Services that go away for a while.

use super::daemon::Daemon;
use super::harness::Pipeline;
use super::load::{Load, SHOP, seed};
use super::proxy::{Proxy, host, through};
use crate::db::{run, value};

/// Cuts a service off until the daemon has said so a few times, lets it through and waits until both targets go on.
async fn interrupt(pipeline: &Pipeline, daemon: &Daemon, proxy: &Proxy, says: &str, times: usize) {
    let before = daemon.times_logged(says);
    proxy.cut();
    pipeline.wait_until(says, async || daemon.times_logged(says) >= before + times).await;
    proxy.restore();
    for target in ["postgres", "clickhouse"] {
        let applied = format!("applied target_name=\"{target}\"");
        let before = daemon.times_logged(&applied);
        pipeline.wait_until(&applied, async || daemon.times_logged(&applied) > before + 2).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_that_go_away_and_come_back_lose_nothing() {
    let mut pipeline = Pipeline::create(&[], SHOP).await;
    pipeline.init().await;
    let kafka = Proxy::kafka(&pipeline.topics.servers);
    let source = Proxy::start(&host(&pipeline.source.url()));
    let destination = Proxy::start(&host(&pipeline.destination.url()));
    let clickhouse = Proxy::start(&host(&pipeline.mirror.url));
    pipeline.set("kafka.bootstrap_servers", &kafka.address.to_string());
    pipeline.set("source.url", &through(&pipeline.source.url(), &source));
    pipeline.set("destination.url", &through(&pipeline.destination.url(), &destination));
    pipeline.set("clickhouse.url", &through(&pipeline.mirror.url, &clickhouse));
    pipeline.set("log.level", "info,tripline=debug,librdkafka=info");
    for recovers in ["starting again", "librdkafka", "the commit is not confirmed yet"] {
        pipeline.expect(recovers);
    }
    let daemon = pipeline.start_ready("run").await;
    let load = Load::start(&pipeline, 2, seed()).await;

    interrupt(&pipeline, &daemon, &source, "starting again task=\"publish\"", 2).await;
    interrupt(&pipeline, &daemon, &destination, "starting again task=\"apply postgres\"", 2).await;
    interrupt(&pipeline, &daemon, &clickhouse, "starting again task=\"apply clickhouse\"", 2).await;
    interrupt(&pipeline, &daemon, &kafka, "librdkafka: FAIL", 12).await;

    let committed = load.finish().await;
    let compared = pipeline.compare().await;
    println!("{committed} transactions, {compared} rows compared");
    pipeline.topics.assert_exactly_once(&pipeline.from).await;
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_target_being_away_does_not_hold_up_the_other() {
    let mut pipeline = Pipeline::create(&[], SHOP).await;
    pipeline.init().await;
    let destination = Proxy::start(&host(&pipeline.destination.url()));
    let clickhouse = Proxy::start(&host(&pipeline.mirror.url));
    pipeline.set("destination.url", &through(&pipeline.destination.url(), &destination));
    pipeline.set("clickhouse.url", &through(&pipeline.mirror.url, &clickhouse));
    pipeline.expect("starting again");
    let daemon = pipeline.start_ready("run").await;
    let in_clickhouse = "SELECT count() FROM customers_current";
    let in_postgres = "select count(*) from customers";

    destination.cut();
    run(&pipeline.from, "insert into customers values (1, 'one')").await;
    pipeline
        .wait_until("ClickHouse has it", async || pipeline.mirror.read(in_clickhouse).await == ["1"])
        .await;
    assert_eq!(value(&pipeline.to, in_postgres).await, "0");
    let status = pipeline.command("status").await;
    assert!(status.code == Some(2) && status.text.contains("postgres"), "{}", status.text);
    destination.restore();
    pipeline.wait_until("PostgreSQL has it", async || value(&pipeline.to, in_postgres).await == "1").await;

    clickhouse.cut();
    run(&pipeline.from, "insert into customers values (2, 'two')").await;
    pipeline.wait_until("PostgreSQL has it", async || value(&pipeline.to, in_postgres).await == "2").await;
    assert_eq!(pipeline.mirror.read(in_clickhouse).await, ["1"]);
    clickhouse.restore();
    assert_eq!(pipeline.compare().await, 2);
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_was_suspended_is_not_taken_for_a_fenced_one() {
    // The broker ends its open transaction meanwhile; brokers look for those every ten seconds.
    let settings =
        [("kafka.options.transaction_timeout_ms", "2000"), ("kafka.options.delivery_timeout_ms", "2000")];
    let pipeline = Pipeline::create(&settings, SHOP).await;
    pipeline.init().await;
    for recovers in ["starting again", "librdkafka", "the commit is not confirmed yet"] {
        pipeline.expect(recovers);
    }
    let publisher = pipeline.start_ready("publish").await;
    let applier = pipeline.start_ready("apply").await;
    let load = Load::start(&pipeline, 2, seed()).await;
    for _ in 0..2 {
        let before = publisher.times_logged("published");
        pipeline.wait_until("it publishes", async || publisher.times_logged("published") > before + 5).await;
        publisher.signal("-STOP");
        // How long it is suspended is the test.
        tokio::time::sleep(std::time::Duration::from_secs(14)).await;
        publisher.signal("-CONT");
    }
    load.finish().await;
    pipeline.compare().await;
    pipeline.topics.assert_exactly_once(&pipeline.from).await;
    pipeline.stop(publisher).await;
    pipeline.stop(applier).await;
}
