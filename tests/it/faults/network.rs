//! Connections between each pair of parts are cut, or go silent, at random.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::{RECOVERS, goes_on, long, nothing_is_lost};
use crate::pipeline::harness::Pipeline;
use crate::pipeline::load::{Load, SHOP, seed};
use crate::pipeline::proxy::{Proxy, host, through};

/// The moment and the length are the test.
async fn wait(random: &mut StdRng, most: u64) {
    tokio::time::sleep(Duration::from_millis(random.random_range(20..most))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_cut_or_silent_at_random_lose_nothing() {
    let mut pipeline = Pipeline::create(&[], SHOP).await;
    RECOVERS.iter().for_each(|text| pipeline.expect(text));
    pipeline.init().await;
    let urls = [pipeline.source.url(), pipeline.destination.url(), pipeline.mirror.url.clone()];
    let mut proxies = Vec::from(urls.clone().map(|url| Proxy::start(&host(&url))));
    for (i, key) in ["source.url", "destination.url", "clickhouse.url"].iter().enumerate() {
        pipeline.set(key, &through(&urls[i], &proxies[i]));
    }
    let kafka = Proxy::kafka(&pipeline.topics.servers);
    pipeline.set("kafka.bootstrap_servers", &kafka.address.to_string());
    proxies.push(kafka);
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let daemon = pipeline.start_ready("run").await;
    let load = Load::start(&pipeline, 2, seed).await;
    goes_on(&pipeline, &daemon).await;

    for _ in 0..if long() { 300 } else { 16 } {
        wait(&mut random, 700).await;
        let proxy = &proxies[random.random_range(0..proxies.len())];
        match random.random_range(0..4) {
            0 => {
                proxy.freeze();
                wait(&mut random, 2_000).await;
            }
            1 => {
                // Half-open for a while, and then the other side is gone.
                proxy.freeze();
                wait(&mut random, 1_000).await;
                proxy.cut();
            }
            _ => {
                proxy.cut();
                wait(&mut random, 600).await;
            }
        }
        proxy.restore();
    }
    goes_on(&pipeline, &daemon).await;
    load.finish().await;
    nothing_is_lost(&pipeline).await;
    pipeline.stop(daemon).await;
}
