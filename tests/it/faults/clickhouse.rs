//! ClickHouse refuses, is slow, answers nobody, and dies in the middle of an insert.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::service::Service;
use super::{RECOVERS, goes_on, long, nothing_is_lost};
use crate::db::run;
use crate::pipeline::daemon::Daemon;
use crate::pipeline::harness::{Pipeline, Servers};
use crate::pipeline::load::{Load, SHOP, seed};

const AGAIN: &str = "starting again task=\"apply clickhouse\"";
const POSTGRES: &str = "applied target_name=\"postgres\"";
const INSERT: &str = "INSERT INTO";

/// Waits until the mirror starts again once more, for a reason that holds `why`.
async fn starts_again(pipeline: &Pipeline, daemon: &Daemon, why: &str, before: usize) {
    let times =
        || daemon.log().lines().iter().filter(|line| line.contains(AGAIN) && line.contains(why)).count();
    pipeline.wait_until(&format!("{AGAIN} {why}"), async || times() > before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clickhouse_that_refuses_is_slow_or_dies_loses_nothing() {
    let server = tokio::task::block_in_place(Service::clickhouse);
    let url = format!("http://{}", server.address());
    let servers = Servers { clickhouse: Some(url), ..Servers::default() };
    let schema = format!("{SHOP} create table bulk (id bigint primary key);");
    let pipeline = Pipeline::create_at(servers, &[], &schema).await;
    RECOVERS.iter().for_each(|text| pipeline.expect(text));
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let load = Load::start(&pipeline, 2, seed).await;
    goes_on(&pipeline, &daemon).await;

    let refusals = [
        (INSERT, "252:TOO_MANY_PARTS"),
        ("", "202:TOO_MANY_SIMULTANEOUS_QUERIES"),
        (INSERT, "241:MEMORY_LIMIT_EXCEEDED"),
        (INSERT, "243:NOT_ENOUGH_SPACE"),
    ];
    for (text, code) in refusals {
        server.fault("code", text, 2, code);
        let name = code.split_once(':').unwrap().1;
        starts_again(&pipeline, &daemon, name, 0).await;
        goes_on(&pipeline, &daemon).await;
    }
    // The connection dies, after and before the rows are there: whoever sent them cannot tell.
    for kind in ["drop_after", "drop_before"] {
        let before = daemon.times_logged(AGAIN);
        server.fault(kind, INSERT, 3, "");
        pipeline.wait_until(kind, async || daemon.times_logged(AGAIN) > before).await;
        goes_on(&pipeline, &daemon).await;
    }
    server.fault("delay", "", 6, "1");
    goes_on(&pipeline, &daemon).await;

    for kill in 0..4 {
        if kill == 0 {
            // It has the rows of an insert and has not begun with it: the other target goes on alone.
            server.fault("delay", INSERT, 1, "60");
            let before = daemon.times_logged(POSTGRES);
            pipeline.wait_until(POSTGRES, async || daemon.times_logged(POSTGRES) > before + 10).await;
        } else {
            let sql = format!("insert into bulk select n + {kill} * 20000 from generate_series(1, 20000) n");
            run(&pipeline.from, &sql).await;
            // The moment is the test: somewhere in the inserts of all that.
            tokio::time::sleep(Duration::from_millis(random.random_range(50..1_000))).await;
        }
        let before = daemon.times_logged(AGAIN);
        tokio::task::block_in_place(|| server.end("-KILL"));
        pipeline.wait_until(AGAIN, async || daemon.times_logged(AGAIN) > before + 1).await;
        if long() {
            tokio::time::sleep(Duration::from_secs(120)).await;
        }
        tokio::task::block_in_place(|| server.run());
        goes_on(&pipeline, &daemon).await;
    }
    load.finish().await;
    nothing_is_lost(&pipeline).await;
    pipeline.stop(daemon).await;
}
