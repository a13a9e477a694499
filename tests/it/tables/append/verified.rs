//! `verify` counts equal rows.

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
