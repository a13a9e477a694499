//! What both targets make of DDL that is more than a new column.

use crate::db::{run, value};
use crate::pipeline::harness::Pipeline;
use crate::pipeline::load::seed;

use super::flow::{Writers, assert_equal};

/// Returns what stands between the first pair of backticks behind `run`: a statement that a message names.
fn named_statement(text: &str) -> String {
    let start = text.find("run `").expect(text) + "run `".len();
    text[start..].split_once('`').expect(text).0.to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_halt_goes_on_once_the_statement_that_it_names_was_run() {
    let pipeline = Pipeline::create(&[], "create table t (id int primary key, v text, w text)").await;
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    run(&pipeline.from, "insert into t select n, n::text, n::text from generate_series(1, 30) n").await;
    assert_eq!(assert_equal(&pipeline, "rows").await, 30);
    pipeline.expect("became");
    // Behind it comes what the destination must not see before it was altered.
    let conversion =
        "alter table t alter column v type int using v::int; update t set v = v + 1 where id % 2 = 0;
         alter table t rename column w to x; insert into t values (31, 31, 'x')";
    run(&pipeline.from, conversion).await;
    let mut daemon = daemon;
    pipeline.wait_until("the daemon ends", async || daemon.poll().is_some()).await;
    let ended = daemon.ended();
    assert_eq!(ended.code, Some(2), "{}", ended.text);
    let statement = named_statement(&ended.text);
    assert!(statement.contains("\"v\" type integer"), "{statement}");
    assert_eq!(value(&pipeline.to, "select count(*) from t where id > 30").await, "0");
    // As it is, it halts again.
    pipeline.refuses("run", &[&statement]).await;
    run(&pipeline.to, &statement).await;
    let daemon = pipeline.start_ready("run").await;
    assert_eq!(assert_equal(&pipeline, "the statement").await, 31);
    assert_eq!(
        pipeline.mirror.read("SELECT v, x FROM t_current WHERE id IN (2, 31) ORDER BY id").await,
        ["3\t2", "31\tx"]
    );
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_table_that_is_rewritten_under_load_is_copied() {
    let schema = "create table t (id int primary key, n int, pad text);
        alter table t alter column pad set storage external;
        insert into t select 1000 + n, n, repeat('x', 100000) from generate_series(1, 700) n";
    let pipeline = Pipeline::create(&[("source.snapshot", "initial")], schema).await;
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    let writers = Writers::start(&pipeline, 2, seed()).await;
    let ddl = pipeline.source.connect().await;
    let size: u64 = value(&ddl, "select pg_table_size('t')").await.parse().unwrap();
    assert!(size > 64 << 20, "{size}");
    run(&ddl, "alter table t add column r double precision default random()").await;
    let requested = "select count(*) from cdc.snapshots where sweeps and ended_at is null";
    assert_eq!(value(&ddl, requested).await, "1", "its rows are too many for the transaction of the DDL");
    pipeline.wait_until("it is copied", async || value(&ddl, requested).await == "0").await;
    let committed = writers.finish().await;
    let compared = assert_equal(&pipeline, "the rewrite").await;
    assert!(compared >= 700 && committed > 0, "{compared} {committed}");
    assert_eq!(pipeline.mirror.read("SELECT count() FROM t_current WHERE r = 0").await, ["0"]);
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_renamed_and_widened_at_both_targets() {
    let schema = "create table t (region text, id int, v text, primary key (region, id));
        create table u (id smallint primary key, v text)";
    let pipeline = Pipeline::create(&[], schema).await;
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    for (round, (statement, names)) in [
        ("select 1", ["region", "id", "id"]),
        ("alter table t rename column id to nr", ["region", "nr", "id"]),
        (
            "alter table t alter column nr type bigint; alter table u alter column id type int",
            ["region", "nr", "id"],
        ),
        (
            "alter table t rename column region to place; alter table u rename column id to v2",
            ["place", "nr", "v2"],
        ),
        (
            "begin; alter table t rename column place to x; alter table t rename column nr to place;
          alter table t rename column x to nr; commit",
            ["nr", "place", "v2"],
        ),
        ("alter table u alter column v2 type bigint", ["nr", "place", "v2"]),
    ]
    .into_iter()
    .enumerate()
    {
        run(&pipeline.from, statement).await;
        let [text, number, key] = names;
        let writes = format!(
            "insert into t ({text}, {number}, v) select 'r' || n % 3, n, 'v' from generate_series(1, 20) n on conflict do nothing;
             update t set v = v || '.' where {number} % 2 = 0; update t set {number} = {number} + 1000 * {round} where {number} in (5, 10);
             delete from t where {number} % 7 = 0;
             insert into u ({key}, v) select n, 'v' from generate_series(1, 20) n on conflict do nothing;
             update u set {key} = {key} + 1000 * {round} where {key} in (5, 10); delete from u where {key} = 7"
        );
        run(&pipeline.from, &writes).await;
        assert!(assert_equal(&pipeline, statement).await > 20);
    }
    // Wider than the key was.
    run(
        &pipeline.from,
        "insert into t values ('r', 3000000000, 'x'); insert into u values (3000000000, 'x')",
    )
    .await;
    assert_equal(&pipeline, "wide keys").await;
    let key = "SELECT sorting_key FROM system.tables WHERE database = currentDatabase() AND name IN ('t', 'u') ORDER BY name";
    let keys = pipeline.mirror.read(key).await;
    assert_eq!(keys.iter().map(|key| key.trim_matches(['(', ')'])).collect::<Vec<_>>(), ["nr, place", "v2"]);
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_gets_another_schema_keeps_its_rows_at_both_targets() {
    let pipeline =
        Pipeline::create(&[], "create schema other; create table t (id int primary key, n int)").await;
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    run(&pipeline.from, "insert into t select n, n from generate_series(1, 30) n").await;
    assert_eq!(assert_equal(&pipeline, "rows").await, 30);
    run(&pipeline.from, "alter table t set schema other; insert into other.t values (31, 31); update other.t set n = 0 where id < 5").await;
    assert_eq!(assert_equal(&pipeline, "set schema").await, 31);
    assert_eq!(value(&pipeline.to, "select to_regclass('public.t')").await, "∅");
    let tables = pipeline
        .mirror
        .read("SELECT name FROM system.tables WHERE database = currentDatabase() ORDER BY name")
        .await;
    println!("{tables:?}");
    run(&pipeline.from, "begin; alter table other.t set schema public; alter table t rename to back; insert into back values (32, 32); commit").await;
    assert_eq!(assert_equal(&pipeline, "and back").await, 32);
    assert_eq!(pipeline.mirror.read("SELECT count() FROM back_current").await, ["32"]);
    pipeline.stop(daemon).await;
}
