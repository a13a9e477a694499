//! A log that is full stops its table, and `init` lets it go on with all that was missed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{SCHEMA, logged};
use crate::db::{rows, run, value};
use crate::pipeline::harness::Pipeline;

const ENTRY: &str = "[[table]]\nname = \"public.t\"\nmax_log_bytes = 1048576\non_full = \"stop\"\n";
const SETTINGS: [(&str, &str); 2] = [("retention.keep_hours", "0"), ("source.snapshot", "initial")];

async fn create(more: &str) -> Pipeline {
    captured(&format!("{SCHEMA}; create table u (id int primary key); {more}"), ENTRY).await
}

async fn captured(schema: &str, entry: &str) -> Pipeline {
    let pipeline = Pipeline::create(&SETTINGS, schema).await;
    pipeline.configure(entry);
    pipeline.expect("nothing of it is logged any more");
    pipeline.init().await;
    pipeline
}

/// Writes until the log is full; returns the rows of the log.
async fn fill(pipeline: &Pipeline) -> u64 {
    let gaps = "select count(*) from cdc.gaps where cleared_at is null";
    pipeline
        .wait_until("the log is full", async || {
            let more = "insert into t select coalesce((select max(id) from t), 0) + n, repeat('x', 500) from generate_series(1, 200) n";
            run(&pipeline.from, more).await;
            value(&pipeline.from, gaps).await != "0"
        })
        .await;
    logged(pipeline).await
}

/// Lets the daemon empty the log, and `init` end the gap.
async fn made_room(pipeline: &Pipeline) {
    made_room_for(pipeline, "public.t: may have missed changes, its rows will be copied anew").await;
}

async fn made_room_for(pipeline: &Pipeline, says: &str) {
    pipeline
        .wait_until("init ends the gap", async || {
            run(&pipeline.from, "vacuum cdc.t_cdc").await;
            let said = pipeline.fine("init").await;
            value(&pipeline.from, "select count(*) from cdc.gaps where cleared_at is null").await == "0" && {
                assert!(said.contains(says), "{said}");
                true
            }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_log_stops_its_table_without_any_daemon_and_init_lets_it_go_on() {
    let pipeline = create("").await;
    // Its functions are made anew by DDL, and stop as before.
    run(&pipeline.from, "alter table t add column w int").await;
    // Nobody reads anything.
    let full = fill(&pipeline).await;
    run(
        &pipeline.from,
        "update t set v = 'y'; delete from t where id < 10; insert into u select generate_series(1, 9)",
    )
    .await;
    assert_eq!(logged(&pipeline).await, full, "nothing of it is logged");
    assert_eq!(value(&pipeline.from, "select count(*) from cdc.gaps").await, "1", "it is noted once");
    assert_eq!(value(&pipeline.from, "select count(*) from cdc.u_cdc").await, "9", "others go on");
    let check = pipeline.command("check").await;
    assert_eq!(check.code, Some(2), "{}", check.text);
    for text in ["log.stopped", "nothing of public.t has been logged for", "tripline init", "log.size"] {
        assert!(check.text.contains(text), "{text} is not in {}", check.text);
    }
    let status = pipeline.command("status").await;
    assert_eq!(status.code, Some(1), "{}", status.text);
    assert!(status.text.contains("public.t is stopped: its log was full"), "{}", status.text);
    // While it is as full as it was, init changes nothing about that.
    let said = pipeline.fine("init").await;
    assert!(said.contains("nothing of it is logged, because its log takes"), "{said}");
    assert_eq!(value(&pipeline.from, "select count(*) from cdc.gaps where cleared_at is null").await, "1");

    let daemon = pipeline.start_ready("run").await;
    pipeline.wait_until("it is said", async || daemon.has_logged("nothing of it is logged any more")).await;
    pipeline.wait_until("the log is emptied", async || logged(&pipeline).await <= 8).await;
    run(&pipeline.from, "vacuum cdc.t_cdc").await;
    run(&pipeline.from, "update t set v = 'z' where id < 50").await;
    assert!(logged(&pipeline).await <= 8, "it has room again, and was stopped");
    made_room(&pipeline).await;
    run(&pipeline.from, "update t set v = 'w' where id between 20 and 30").await;
    pipeline.compare().await;
    pipeline.fine("verify").await;
    let check = pipeline.command("check").await;
    assert!(!check.text.contains("log.stopped"), "{}", check.text);
    // It can happen again.
    fill(&pipeline).await;
    pipeline.wait_until("the log is emptied", async || logged(&pipeline).await <= 8).await;
    made_room(&pipeline).await;
    pipeline.compare().await;
    let unchanged = pipeline.fine("init").await;
    assert_eq!(unchanged.matches("unchanged").count(), 2, "{unchanged}");
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_on_both_sides_of_a_gap_leave_the_targets_equal() {
    let pipeline = create("").await;
    let mut daemon = pipeline.start_ready("run").await;
    let over = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for number in 0..3_u32 {
        let (client, over) = (pipeline.source.connect().await, Arc::clone(&over));
        writers.push(tokio::spawn(async move {
            let level = ["read committed", "repeatable read", "read committed"][number as usize];
            for n in 0_u64.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let first = u64::from(number) * 1_000 + n % 400;
                // Some of one transaction is logged and some is not.
                let sql = format!(
                    "begin isolation level {level};
                     insert into t select {first} + n, repeat('x', 300) from generate_series(0, 40) n
                       on conflict (id) do update set v = excluded.v || {n};
                     select pg_sleep(0.05); delete from t where id = {first} + 7; {}",
                    if n % 5 == 4 { "rollback" } else { "commit" }
                );
                if client.batch_execute(&sql).await.is_err()
                    && client.batch_execute("rollback").await.is_err()
                {
                    return;
                }
            }
        }));
    }
    for _ in 0..2 {
        let gaps = "select count(*) from cdc.gaps where cleared_at is null";
        pipeline.wait_until("the log is full", async || value(&pipeline.from, gaps).await != "0").await;
        pipeline.wait_until("the log is emptied", async || logged(&pipeline).await <= 8).await;
        made_room(&pipeline).await;
    }
    over.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    if value(&pipeline.from, "select count(*) from cdc.gaps where cleared_at is null").await != "0" {
        pipeline.wait_until("the log is emptied", async || logged(&pipeline).await <= 8).await;
        made_room(&pipeline).await;
    }
    pipeline.caught_up_by(&mut daemon).await;
    assert!(pipeline.compare().await > 0);
    pipeline.fine("verify").await;
    pipeline.stop(daemon).await;
}

/// A transaction whose snapshot still shows the gap, and one that has left something out and is open: neither may be lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_transactions_across_the_end_of_a_gap_write_arrives() {
    let pipeline = create("").await;
    let daemon = pipeline.start_ready("run").await;
    fill(&pipeline).await;
    let (old, open) = (pipeline.source.connect().await, pipeline.source.connect().await);
    run(&old, "begin isolation level repeatable read; select count(*) from u").await;
    run(&open, "begin; insert into t values (900001, 'left out')").await;
    let text = std::fs::read_to_string(pipeline.config()).unwrap();
    std::fs::write(pipeline.config(), text.replace("1048576", "8388608")).unwrap();
    // init waits for the one that has left something out: a copy would not see its row.
    let busy = pipeline.command("init").await;
    let ended = rows(&pipeline.from, "select from cdc.gaps where cleared_at is not null").await.is_empty();
    assert!(busy.code == Some(2) && ended, "{}", busy.text);
    run(&open, "commit").await;
    made_room(&pipeline).await;
    assert_eq!(
        value(&old, "select count(*) from cdc.gaps where cleared_at is null").await,
        "1",
        "it sees the gap"
    );
    run(&old, "insert into t values (900002, 'behind it'); commit").await;
    assert_eq!(value(&pipeline.from, "select count(*) from cdc.t_cdc where id = 900002").await, "1");
    pipeline.compare().await;
    assert_eq!(value(&pipeline.to, "select count(*) from t where id > 900000").await, "2");
    pipeline.stop(daemon).await;
}

/// Rows come through the partitions' own names too, and a truncate of one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partitioned_table_stops_as_a_whole() {
    let pipeline = captured(
        "create table t (id bigint primary key, v text) partition by range (id);
         create table t_low partition of t for values from (minvalue) to (300);
         create table t_high partition of t for values from (300) to (maxvalue)",
        ENTRY,
    )
    .await;
    let full = fill(&pipeline).await;
    run(&pipeline.from, "insert into t_low values (-1, 'low'); update t_high set v = 'high'; truncate t_low")
        .await;
    assert_eq!(logged(&pipeline).await, full, "nothing of it is logged");
    let daemon = pipeline.start_ready("run").await;
    pipeline.wait_until("the log is emptied", async || logged(&pipeline).await <= 8).await;
    made_room(&pipeline).await;
    run(&pipeline.from, "insert into t_low values (-2, 'low'); delete from t where id % 3 = 0").await;
    assert!(pipeline.compare().await > 0);
    pipeline.fine("verify").await;
    pipeline.stop(daemon).await;
}

/// Its rows are logged anew: the log has to have room for all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_without_a_key_goes_on_once_its_log_has_room_for_its_rows() {
    let entry = ENTRY.replace("on_full", "append_only = true\non_full");
    let pipeline = captured("create table t (id bigint, v text)", &entry).await;
    let full = fill(&pipeline).await;
    run(&pipeline.from, "insert into t values (0, 'left out'), (0, 'left out')").await;
    assert_eq!(logged(&pipeline).await, full, "nothing of it is logged");
    let daemon = pipeline.start_ready("run").await;
    pipeline.wait_until("the log is emptied", async || logged(&pipeline).await <= 8).await;
    run(&pipeline.from, "vacuum cdc.t_cdc").await;
    let said = pipeline.fine("init").await;
    assert!(said.contains("have to be logged anew") && said.contains("raise max_log_bytes"), "{said}");
    assert_eq!(value(&pipeline.from, "select count(*) from cdc.gaps where cleared_at is null").await, "1");
    let text = std::fs::read_to_string(pipeline.config()).unwrap();
    std::fs::write(pipeline.config(), text.replace("1048576", "8388608")).unwrap();
    made_room_for(&pipeline, "may have missed changes: all its rows are logged anew").await;
    run(&pipeline.from, "insert into t values (0, 'behind it')").await;
    assert!(pipeline.compare().await > 0);
    pipeline.fine("verify").await;
    pipeline.stop(daemon).await;
}
