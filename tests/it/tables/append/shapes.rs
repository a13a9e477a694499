//! DDL on tables without a key, with event triggers and without, and what capture has missed.

use super::{EVENTS, appending, equal, started};
use crate::db::{UNWATCHED, rows, run};
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_of_a_table_without_a_key_arrive_and_the_rest_may_change() {
    let schema = "create table events (kind text, secret text, phone text);
        insert into events select 'in', 's', '12345' from generate_series(1, 3);
        insert into events values ('out', 's', '1'), (null, 's', '1')";
    let pipeline = Pipeline::create(&[("source.snapshot", "initial")], schema).await;
    pipeline.configure(
        "[[table]]\nname = \"public.events\"\nappend_only = true\nexclude = [\"secret\"]\n\
         mask = { phone = { truncate = 2 } }\nfilter = \"kind = 'in'\"\n",
    );
    pipeline.expect("is append_only");
    let daemon = started(&pipeline).await;
    let statements = "insert into events select 'in', 't', '12999' from generate_series(1, 2);
        update events set secret = 'u' where kind = 'out'; delete from events where kind is null";
    run(&pipeline.from, statements).await;
    pipeline.caught_up().await;
    let found = rows(&pipeline.to, "select kind, phone, count(*) from events group by 1, 2").await;
    assert_eq!(found, [["in", "12", "5"]]);
    assert_eq!(
        pipeline.fine("verify").await.matches(" 5            0            0  public.events").count(),
        2
    );
    run(&pipeline.from, "update events set kind = 'in' where kind = 'out'").await;
    pipeline.ends_with(daemon, 2, &["public.events is append_only"]).await;
    pipeline.fine("snapshot public.events").await;
    let daemon = pipeline.start_ready("run").await;
    pipeline.caught_up().await;
    assert_eq!(
        pipeline.fine("verify").await.matches(" 6            0            0  public.events").count(),
        2
    );
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_may_lose_its_key_and_get_one_again() {
    let schema =
        "create table events (id int primary key, v text); insert into events values (1, 'a'), (2, 'b')";
    let pipeline = Pipeline::create(&[("source.snapshot", "initial")], schema).await;
    let without = std::fs::read_to_string(pipeline.config()).unwrap();
    let daemon = started(&pipeline).await;
    run(&pipeline.from, "update events set v = 'c' where id = 2; delete from events where id = 1").await;
    assert_eq!(equal(&pipeline).await, 1);
    pipeline.stop(daemon).await;
    run(&pipeline.from, "update events set v = 'unread' where id = 2").await;

    run(&pipeline.from, "alter table events drop constraint events_pkey").await;
    pipeline.configure("[[table]]\nname = \"public.events\"\nappend_only = true\n");
    run(&pipeline.to, "alter table events drop constraint events_pkey").await;
    let refused = pipeline.command("init").await;
    assert!(refused.text.contains("instead of the key (_cdc_id) of public.events"), "{}", refused.text);
    pipeline.mirror.read("DROP TABLE events SYNC").await;
    pipeline.init().await;
    run(&pipeline.from, "insert into events values (2, 'again'), (3, 'new')").await;
    let daemon = pipeline.start_ready("run").await;
    assert_eq!(equal(&pipeline).await, 3);
    pipeline.stop(daemon).await;

    // What nobody has read yet when the table gets its key.
    run(&pipeline.from, "update events set v = 'unread' where id = 2").await;
    run(&pipeline.from, "alter table events add column number serial primary key").await;
    std::fs::write(pipeline.config(), without).unwrap();
    run(&pipeline.to, "alter table events add column number int; delete from events").await;
    run(&pipeline.to, "alter table events add primary key (number)").await;
    pipeline.mirror.read("DROP TABLE events SYNC").await;
    pipeline.fine("init").await;
    let daemon = pipeline.start_ready("run").await;
    pipeline.fine("snapshot --wait").await;
    run(&pipeline.from, "update events set v = 'last' where id = 2; delete from events where id = 3").await;
    assert_eq!(equal(&pipeline).await, 2);
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_halts_although_a_shape_that_is_still_read_had_a_key() {
    let schema = "create table events (id int primary key, v text); insert into events values (1, 'a')";
    let pipeline = Pipeline::create(&[("source.snapshot", "initial")], schema).await;
    let daemon = started(&pipeline).await;
    assert_eq!(equal(&pipeline).await, 1);
    pipeline.stop(daemon).await;
    run(&pipeline.from, "alter table events add column extra int default 1").await;
    run(&pipeline.from, "alter table events drop constraint events_pkey").await;
    pipeline.configure("[[table]]\nname = \"public.events\"\nappend_only = true\n");
    run(&pipeline.to, "alter table events drop constraint events_pkey").await;
    pipeline.mirror.read("DROP TABLE events SYNC").await;
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    assert_eq!(equal(&pipeline).await, 1);
    run(&pipeline.from, "update events set v = 'halts'").await;
    pipeline.ends_with(daemon, 2, &["public.events", "tripline snapshot public.events"]).await;
    pipeline.fine("snapshot public.events").await;
    let daemon = pipeline.start_ready("run").await;
    assert_eq!(equal(&pipeline).await, 1);
    pipeline.stop(daemon).await;
}
