//! Partitions that come and go, with rows and without, while the pipeline works and nobody may create event triggers.

use crate::db::{UNWATCHED, run};
use crate::pipeline::daemon::Daemon;
use crate::pipeline::harness::Pipeline;
use crate::verify::all_equal;

const SCHEMA: &str = "
create table t (id int, day date, v text, primary key (day, id)) partition by range (day);
create table t20 partition of t for values from ('2020-01-01') to ('2021-01-01');
create table t21 partition of t for values from ('2021-01-01') to ('2022-01-01') partition by list (id);
create table t21_1 partition of t21 for values in (1, 2, 3); create table t21_rest partition of t21 default;
create table \"T 22\" (v text, day date not null, id int not null);
alter table t attach partition \"T 22\" for values from ('2022-01-01') to ('2023-01-01');
insert into t select n, '2020-06-01'::date + n * 10, 'v' from generate_series(1, 90) n;";

/// Halts the publisher by `statements`, which no event carries; `init` and the copy that it asks for repair that.
async fn halted_and_repaired(pipeline: &Pipeline, daemon: Daemon, statements: &str, says: &[&str]) -> Daemon {
    // One transaction each, unless they say otherwise.
    let mut rest = statements;
    if !statements.contains("begin;") {
        while let Some((one, others)) = rest.split_once(';') {
            run(&pipeline.from, one).await;
            rest = others;
        }
    }
    run(&pipeline.from, rest).await;
    pipeline.ends_with(daemon, 2, &[&["public.t: its partition", "tripline init"], says].concat()).await;
    pipeline.refuses("publish", says).await;
    let init = pipeline.fine("init").await;
    run(&pipeline.from, UNWATCHED).await;
    for part in ["accepted: its partition", "will be copied anew"] {
        assert!(init.contains(part), "{part} is not in\n{init}");
    }
    equal_again(pipeline).await
}

/// Starts the daemon and waits until the requested copy is through.
async fn equal_again(pipeline: &Pipeline) -> Daemon {
    let daemon = pipeline.start_ready("run").await;
    pipeline.fine("snapshot --wait").await;
    equal(pipeline).await;
    daemon
}

async fn equal(pipeline: &Pipeline) {
    assert_ne!(all_equal(pipeline).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_partitions_arrive_whichever_way_they_are_written() {
    let pipeline = Pipeline::create(&[("source.snapshot", "initial")], SCHEMA).await;
    pipeline.init().await;
    run(&pipeline.from, UNWATCHED).await;
    let daemon = equal_again(&pipeline).await;
    for step in [
        // Into leaves, through a middle one, and from one partition to another.
        "insert into t20 values (500, '2020-02-02', 'leaf'); insert into t21 values (2, '2021-02-02', 'middle');
         insert into \"T 22\" (id, day, v) values (501, '2022-02-02', 'other order')",
        "update t set day = day + 365 where id % 3 = 0 and day < '2022-01-01'; update t21 set id = id + 1000 where id = 2; update t21 set id = 3 where id = 50",
        "delete from t21_rest where id % 2 = 0; truncate t21_1; truncate t20, \"T 22\"",
        "insert into t select n, '2020-06-01'::date + n * 10, 'w' from generate_series(1, 90) n on conflict (day, id) do update set v = 'x'",
        "truncate t21; insert into t values (1, '2021-01-01', 'again')",
        "truncate t; insert into t select n, '2020-06-01'::date + n * 10, 'v' from generate_series(1, 90) n",
        // A partition that is made as one: its rows are captured at once, also those of the same transaction.
        "begin; create table t23 partition of t for values from ('2023-01-01') to ('2024-01-01');
         insert into t values (7, '2023-07-07', 'new'); insert into t23 values (8, '2023-07-07', 'new'); commit;
         update t set v = 'moved', day = '2023-08-08' where id = 9",
        "create table t24 partition of t for values from ('2024-01-01') to ('2025-01-01') partition by hash (id);
         create table t24_0 partition of t24 for values with (modulus 1, remainder 0); insert into t values (10, '2024-02-02', 'deep')",
    ] {
        run(&pipeline.from, step).await;
        equal(&pipeline).await;
    }
    let check = pipeline.command("check").await;
    assert!(check.text.contains("it has new partitions"), "{}", check.text);
    let init = pipeline.fine("init").await;
    run(&pipeline.from, UNWATCHED).await;
    assert!(init.contains("repaired") && !init.contains("accepted"), "{init}");
    run(&pipeline.from, "truncate t23, t24").await;
    equal(&pipeline).await;
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_a_truncate_of_a_partition_could_not_see_go_all_the_same() {
    let pipeline = Pipeline::create(&[("source.snapshot", "initial")], SCHEMA).await;
    pipeline.init().await;
    run(&pipeline.from, UNWATCHED).await;
    let daemon = equal_again(&pipeline).await;
    let other = pipeline.source.connect().await;
    run(&other, "begin isolation level repeatable read; select count(*) from t").await;
    run(&pipeline.from, "insert into t values (500, '2020-02-02', 'unseen')").await;
    run(&other, "truncate t20; insert into t values (501, '2020-02-02', 'after'); commit").await;
    pipeline.fine("snapshot --wait").await;
    equal(&pipeline).await;
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_come_or_go_with_rows_halt_until_init_takes_them_over() {
    let pipeline = Pipeline::create(&[("source.snapshot", "initial")], SCHEMA).await;
    pipeline.init().await;
    run(&pipeline.from, UNWATCHED).await;
    let daemon = equal_again(&pipeline).await;
    let daemon = halted_and_repaired(
        &pipeline,
        daemon,
        "create table come (like t); insert into come values (1, '2023-01-01', 'x'), (2, '2023-01-02', 'y');
         alter table t attach partition come for values from ('2023-01-01') to ('2024-01-01')",
        &["partition public.come was attached with rows"],
    )
    .await;
    // In one transaction, so that rows and partition have the same age.
    let daemon = halted_and_repaired(
        &pipeline,
        daemon,
        "begin; create table fresh (like t); insert into fresh values (1, '2024-01-01', 'x');
         alter table t attach partition fresh for values from ('2024-01-01') to ('2025-01-01'); commit",
        &["partition public.fresh was attached with rows"],
    )
    .await;
    let daemon = halted_and_repaired(
        &pipeline,
        daemon,
        "alter table t detach partition come; insert into t20 values (1, '2020-01-01', 'z')",
        &["partition public.come was detached or dropped"],
    )
    .await;
    let daemon = halted_and_repaired(
        &pipeline,
        daemon,
        "drop table \"T 22\"",
        &["partition public.T 22 was detached or dropped"],
    )
    .await;
    let daemon = halted_and_repaired(
        &pipeline,
        daemon,
        "create table unseen partition of t for values from ('2025-01-01') to ('2026-01-01');
         insert into unseen values (1, '2025-05-05', 'x'), (2, '2025-05-05', 'x'); truncate unseen",
        &["partition public.unseen was truncated or rewritten"],
    )
    .await;
    // What is detached is nobody's: the trigger that is left there says nothing of the row that has its key now.
    run(
        &pipeline.from,
        "create table t23 partition of t for values from ('2023-01-01') to ('2024-01-01');
         insert into t values (1, '2023-01-01', 'x'); truncate come",
    )
    .await;
    equal(&pipeline).await;
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_an_attach_could_not_see_arrive() {
    let pipeline = Pipeline::create(&[("source.snapshot", "initial")], SCHEMA).await;
    pipeline.init().await;
    let daemon = equal_again(&pipeline).await;
    run(&pipeline.from, "create schema aside; create table aside.come (like t)").await;
    let other = pipeline.source.connect().await;
    run(&other, "begin isolation level repeatable read; select count(*) from t").await;
    run(&pipeline.from, "insert into aside.come values (500, '2024-02-02', 'unseen')").await;
    let attach =
        "alter table t attach partition aside.come for values from ('2024-01-01') to ('2025-01-01'); commit";
    run(&other, attach).await;
    pipeline.fine("snapshot --wait").await;
    equal(&pipeline).await;
    pipeline.stop(daemon).await;
}
