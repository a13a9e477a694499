//! The broker stops, dies, is suspended, and slow.

use std::time::Duration;

use super::service::Service;
use super::{RECOVERS, goes_on, long, nothing_is_lost};
use crate::pipeline::harness::{Pipeline, Servers};
use crate::pipeline::load::{Load, SHOP, seed};
use crate::pipeline::proxy::Proxy;

/// Beyond these a message or a transaction is given up.
const TIMEOUTS: [(&str, &str); 3] = [
    ("kafka.options.transaction_timeout_ms", "3000"),
    ("kafka.options.delivery_timeout_ms", "3000"),
    ("kafka.options.socket_timeout_ms", "2000"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_stops_dies_pauses_or_is_slow_loses_nothing() {
    let broker = tokio::task::block_in_place(Service::kafka);
    let servers = Servers { kafka: Some(broker.address()), ..Servers::default() };
    let mut pipeline = Pipeline::create_at(servers, &TIMEOUTS, SHOP).await;
    RECOVERS.iter().for_each(|text| pipeline.expect(text));
    pipeline.init().await;
    let proxy = Proxy::kafka(&broker.address());
    pipeline.set("kafka.bootstrap_servers", &proxy.address.to_string());
    let daemon = pipeline.start_ready("run").await;
    let load = Load::start(&pipeline, 2, seed()).await;
    goes_on(&pipeline, &daemon).await;

    for signal in ["-TERM", "-KILL"] {
        tokio::task::block_in_place(|| {
            broker.end(signal);
            broker.run();
        });
        goes_on(&pipeline, &daemon).await;
        println!("went on after {signal}");
    }

    broker.signal("-STOP");
    // How long it is suspended is the test: beyond the time-outs.
    tokio::time::sleep(Duration::from_secs(if long() { 70 } else { 8 })).await;
    broker.signal("-CONT");
    goes_on(&pipeline, &daemon).await;
    println!("went on after the pause");

    proxy.delay(100);
    goes_on(&pipeline, &daemon).await;
    proxy.delay(0);

    load.finish().await;
    nothing_is_lost(&pipeline).await;
    pipeline.stop(daemon).await;
}
