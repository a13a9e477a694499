//! While writers run: nothing is reported that is not so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinHandle;

use super::{all_equal, verify};
use crate::db::{run, value};
use crate::pipeline::harness::Pipeline;
use crate::pipeline::load::{Load, SHOP, seed};

/// Runs of `verify` while writers are at work.
const RUNS: usize = 4;

/// Repeats statements in a session of its own until it is stopped; a deadlock ends one of them.
fn repeat(client: tokio_postgres::Client, sql: &'static str, stop: &Arc<AtomicBool>) -> JoinHandle<usize> {
    let stop = Arc::clone(stop);
    tokio::spawn(async move {
        let mut done = 0;
        while !stop.load(Ordering::Relaxed) {
            done += usize::from(client.batch_execute(sql).await.is_ok());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        done
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_reported_falsely_while_writers_and_truncates_run() {
    let schema = format!(
        "{SHOP}
         create table counters (id integer primary key, n bigint not null);
         create table still (id integer primary key, body text);
         create table moved (a integer, b text, n integer, primary key (a, b));"
    );
    let pipeline = Pipeline::create(&[], &schema).await;
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    run(
        &pipeline.from,
        "insert into counters select n, 0 from generate_series(1, 3) n;
        insert into still select n, 'still ' || n from generate_series(1, 500) n;
        insert into moved select n, 'b', n from generate_series(1, 20) n",
    )
    .await;
    pipeline.caught_up().await;

    let load = Load::start(&pipeline, 3, seed()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut others = Vec::new();
    for sql in [
        "update counters set n = n + 1",
        "begin; update counters set n = -n where id = 1; select pg_sleep(0.2); commit",
        "truncate orders; select pg_sleep(1)",
        "update moved set a = 1000 - a, b = b || 'x' where a % 3 = 0; update moved set b = left(b, 3), a = a + 1000 where a < 500",
        "begin; truncate moved; insert into moved select n, 'again', n from generate_series(1, 20) n; commit; select pg_sleep(1.3)",
    ] {
        others.push(repeat(pipeline.source.connect().await, sql, &stop));
    }
    let mut compared = 0;
    let mut unsettled = 0;
    for number in 0..RUNS {
        let verified = verify(&pipeline, "").await;
        for report in verified.answer["tables"].as_array().unwrap() {
            match report["error"].as_str() {
                None => assert_eq!(report["differing"], 0, "run {number}: {:#}", verified.answer),
                // A table that is truncated all the time may never be still; it is said, not passed over.
                Some(error) => {
                    assert!(
                        error.contains("truncated between the cut and the look"),
                        "run {number}: {error}"
                    );
                    assert_eq!(verified.code, Some(2));
                    unsettled += 1;
                }
            }
        }
        for target in ["postgres", "clickhouse"] {
            let still = verified.of("public.still", target);
            assert_eq!((&still["rows"], &still["in_flight"]), (&500.into(), &0.into()), "{still:#}");
        }
        compared += verified.answer["tables"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|report| report["rows"].as_u64())
            .sum::<u64>();
    }
    stop.store(true, Ordering::Relaxed);
    for other in others {
        assert!(other.await.unwrap() > 0);
    }
    let committed = load.finish().await;
    println!(
        "{committed} transactions, {compared} rows compared in {RUNS} runs, {unsettled} tables never still"
    );
    all_equal(&pipeline).await;
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_difference_is_found_while_writers_run() {
    let pipeline = Pipeline::create(&[], SHOP).await;
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    run(&pipeline.from, "insert into customers select n, 'quiet', 0 from generate_series(1001, 3000) n")
        .await;
    pipeline.caught_up().await;
    let load = Load::start(&pipeline, 3, seed()).await;
    run(&pipeline.to, "update customers set name = 'quiet ' where id = 2000").await;
    pipeline
        .mirror
        .read("INSERT INTO customers SELECT id, name, 0.01, 1000000000, 0, now64(3) FROM customers_current WHERE id = 2500")
        .await;
    let verified = verify(&pipeline, "").await;
    assert_eq!(verified.code, Some(1), "{:#}", verified.answer);
    assert_eq!(verified.differing("public.customers", "postgres"), [r#"changed {"id":2000}"#]);
    assert_eq!(verified.differing("public.customers", "clickhouse"), [r#"changed {"id":2500}"#]);
    load.finish().await;
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_target_has_not_applied_is_in_flight_and_no_difference() {
    let pipeline = Pipeline::create(&[], SHOP).await;
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    run(&pipeline.from, "insert into customers select n, 'first', 0 from generate_series(1, 50) n").await;
    pipeline.caught_up().await;
    pipeline.stop(daemon).await;
    let changes =
        "update customers set balance = 1 where id <= 10; delete from customers where id in (11, 12);
        insert into customers values (51, 'late'), (52, 'late'); update customers set id = 100 where id = 13";
    run(&pipeline.from, changes).await;
    let verified = verify(&pipeline, "customers").await;
    assert_eq!(
        (verified.code, &verified.answer["verdict"]),
        (Some(0), &"equal".into()),
        "{:#}",
        verified.answer
    );
    for target in ["postgres", "clickhouse"] {
        // Ten updated, two deleted, two inserted, one moved from 13 to 100.
        assert_eq!(
            (verified.sum(target, "in_flight"), verified.sum(target, "rows")),
            (16, 37),
            "{:#}",
            verified.answer
        );
    }
    let ended = pipeline.command("verify customers").await;
    assert!(ended.text.contains("32 keys changed all the time and were not compared"), "{}", ended.text);

    // A truncate that is not applied: there is nothing to compare, and that is said.
    run(&pipeline.from, "truncate customers cascade").await;
    let verified = verify(&pipeline, "customers").await;
    assert_eq!((verified.code, &verified.answer["verdict"]), (Some(2), &"incomplete".into()));
    let daemon = pipeline.start_ready("run").await;
    run(&pipeline.from, "insert into customers values (1, 'new')").await;
    assert_eq!(all_equal(&pipeline).await, 1);
    assert_eq!(value(&pipeline.to, "select count(*) from customers").await, "1");
    pipeline.stop(daemon).await;
}
