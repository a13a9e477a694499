//! kill -9 where a part or a batch comes again: a plain insert that came twice would show.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::{appending, equal};
use crate::db::value;
use crate::pipeline::daemon::Daemon;
use crate::pipeline::harness::Pipeline;
use crate::pipeline::load::seed;

const SCHEMA: &str = "
create table plain (kind int, note text);
-- Of this one nothing is ever truncated or logged anew: a row too many would stay.
create table steady (kind int, note text);
create table parted (kind int, note text) partition by list (kind);
create table parted_1 partition of parted for values in (1);
create table parted_rest partition of parted default;
create table keyed (id int primary key, n int);
insert into plain select n % 3, null from generate_series(1, 500) n; insert into parted table plain;";

/// Pause of a writer: the pipeline of a debug build, killed all the time, has to keep up.
const REST: Duration = Duration::from_millis(150);

/// Where a kill makes something come again, per half.
const POINTS: [(&str, &[&str]); 2] = [
    (
        "publish",
        &[
            "publish::after-produce",
            "publish::before-acks",
            "publish::after-acks",
            "publish::after-cut",
            "publish::after-commit",
            "offset::after-write",
        ],
    ),
    (
        "apply",
        &[
            "apply::between-statements",
            "apply::before-commit",
            "apply::after-commit",
            "apply::after-part",
            "mirror::after-insert",
            "mirror::before-progress",
            "mirror::after-progress",
        ],
    ),
];

/// Writes rows of which most are the same, with rollbacks, a savepoint, and now and then a TRUNCATE.
fn write(client: Client, mut random: StdRng, stop: &Arc<AtomicBool>) -> JoinHandle<usize> {
    let stop = Arc::clone(stop);
    tokio::spawn(async move {
        let mut committed = 0;
        while !stop.load(Ordering::Relaxed) {
            let table = ["plain", "parted", "steady", "steady"][random.random_range(0..4)];
            let (kind, times) = (random.random_range(0..3), random.random_range(1..120));
            let insert = format!("insert into {table} select {kind}, 'x' from generate_series(1, {times})");
            let empty = if table != "steady" && random.random_ratio(1, 30) {
                format!("truncate {table};")
            } else {
                String::new()
            };
            let end = if random.random_ratio(1, 6) { "rollback" } else { "commit" };
            let sql = format!(
                "begin; {empty} {insert}; savepoint s; {insert}; rollback to s; {insert};
                 insert into keyed values ({kind}, {times}) on conflict (id) do update set n = {times}; {end}"
            );
            match client.batch_execute(&sql).await {
                Ok(()) => committed += 1,
                Err(error) => {
                    let code = error.code().map(|code| code.code().to_owned());
                    assert_eq!(code.as_deref(), Some("40P01"), "{error:?}");
                    client.batch_execute("rollback").await.unwrap();
                }
            }
            tokio::time::sleep(REST).await;
        }
        committed
    })
}

/// Lets one half die at each of its points, in some order; then it stays.
async fn die_everywhere(pipeline: &Pipeline, (half, points): (&str, &[&str]), seed: u64) -> Daemon {
    let mut random = StdRng::seed_from_u64(seed);
    let mut points = points.to_vec();
    points.shuffle(&mut random);
    for point in points {
        let passes = random.random_range(0..=if point == "publish::after-produce" { 100 } else { 1 });
        let passes = if point == "apply::after-part" { 0 } else { passes };
        pipeline.died(pipeline.start_armed(half, &format!("{point}={passes}*off->return"))).await;
    }
    pipeline.start(half)
}

async fn killed_everywhere(delivery: &str) {
    let seed = seed();
    // Passes of several parts, and of several batches.
    let settings = [("tail.window_rows", "200"), ("apply.batch_rows", "100"), ("kafka.delivery", delivery)];
    let pipeline = appending(SCHEMA, &settings, &["plain", "parted", "steady"]).await;
    pipeline.expect("Failed to acquire transactional PID");
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for number in 0..3 {
        let random = StdRng::seed_from_u64(seed.wrapping_add(number));
        writers.push(write(pipeline.source.connect().await, random, &stop));
    }
    // Capture begins, and all rows are logged anew, while they write.
    pipeline.init().await;
    let again = async {
        for table in ["plain", "parted", "plain", "parted"] {
            pipeline.fine(&format!("snapshot public.{table}")).await;
            tokio::time::sleep(10 * REST).await;
        }
    };
    let [publish, apply] = POINTS.map(|points| die_everywhere(&pipeline, points, seed));
    let (publisher, applier, ()) = tokio::join!(publish, apply, again);
    stop.store(true, Ordering::Relaxed);
    let mut committed = 0;
    for writer in writers {
        committed += writer.await.unwrap();
    }
    let compared = equal(&pipeline).await;
    let logged = value(&pipeline.from, "select count(*) from cdc.steady_cdc").await;
    println!(
        "{delivery}: {committed} transactions, {logged} log rows of one table, {compared} rows compared"
    );
    pipeline.stop(publisher).await;
    pipeline.stop(applier).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_leave_every_row_once_with_exactly_once() {
    killed_everywhere("exactly_once").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_leave_every_row_once_with_at_least_once() {
    killed_everywhere("at_least_once").await;
}
