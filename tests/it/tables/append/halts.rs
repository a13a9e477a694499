//! What is no insert halts by name, and the way out leaves both targets as the table is.

use super::{EVENTS, appending, equal, started};
use crate::db::{run, value};
use crate::pipeline::harness::Pipeline;
use crate::verify::all_equal;

const PARTED: &str = "
create table parted (kind int, note text) partition by list (kind);
create table parted_1 partition of parted for values in (1);
create table parted_2 partition of parted for values in (2);
create table parted_9 partition of parted for values in (9);
insert into parted select 1 + n % 2, 'x' from generate_series(1, 40) n;";

/// Runs `statements`, which the publisher halts at, and what the application does behind that; then takes the way out.
async fn halted_and_loaded(pipeline: &Pipeline, table: &str, statements: &str, behind: &str) {
    let daemon = pipeline.start_ready("run").await;
    run(&pipeline.from, statements).await;
    let first = format!(
        "select min(cdc_id) from cdc.{table}_cdc where cdc_op in ('U', 'D') and cdc_id >
        (select max(cdc_id) from cdc.{table}_cdc where cdc_op = 'T')"
    );
    let first = value(&pipeline.from, &first).await;
    let says = [
        format!("public.{table} is append_only"),
        format!("with cdc_id {first} "),
        format!("`tripline snapshot public.{table}`"),
    ];
    let says = says.each_ref().map(String::as_str);
    pipeline.ends_with(daemon, 2, &says).await;
    run(&pipeline.from, behind).await;
    pipeline.refuses("run", &says).await;
    // Nothing behind it is published.
    let published = pipeline.topics.read(table);
    assert!(published.iter().all(|message| message.cdc_id < first.parse().unwrap()), "published ahead");
    pipeline.fine(&format!("snapshot public.{table}")).await;
    run(&pipeline.from, behind).await;
    let daemon = pipeline.start_ready("run").await;
    equal(pipeline).await;
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_or_a_delete_halts_by_name_until_the_table_is_logged_anew() {
    let schema = format!("{EVENTS}{PARTED} create table keyed (id int primary key)");
    let pipeline = appending(&schema, &[("tail.window_rows", "50")], &["events", "parted"]).await;
    pipeline.expect("is append_only");
    let daemon = started(&pipeline).await;
    assert_eq!(equal(&pipeline).await, 46);
    pipeline.stop(daemon).await;
    let behind = "insert into events (kind) select 'behind' from generate_series(1, 3);
        insert into parted select 1, 'behind' from generate_series(1, 3); insert into keyed select max(id) + 1 from keyed";
    run(&pipeline.from, "insert into keyed values (1)").await;
    let events = [
        "update events set kind = 'b' where kind = 'a'",
        "delete from events where kind is null",
        "begin isolation level repeatable read; alter table events add column u uuid default gen_random_uuid(); commit",
        // In the middle of a pass that takes several windows, part of which is published.
        "begin; insert into events (kind) select 'many' from generate_series(1, 500);
         delete from events where kind = 'many' and number % 2 = 0; commit",
    ];
    for statements in events {
        halted_and_loaded(&pipeline, "events", statements, behind).await;
    }
    for statements in [
        "update parted set note = 'y' where kind = 1",
        "update parted set kind = 2 where ctid = (select min(ctid) from parted_1)",
        "delete from parted_2 where ctid = (select min(ctid) from parted_2)",
        "truncate parted_1",
        // Rows that it does not see may have been there.
        "begin isolation level repeatable read; truncate parted_9; commit",
    ] {
        halted_and_loaded(&pipeline, "parted", statements, behind).await;
    }
    // What touches no row is none.
    run(&pipeline.from, "update events set kind = 'x' where false; delete from parted where false").await;
    let daemon = pipeline.start_ready("run").await;
    equal(&pipeline).await;
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_append_only_table_is_refused_by_name() {
    let schema = "create table keyed (id int primary key); create table nothing ();
        create table keyless (id int); create table fine (id int)";
    let pipeline = appending(schema, &[], &["keyed", "nothing", "fine"]).await;
    let refused = pipeline.command("init").await;
    assert_eq!(refused.code, Some(2), "{}", refused.text);
    for says in [
        "public.keyed: it is append_only and has a primary key, keyed_pkey; take append_only out of [[table]] name = \"public.keyed\"",
        "public.nothing: it is append_only and has no column",
        "public.keyless: it has no primary key; add one, or",
        "set append_only = true there if rows are only ever inserted",
    ] {
        assert!(refused.text.contains(says), "{says} is not in\n{}", refused.text);
    }
    assert_eq!(value(&pipeline.from, "select count(*) from pg_namespace where nspname = 'cdc'").await, "0");
    pipeline.configure("[[table]]\nname = \"public.keyless\"\nappend_only = true\nkey_index = \"i\"\n");
    let refused = pipeline.command("init").await;
    assert!(refused.text.contains("has a key_index and is append_only"), "{}", refused.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_table_is_logged_by_nobody_who_was_not_asked() {
    let schema =
        "create table large (n int, body text); alter table large alter column body set storage external;
        insert into large select 1, repeat('x', 7000) from generate_series(1, 9800)";
    let mut pipeline = appending(schema, &[], &["large"]).await;
    let refused = pipeline.command("init").await;
    for says in
        ["public.large: it is append_only and holds", "MiB of rows", "`tripline snapshot public.large`"]
    {
        assert!(refused.text.contains(says), "{says} is not in\n{}", refused.text);
    }
    pipeline.set("source.snapshot", "never");
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    run(&pipeline.from, "insert into large values (2, 'later'), (2, 'later')").await;
    pipeline.caught_up().await;
    assert_eq!(value(&pipeline.to, "select count(*) from large").await, "2");
    pipeline.fine("snapshot public.large").await;
    assert_eq!(equal(&pipeline).await, 9802);
    // DDL gives all rows other values: too many to be logged in its transaction.
    pipeline.expect("is append_only");
    run(&pipeline.from, "alter table large add column u uuid default gen_random_uuid()").await;
    pipeline.ends_with(daemon, 2, &["public.large is append_only", "or that DDL did so"]).await;
    pipeline.fine("snapshot --all").await;
    let daemon = pipeline.start_ready("run").await;
    assert_eq!(equal(&pipeline).await, 9802);
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_again_does_not_stand_twice() {
    let mut pipeline = appending(EVENTS, &[], &["events"]).await;
    pipeline.set("source.snapshot", "never");
    let daemon = started(&pipeline).await;
    run(&pipeline.from, "truncate events").await;
    let back = value(&pipeline.from, "select last_value from cdc.cdc_id_seq").await;
    run(&pipeline.from, "insert into events (kind) select 'a' from generate_series(1, 20)").await;
    assert_eq!(equal(&pipeline).await, 20);
    pipeline.stop(daemon).await;
    let part = pipeline.command("snapshot public.events --where true").await;
    assert!(
        part.text.contains("public.events is append_only: without a key only all of its rows"),
        "{}",
        part.text
    );
    let refused = pipeline.command(&format!("offset rewind --to {back} --yes")).await;
    assert_eq!(refused.code, Some(2), "{}", refused.text);
    for says in
        ["public.events is append_only", "a second time", "run `tripline snapshot public.events` first"]
    {
        assert!(refused.text.contains(says), "{says} is not in\n{}", refused.text);
    }
    // A truncate is among what comes again.
    pipeline.fine("offset rewind --to 0 --yes").await;
    let daemon = pipeline.start_ready("run").await;
    assert_eq!(equal(&pipeline).await, 20);
    pipeline.stop(daemon).await;
    pipeline.fine("snapshot public.events").await;
    pipeline.fine(&format!("offset rewind --to {back} --yes")).await;
    let daemon = pipeline.start_ready("run").await;
    assert_eq!(equal(&pipeline).await, 20);
    pipeline.stop(daemon).await;
    pipeline.fine("offset reset --yes").await;
    let daemon = pipeline.start_ready("run").await;
    assert_eq!(all_equal(&pipeline).await, 20);
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_before_its_table_was_dropped_holds_up_nobody() {
    let pipeline =
        appending(&format!("{EVENTS} create table keyed (id int primary key)"), &[], &["events"]).await;
    pipeline.expect("was dropped");
    let daemon = started(&pipeline).await;
    assert_eq!(equal(&pipeline).await, 6);
    pipeline.stop(daemon).await;
    let statements =
        "insert into events (kind) values ('last'); delete from events where kind = 'a'; drop table events;
        insert into keyed values (1)";
    run(&pipeline.from, statements).await;
    let daemon = pipeline.start_ready("run").await;
    assert_eq!(equal(&pipeline).await, 1);
    assert_eq!(value(&pipeline.to, "select count(*) from events").await, "7", "kept as it was");
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_logged_anew_behind_those_who_write_it() {
    let pipeline = appending(EVENTS, &[], &["events"]).await;
    let daemon = started(&pipeline).await;
    assert_eq!(equal(&pipeline).await, 6);
    pipeline.stop(daemon).await;
    let writer = pipeline.source.connect().await;
    run(&writer, "begin; insert into events (kind) values ('open'), ('open')").await;
    let waits = "select count(*) from pg_locks where not granted and relation = 'events'::regclass";
    let commit = async {
        pipeline
            .wait_until("it waits for who writes", async || value(&pipeline.from, waits).await != "0")
            .await;
        run(&writer, "commit").await;
    };
    tokio::join!(pipeline.fine("snapshot public.events"), commit);
    let behind = "select count(*) from cdc.events_cdc where cdc_op = 'I' and cdc_id >
        (select max(cdc_id) from cdc.events_cdc where cdc_op = 'T')";
    assert_eq!(value(&pipeline.from, behind).await, "8");
    let daemon = pipeline.start_ready("run").await;
    assert_eq!(equal(&pipeline).await, 8);
    pipeline.stop(daemon).await;
}
