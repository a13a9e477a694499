//! Tables without any key: rows that nothing tells apart arrive as often as they were written.

mod halts;
mod kills;
mod shapes;
mod verified;

use crate::db::{rows, run};
use crate::pipeline::daemon::Daemon;
use crate::pipeline::harness::Pipeline;
use crate::verify::all_equal;

/// Rows that are the same but for nothing, NULLs, an identity column, and no table without rows.
const EVENTS: &str = "
create type mood as enum ('sad', 'it''s \"great\"');
create table events (at timestamptz, kind text, amount numeric, m mood, tags text[], number bigint generated always as identity);
alter table events alter column number set cache 10;
insert into events (kind) values (null), (null), ('a'), ('a'), ('a'), ('');";

/// A pipeline that captures `tables` as append-only ones; existing rows are logged.
async fn appending(schema: &str, settings: &[(&str, &str)], tables: &[&str]) -> Pipeline {
    let settings = [&[("source.snapshot", "initial")], settings].concat();
    let pipeline = Pipeline::create(&settings, schema).await;
    for table in tables {
        pipeline.configure(&format!("[[table]]\nname = \"public.{table}\"\nappend_only = true\n"));
    }
    pipeline
}

/// Compares all tables in three ways: verify, whole rows at the destination, plain columns in ClickHouse.
async fn equal(pipeline: &Pipeline) -> usize {
    let verified = all_equal(pipeline).await;
    let compared = pipeline.compare().await;
    assert_eq!(compared as u64, verified);
    compared
}

async fn started(pipeline: &Pipeline) -> Daemon {
    pipeline.init().await;
    pipeline.start_ready("run").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_without_a_key_arrive_as_often_as_they_were_written() {
    let pipeline = appending(EVENTS, &[], &["events"]).await;
    let daemon = started(&pipeline).await;
    assert_eq!(equal(&pipeline).await, 6, "the rows that were there");
    for (statements, expected) in [
        ("insert into events (kind, amount) select 'a', 1.50 from generate_series(1, 500)", 506),
        ("begin; insert into events (kind) values ('gone'); rollback", 506),
        ("insert into events (at, m, tags) values ('2026-01-01', 'it''s \"great\"', '{a,null,\"\"}'), (null, 'sad', '{}')", 508),
        ("copy events (kind) from program 'yes same | head -n 300'", 808),
        // A trigger fills the table again.
        (
            "create function refill() returns trigger language plpgsql as
               'begin insert into events (kind) values (''refilled''), (''refilled''); return null; end';
             create trigger a_refill after truncate on events for each statement execute function refill();
             create trigger \"!refill\" after truncate on events for each statement execute function refill();
             begin; insert into events (kind) values ('before'); truncate events; insert into events (kind) values ('after');
             commit",
            5,
        ),
        ("insert into events (kind) select 'a' from generate_series(1, 2)", 7),
    ] {
        run(&pipeline.from, statements).await;
        assert_eq!(equal(&pipeline).await, expected, "{statements}");
    }
    let messages = pipeline.topics.read("events");
    let insert = messages.iter().find(|message| message.key != "{}").unwrap();
    assert_eq!(insert.key, format!("{{\"cdc_id\":{}}}", insert.cdc_id));
    let key = pipeline
        .mirror
        .read("SELECT sorting_key FROM system.tables WHERE database = currentDatabase() AND name = 'events'");
    assert!(["_cdc_id", "(_cdc_id)"].contains(&key.await[0].as_str()));
    assert_eq!(rows(&pipeline.to, "select from pg_index where indrelid = 'events'::regclass").await.len(), 0);
    let again = pipeline.fine("init").await;
    assert!(again.contains("public.events") && again.contains("unchanged"), "{again}");
    pipeline.fine("check").await;
    pipeline.stop(daemon).await;
}
