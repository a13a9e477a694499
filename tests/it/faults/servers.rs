//! The source or the destination PostgreSQL crashes and recovers.

use super::{RECOVERS, goes_on, nothing_is_lost};
use crate::db::Which;
use crate::pipeline::harness::{Pipeline, Servers};
use crate::pipeline::load::{Load, SHOP, seed};
use crate::server::Server;

const CRASHES: u64 = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_crashes_under_load_loses_nothing() {
    let server = tokio::task::block_in_place(|| Server::start(Which::Source, ""));
    let servers = Servers { source: server.url("postgres"), ..Servers::default() };
    let mut pipeline = Pipeline::create_at(servers, &[], SHOP).await;
    RECOVERS.iter().for_each(|text| pipeline.expect(text));
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    let seed = seed();
    for crash in 0..CRASHES {
        let load = Load::start(&pipeline, 3, seed + crash).await;
        goes_on(&pipeline, &daemon).await;
        tokio::task::block_in_place(|| server.crash());
        // Its writers lost their sessions.
        println!("crash {crash}: {} transactions", load.finish().await);
    }
    pipeline.from = pipeline.source.connect().await;
    let load = Load::start(&pipeline, 3, seed + CRASHES).await;
    goes_on(&pipeline, &daemon).await;
    load.finish().await;
    nothing_is_lost(&pipeline).await;
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_that_crashes_under_load_loses_nothing() {
    let server = tokio::task::block_in_place(|| Server::start(Which::Destination, ""));
    let servers = Servers { destination: server.url("postgres"), ..Servers::default() };
    let mut pipeline = Pipeline::create_at(servers, &[], SHOP).await;
    RECOVERS.iter().for_each(|text| pipeline.expect(text));
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    let load = Load::start(&pipeline, 2, seed()).await;
    for _ in 0..CRASHES {
        goes_on(&pipeline, &daemon).await;
        tokio::task::block_in_place(|| server.crash());
    }
    goes_on(&pipeline, &daemon).await;
    load.finish().await;
    pipeline.to = pipeline.destination.connect().await;
    nothing_is_lost(&pipeline).await;
    pipeline.stop(daemon).await;
}
