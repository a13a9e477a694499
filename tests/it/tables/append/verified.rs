//! `verify` counts equal rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{appending, started};
use crate::db::run;
use crate::pipeline::harness::MARKER;
use crate::verify::{all_equal, verify};

/// A statement for the destination, and what is to be found.
const IN_POSTGRES: [(&str, &[&str]); 4] = [
    ("delete from events where ctid = (select min(ctid) from events where kind = 'same')", &["missing"]),
    ("insert into events values ('same', 1)", &["extra"]),
    ("insert into events values ('other', null), ('other', null)", &["extra", "extra"]),
    (
        "update events set amount = 1.0 where ctid = (select min(ctid) from events where kind is null)",
        &["extra", "missing"],
    ),
];

/// The same for ClickHouse; the number is above all that the source gave out.
const IN_CLICKHOUSE: [(&str, &[&str]); 3] = [
    ("SELECT kind, amount, _cdc_id, 9000001, 1 FROM events WHERE kind = 'same' LIMIT 1", &["missing"]),
    ("SELECT 'same', '1', 9000002, 9000002, 0", &[]),
    ("SELECT 'same', '1', 9000003, 9000003, 0", &["extra"]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_extra_and_doubled_rows_are_found() {
    let schema = format!(
        "create table events (kind text, amount numeric);
         insert into events select 'same', 1 from generate_series(1, 50);
         insert into events select null, null from generate_series(1, 5);
         insert into events select '{MARKER} ' || n, n from generate_series(1, 30) n"
    );
    let pipeline = appending(&schema, &[], &["events"]).await;
    let daemon = started(&pipeline).await;
    assert_eq!(all_equal(&pipeline).await, 85);
    run(&pipeline.to, "create table kept as table events").await;
    for (plant, finds) in IN_POSTGRES {
        run(&pipeline.to, plant).await;
        let verified = verify(&pipeline, "").await;
        assert_eq!(verified.code, Some(1), "{plant}");
        let found = verified.differing("public.events", "postgres");
        let kinds: Vec<&str> = found.iter().map(|found| found.split(' ').next().unwrap()).collect();
        assert_eq!(kinds, finds, "{plant}");
        assert!(found.iter().all(|found| found.contains(r#"{"row_sha256":""#)), "{found:?}");
        assert_eq!(verified.of("public.events", "clickhouse")["differing"], 0, "{plant}");
        run(&pipeline.to, "truncate events; insert into events table kept").await;
    }
    let ended = pipeline.command("verify").await;
    assert!(ended.code == Some(0) && !ended.text.contains(MARKER), "{}", ended.text);
    for (plant, finds) in IN_CLICKHOUSE {
        let insert = format!("INSERT INTO events (kind, amount, _cdc_id, _version, _deleted) {plant}");
        pipeline.mirror.read(&insert).await;
        let verified = verify(&pipeline, "").await;
        let found = verified.differing("public.events", "clickhouse");
        let kinds: Vec<&str> = found.iter().map(|found| found.split(' ').next().unwrap()).collect();
        // The second one makes up for the first.
        assert_eq!(kinds, finds, "{plant}");
        assert_eq!(verified.of("public.events", "postgres")["differing"], 0, "{plant}");
    }
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_reported_falsely_while_rows_come() {
    let pipeline = appending("create table events (kind int, note text)", &[], &["events"]).await;
    let daemon = started(&pipeline).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for number in 0..3 {
        let (client, stop) = (pipeline.source.connect().await, Arc::clone(&stop));
        writers.push(tokio::spawn(async move {
            let mut written = 0;
            while !stop.load(Ordering::Relaxed) {
                // Most of them equal, some in flight at every cut.
                let sql = format!(
                    "insert into events select n % 3, null from generate_series(1, {}) n",
                    5 + number
                );
                client.batch_execute(&sql).await.unwrap();
                written += 5 + number;
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            written
        }));
    }
    let ddl = "alter table events add column late text default 'x'";
    let (mut compared, mut in_flight) = (0, 0);
    for number in 0..6 {
        if number == 3 {
            run(&pipeline.from, ddl).await;
        }
        let verified = verify(&pipeline, "").await;
        for target in ["postgres", "clickhouse"] {
            let report = verified.of("public.events", target);
            match report["error"].as_str() {
                None => {
                    assert_eq!(report["differing"], 0, "run {number}: {:#}", verified.answer);
                    compared += report["rows"].as_u64().unwrap();
                    in_flight += report["in_flight"].as_u64().unwrap();
                }
                // The target may not have the column yet.
                Some(error) => assert!(error.contains("column"), "{error}"),
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    let mut written = 0;
    for writer in writers {
        written += writer.await.unwrap();
    }
    println!("{written} rows, {compared} compared while they came, {in_flight} keys in flight");
    assert_eq!(all_equal(&pipeline).await, written);
    pipeline.stop(daemon).await;
}
