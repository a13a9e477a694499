//! Services that go away for a while.

use super::daemon::Daemon;
use super::harness::Pipeline;
use super::load::{Load, SHOP, seed};
use super::proxy::Proxy;
use crate::db::{run, value};

/// Returns the `host:port` of a URL.
fn host(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split_once('/').map_or(rest, |(host, _)| host);
    host.rsplit_once('@').map_or(host, |(_, host)| host).to_owned()
}

fn through(url: &str, proxy: &Proxy) -> String {
    url.replacen(&host(url), &proxy.address.to_string(), 1)
}

/// Cuts a service off until the daemon says that it starts `task` again, then lets it through.
async fn interrupt(pipeline: &Pipeline, daemon: &Daemon, proxy: &Proxy, task: &str) {
    let says = format!("starting again task=\"{task}\"");
    let before = daemon.times_logged(&says);
    proxy.cut();
    pipeline.wait_until(&says, async || daemon.times_logged(&says) >= before + 2).await;
    proxy.restore();
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
    for recovers in ["starting again", "librdkafka", "the commit is not confirmed yet"] {
        pipeline.expect(recovers);
    }
    let daemon = pipeline.start_ready("run").await;
    let load = Load::start(&pipeline, 2, seed()).await;

    interrupt(&pipeline, &daemon, &source, "publish").await;
    interrupt(&pipeline, &daemon, &destination, "apply postgres").await;
    interrupt(&pipeline, &daemon, &clickhouse, "apply clickhouse").await;
    interrupt(&pipeline, &daemon, &kafka, "apply postgres").await;

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
