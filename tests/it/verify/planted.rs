//! Differences that somebody planted: each is found and named, and nothing else is.

use super::{all_equal, verify};
use crate::db::run;
use crate::pipeline::daemon::Daemon;
use crate::pipeline::harness::{MARKER, Pipeline};

const TABLES: &str = "
create table plain (id bigint primary key, body text, amount numeric);
create table \"Order Lines\" (\"Order\" integer, \"line\"\"no\" text, body text, primary key (\"line\"\"no\", \"Order\"));
create table words (word text primary key, n integer);";

/// A statement for the destination, table, and what is to be found.
const IN_POSTGRES: [(&str, &str, &[&str]); 9] = [
    ("delete from plain where id = 7", "public.plain", &[r#"missing {"id":7}"#]),
    ("insert into plain values (1000, 'x', 1)", "public.plain", &[r#"extra {"id":1000}"#]),
    (
        "update plain set body = overlay(body placing 'X' from 3 for 1) where id = 8",
        "public.plain",
        &[r#"changed {"id":8}"#],
    ),
    ("update plain set body = null where id = 21", "public.plain", &[r#"changed {"id":21}"#]),
    ("update plain set body = '' where id = 22", "public.plain", &[r#"changed {"id":22}"#]),
    ("update plain set amount = 1.50 where id = 9", "public.plain", &[r#"changed {"id":9}"#]),
    (
        "update plain p set body = q.body, amount = q.amount from plain q \
         where (p.id, q.id) in ((10, 11), (11, 10))",
        "public.plain",
        &[r#"changed {"id":10}"#, r#"changed {"id":11}"#],
    ),
    (
        "update \"Order Lines\" set \"line\"\"no\" = 'a\",\"b' where \"Order\" = 3 and \"line\"\"no\" = 'l3'",
        "public.Order Lines",
        &[r#"extra {"Order":3,"line\"no":"a\",\"b"}"#, r#"missing {"Order":3,"line\"no":"l3"}"#],
    ),
    (
        "update words set word = 'É' where word = 'é'",
        "public.words",
        &[r#"extra {"word":"É"}"#, r#"missing {"word":"é"}"#],
    ),
];

/// A statement that undoes what [`IN_POSTGRES`] did, from a copy.
const UNDO: &str = "
truncate plain, \"Order Lines\", words;
insert into plain select * from kept_plain;
insert into \"Order Lines\" select * from kept_lines;
insert into words select * from kept_words;";

async fn filled() -> (Pipeline, Daemon) {
    let pipeline = Pipeline::create(&[], TABLES).await;
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    let sql = format!(
        "insert into plain select n, '{MARKER} ' || n, 1.5 from generate_series(1, 60) n;
         update plain set body = '' where id = 21; update plain set body = null where id = 22;
         insert into \"Order Lines\" select n, 'l' || n, null from generate_series(1, 20) n;
         insert into \"Order Lines\" values (3, 'a', 'b'), (3, 'a\",\"', 'b');
         insert into words select w, 1 from unnest(array['é', 'e', 'E', '', ' ', 'a,b', 'a', '{{}}']) w"
    );
    run(&pipeline.from, &sql).await;
    assert_eq!(all_equal(&pipeline).await, 60 + 22 + 8);
    (pipeline, daemon)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_differences_are_found_and_named_at_the_destination() {
    let (pipeline, daemon) = filled().await;
    let keep = "create table kept_plain as table plain; create table kept_lines as table \"Order Lines\";
        create table kept_words as table words";
    run(&pipeline.to, keep).await;
    for (plant, table, finds) in IN_POSTGRES {
        run(&pipeline.to, plant).await;
        let verified = verify(&pipeline, "").await;
        assert_eq!(verified.code, Some(1), "{plant}");
        assert_eq!(verified.answer["verdict"], "different", "{plant}");
        assert_eq!(verified.differing(table, "postgres"), finds, "{plant}");
        assert_eq!(verified.sum("postgres", "differing"), finds.len() as u64, "{plant}");
        assert_eq!(verified.sum("clickhouse", "differing"), 0, "{plant}");
        run(&pipeline.to, UNDO).await;
    }
    // Many at once: all are counted, the first ones named; people read the same, and never a value.
    run(&pipeline.to, "delete from plain where id > 20").await;
    let ended = pipeline.command("verify plain words").await;
    assert_eq!(ended.code, Some(1), "{}", ended.text);
    for says in ["missing {\"id\":", "and 30 more", "different: "] {
        assert!(ended.text.contains(says), "{says} is not in\n{}", ended.text);
    }
    assert!(!ended.text.contains(MARKER) && !ended.text.contains("Order Lines"), "{}", ended.text);
    run(&pipeline.to, UNDO).await;
    all_equal(&pipeline).await;
    pipeline.stop(daemon).await;
}

/// A statement for ClickHouse, and what is to be found in `plain`. Versions are above all that the source gave out.
const IN_CLICKHOUSE: [(&str, &[&str]); 6] = [
    ("SELECT id, body, amount, 1000001, 1 FROM plain_current WHERE id = 7", &[r#"missing {"id":7}"#]),
    ("SELECT 1000, 'x', '1', 1000002, 0", &[r#"extra {"id":1000}"#]),
    (
        "SELECT id, concat(body, ' '), amount, 1000003, 0 FROM plain_current WHERE id = 8",
        &[r#"changed {"id":8}"#],
    ),
    ("SELECT id, NULL, amount, 1000004, 0 FROM plain_current WHERE id = 21", &[r#"changed {"id":21}"#]),
    ("SELECT id, body, '1.50', 1000005, 0 FROM plain_current WHERE id = 9", &[r#"changed {"id":9}"#]),
    (
        "SELECT if(id = 10, 11, 10) AS id, body, amount, 1000006, 0 FROM plain_current WHERE plain_current.id IN (10, 11)",
        &[r#"changed {"id":10}"#, r#"changed {"id":11}"#],
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_differences_are_found_and_named_in_clickhouse() {
    let (pipeline, daemon) = filled().await;
    let mut all = Vec::new();
    for (plant, finds) in IN_CLICKHOUSE {
        let insert = format!("INSERT INTO plain (id, body, amount, _version, _deleted) {plant}");
        pipeline.mirror.read(&insert).await;
        all.extend(finds.iter().map(|&find| find.to_owned()));
        all.sort();
        let verified = verify(&pipeline, "").await;
        assert_eq!(verified.code, Some(1), "{plant}");
        assert_eq!(verified.differing("public.plain", "clickhouse"), all, "{plant}");
        assert_eq!(verified.sum("clickhouse", "differing"), all.len() as u64, "{plant}");
        assert_eq!(verified.sum("postgres", "differing"), 0, "{plant}");
    }
    pipeline.mirror.read("INSERT INTO words (word, n, _version, _deleted) VALUES ('É', 1, 1000007, 0)").await;
    let verified = verify(&pipeline, "public.words").await;
    assert_eq!(verified.differing("public.words", "clickhouse"), [r#"extra {"word":"É"}"#]);
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_rows_of_a_large_table_are_found() {
    let pipeline =
        Pipeline::create(&[], "create table large (id bigint primary key, body text, at timestamptz)").await;
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    let fill = "insert into large select n, md5(n::text), '2026-01-01'::timestamptz + n * interval '1 s'
         from generate_series(1, 120000) n";
    run(&pipeline.from, fill).await;
    assert_eq!(all_equal(&pipeline).await, 120_000);
    let plant = "delete from large where id = 77777; insert into large values (-5, 'x');
         update large set at = at + interval '1 us' where id = 119999";
    run(&pipeline.to, plant).await;
    for (id, version) in [(3, 10_000_001), (60_000, 10_000_002), (120_000, 10_000_003)] {
        let change = format!(
            "INSERT INTO large SELECT id, 'other', at, {version}, 0, now64(3) FROM large_current WHERE id = {id}"
        );
        pipeline.mirror.read(&change).await;
    }
    let verified = verify(&pipeline, "").await;
    let (postgres, clickhouse) =
        (verified.differing("public.large", "postgres"), verified.differing("public.large", "clickhouse"));
    assert_eq!(postgres, [r#"changed {"id":119999}"#, r#"extra {"id":-5}"#, r#"missing {"id":77777}"#]);
    assert_eq!(clickhouse, [r#"changed {"id":120000}"#, r#"changed {"id":3}"#, r#"changed {"id":60000}"#]);
    assert_eq!(verified.sum("postgres", "rows"), 120_000);
    assert_eq!(verified.sum("clickhouse", "rows"), 120_000);
    pipeline.stop(daemon).await;
}
