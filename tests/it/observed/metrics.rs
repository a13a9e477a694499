//! Metrics of a real run.

use std::collections::{BTreeMap, BTreeSet};

use tripline::telemetry::catalog::{Kind, METRICS};

use super::http::{address, listen, scrape};
use crate::db::run;
use crate::pipeline::harness::{MARKER, Pipeline};

const SCHEMA: &str = "create table notes (id integer primary key, body text);
    create table old (id integer primary key, day date);";

/// Kind and label names of every metric in a scrape, without those that Prometheus makes of a histogram.
fn found(text: &str, names: impl Iterator<Item = String>) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).map(|line| {
        let (name, kind) = line.split_once(' ').unwrap();
        (name.to_owned(), kind.to_owned())
    });
    let mut found: BTreeMap<_, _> = kinds.map(|(name, kind)| (name, (kind, BTreeSet::new()))).collect();
    for series in names {
        let (name, labels) = series.split_once('{').unwrap_or((&series, ""));
        let parts = ["_bucket", "_sum", "_count"];
        let base =
            parts.iter().filter_map(|part| name.strip_suffix(part)).find(|base| found.contains_key(*base));
        let entry = found.get_mut(base.unwrap_or(name)).unwrap_or_else(|| panic!("{series} has no TYPE"));
        let labels = labels.trim_end_matches('}').split("\",").filter_map(|label| label.split_once("=\""));
        entry.1.extend(labels.map(|(label, _)| label.to_owned()).filter(|label| label != "le"));
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scrape_after_a_real_run_has_every_documented_metric_and_no_other() {
    let mut pipeline = Pipeline::create(&[("mirror.out_of_range", "clamp")], SCHEMA).await;
    listen(&mut pipeline);
    pipeline.set("retention.max_log_bytes", "1000000000");
    pipeline.expect("something stands in for a value");
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    let address = address(&pipeline, &daemon).await;
    for n in 0..3 {
        let sql = format!(
            "insert into notes select n, '{MARKER}' from generate_series({n} * 100 + 1, {n} * 100 + 100) n"
        );
        run(&pipeline.from, &sql).await;
        pipeline.caught_up().await;
    }
    run(&pipeline.from, "insert into old values (1, '1800-01-01')").await;
    pipeline.caught_up().await;
    pipeline.fine("verify").await;

    let scrape = scrape(&address);
    let found = found(&scrape.text, scrape.names().cloned());
    let ours = found.iter().filter(|(name, _)| name.starts_with("tripline_"));
    let ours: BTreeMap<_, _> = ours.map(|(name, found)| (name.as_str(), found.clone())).collect();
    let documented = METRICS.iter().map(|metric| {
        let kind = format!("{:?}", metric.kind).to_lowercase();
        (metric.name, (kind, metric.labels.iter().map(|label| (*label).to_owned()).collect()))
    });
    assert_eq!(ours, documented.collect(), "{}", scrape.text);
    assert_eq!(ours.len(), found.len(), "others than ours: {:?}", found.keys());
    assert!(!scrape.text.contains(MARKER));

    for (series, value) in [
        ("tripline_published_rows_total", 301.0),
        ("tripline_applied_rows_total{target=\"postgres\"}", 301.0),
        ("tripline_applied_rows_total{target=\"clickhouse\"}", 301.0),
        ("tripline_pass_rows_sum", 301.0),
        ("tripline_window_rows_sum", 301.0),
        ("tripline_batch_rows_sum{target=\"postgres\"}", 301.0),
        ("tripline_verified_differing_rows{target=\"postgres\"}", 0.0),
        ("tripline_verified_failed_tables{target=\"postgres\"}", 0.0),
        ("tripline_restarts_total{task=\"publish\"}", 0.0),
        ("tripline_ready{task=\"apply clickhouse\"}", 1.0),
        ("tripline_rows_behind{stage=\"source\"}", 0.0),
        ("tripline_rows_behind{stage=\"postgres\"}", 0.0),
        ("tripline_rows_behind{stage=\"clickhouse\"}", 0.0),
    ] {
        assert_eq!(scrape.value(series), Some(value), "{series}\n{}", scrape.text);
    }
    let passes = scrape.value("tripline_passes_total").unwrap();
    assert!((4.0..=301.0).contains(&passes), "{passes}");
    assert_eq!(scrape.value("tripline_pass_rows_count"), Some(passes));
    let verified = scrape.value("tripline_verified_pass{target=\"postgres\"}");
    assert_eq!(verified, scrape.value("tripline_pass{stage=\"postgres\"}"));
    let histograms = METRICS.iter().filter(|metric| metric.kind == Kind::Histogram);
    assert_eq!(histograms.count(), scrape.text.matches(" histogram\n").count());
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lag_is_right_when_the_clocks_of_source_and_daemon_are_an_hour_apart() {
    // In this database alone the clock is an hour late. The real one keeps running under another name.
    let clock = "alter function pg_catalog.clock_timestamp() rename to real_clock_timestamp;
        create function pg_catalog.clock_timestamp() returns timestamptz language sql volatile
            as 'select pg_catalog.real_clock_timestamp() - interval ''1 hour''';";
    let mut pipeline = Pipeline::create(&[], &format!("{clock} {SCHEMA}")).await;
    listen(&mut pipeline);
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    let address = address(&pipeline, &daemon).await;
    let behind = |stage: &str| {
        let scrape = scrape(&address);
        let value = |what: &str| scrape.value(&format!("tripline_{what}_behind{{stage=\"{stage}\"}}"));
        (value("rows").unwrap(), value("seconds").unwrap())
    };
    run(&pipeline.from, "insert into notes values (1, 'one')").await;
    pipeline.caught_up().await;
    for stage in ["source", "postgres", "clickhouse"] {
        let (rows, seconds) = behind(stage);
        assert!(rows == 0.0 && seconds < 1_800.0, "{stage}: {rows} rows, {seconds} s");
    }

    // The target is held up: what waits there is counted, and grows older by the second.
    run(&pipeline.to, "begin; lock table notes in access exclusive mode").await;
    run(&pipeline.from, "insert into notes select n, '' from generate_series(2, 51) n").await;
    let late = async || behind("postgres").0 == 50.0 && behind("postgres").1 > 1.0;
    pipeline.wait_until("50 rows wait for the target", late).await;
    let (_, seconds) = behind("postgres");
    assert!(seconds < 1_800.0, "{seconds}");
    let status: serde_json::Value = serde_json::from_str(&super::http::get(&address, "/status").1).unwrap();
    assert_eq!(status["tasks"][1]["stages"][0]["step"], "applying a batch", "{status}");
    assert_eq!(behind("source").0, 0.0, "the publisher goes on");
    run(&pipeline.to, "rollback").await;
    pipeline.wait_until("nothing waits", async || behind("postgres") == (0.0, 0.0)).await;
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_applier_knows_what_waited_before_it_came() {
    let mut pipeline = Pipeline::create(&[], SCHEMA).await;
    listen(&mut pipeline);
    pipeline.init().await;
    let publisher = pipeline.start_ready("publish").await;
    for n in 1..=20 {
        run(&pipeline.from, &format!("insert into notes values ({n}, ''), ({n} + 100, '')")).await;
    }
    pipeline.wait_until("all is published", async || pipeline.source_is_drained().await).await;

    // Two parts fit into what is at hand; nothing behind them is read while the table is locked.
    pipeline.set("apply.batch_rows", "2");
    run(&pipeline.to, "begin; lock table notes in access exclusive mode").await;
    let applier = pipeline.start("apply");
    let address = address(&pipeline, &applier).await;
    let rows = || scrape(&address).value("tripline_rows_behind{stage=\"postgres\"}");
    pipeline.wait_until("all that waits is counted", async || rows() == Some(40.0)).await;
    // More comes while it waits.
    run(&pipeline.from, "insert into notes select n, '' from generate_series(1001, 1030) n").await;
    pipeline.wait_until("what comes is counted too", async || rows() == Some(70.0)).await;
    // What the publisher says at its start may be a batch of its own, and then counts as one.
    if !applier.has_logged("applied target_name=\"postgres\"") {
        assert_eq!(super::http::get(&address, "/readyz").0, 503, "nothing is applied yet");
    }
    run(&pipeline.to, "rollback").await;
    pipeline.wait_until("it is ready", async || applier.has_logged("INFO ready")).await;
    assert_eq!(pipeline.compare().await, 70);
    pipeline.wait_until("nothing waits", async || rows() == Some(0.0)).await;
    assert_eq!(super::http::get(&address, "/readyz").0, 200);
    pipeline.stop(applier).await;
    pipeline.stop(publisher).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_transaction_is_seen_and_what_is_gone_over_again_is_counted() {
    let mut pipeline = Pipeline::create(&[], SCHEMA).await;
    listen(&mut pipeline);
    pipeline.init().await;
    let daemon = pipeline.start_ready("publish").await;
    let address = address(&pipeline, &daemon).await;
    let value = |series: &str| scrape(&address).value(series).unwrap();
    let rescanned = value("tripline_rescanned_ids_total");

    let open = pipeline.source.connect().await;
    run(&open, "begin; insert into notes values (0, 'late')").await;
    for n in 1..=30 {
        run(&pipeline.from, &format!("insert into notes values ({n}, '')")).await;
    }
    let old = async || value("tripline_oldest_transaction_seconds") > 2.0;
    pipeline.wait_until("the open transaction is seen", old).await;
    pipeline.wait_until("30 rows", async || value("tripline_published_rows_total") == 30.0).await;
    run(&open, "commit").await;
    pipeline.wait_until("31 rows", async || value("tripline_published_rows_total") == 31.0).await;
    // The pass that had the late row went over the 30 again.
    let again = value("tripline_rescanned_ids_total") - rescanned;
    assert!(again >= 30.0, "{again}");
    pipeline.stop(daemon).await;
}
