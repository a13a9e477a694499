//! DDL on tables without a key, with event triggers and without, and what capture has missed.

use super::{EVENTS, appending, equal, started};
use crate::db::{UNWATCHED, run};
use crate::pipeline::harness::Pipeline;

const SCHEMA: &str = "
create table parted (kind int, note text) partition by list (kind);
create table parted_1 partition of parted for values in (1);
create table parted_2 partition of parted for values in (2);
insert into parted select 1 + n % 2, 'x' from generate_series(1, 40) n;";

/// What the event triggers follow.
const FOLLOWED: [&str; 14] = [
    "alter table events add column c int",
    "alter table events add column d text default 'it''s'",
    "alter table events rename column kind to \"we\"\"ird\"",
    "alter table events rename column \"we\"\"ird\" to kind",
    "alter table events add column e int",
    "alter table events alter column e type bigint",
    "alter table events drop column c",
    // Rows get values that no event carries.
    "alter table events add column u uuid default gen_random_uuid()",
    "alter table events alter column e type text using 'e' || coalesce(e, 0)",
    "alter table parted add column n int default 7",
    "create table parted_3 partition of parted for values in (3); insert into parted values (3, 'new'), (3, 'new')",
    "create table parted_4 (like parted); insert into parted_4 values (4, 'came', 1), (4, 'came', 1);
     alter table parted attach partition parted_4 for values in (4)",
    "alter table parted detach partition parted_2",
    "drop table parted_3",
];

/// Two rows more, before and behind it.
async fn insert(pipeline: &Pipeline) {
    run(
        &pipeline.from,
        "insert into events (at) values (now()), (now()); insert into parted values (1, 'y'), (1, 'y')",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ddl_of_tables_without_a_key_is_followed() {
    // What is detached is a table without a key.
    let settings = [("source.tables", "public.*,!public.parted_2")];
    let pipeline = appending(&format!("{EVENTS}{SCHEMA}"), &settings, &["events", "parted"]).await;
    let daemon = started(&pipeline).await;
    for statements in FOLLOWED {
        insert(&pipeline).await;
        run(&pipeline.from, statements).await;
        insert(&pipeline).await;
        assert_ne!(equal(&pipeline).await, 0, "{statements}");
        let init = pipeline.fine("init").await;
        assert_eq!(init.matches(" unchanged ").count(), 2, "after {statements}\n{init}");
    }
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_missed_is_logged_anew_by_init() {
    let pipeline = appending(&format!("{EVENTS}{SCHEMA}"), &[], &["events", "parted"]).await;
    pipeline.expect("tripline init");
    let mut daemon = started(&pipeline).await;
    equal(&pipeline).await;
    for (statements, says) in [
        (
            "alter table events disable trigger \"00_tripline_cdc_insert\";
             insert into events (kind) values ('missed'), ('missed');
             alter table events enable trigger \"00_tripline_cdc_insert\"",
            "public.events",
        ),
        ("alter table events add column c int default 3", "public.events"),
        ("drop table parted_2", "public.parted"),
        (
            "create table parted_4 (like parted); insert into parted_4 values (4, 'came'), (4, 'came');
             alter table parted attach partition parted_4 for values in (4)",
            "public.parted",
        ),
    ] {
        run(&pipeline.from, UNWATCHED).await;
        // Each a transaction of its own.
        for statement in statements.split(';') {
            run(&pipeline.from, statement).await;
        }
        insert(&pipeline).await;
        pipeline.ends_with(daemon, 2, &[says]).await;
        let init = pipeline.fine("init").await;
        assert!(init.contains("all its rows are logged anew"), "{statements}\n{init}");
        daemon = pipeline.start_ready("run").await;
        assert_ne!(equal(&pipeline).await, 0, "{statements}");
    }
    pipeline.stop(daemon).await;
}
