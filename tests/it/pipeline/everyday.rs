//! What happens every day arrives everywhere.

use super::harness::{MARKER, Pipeline};
use super::load::{Load, SHOP, seed};
use crate::db::run;

const KINDS: &str = "
create type mood as enum ('sad', 'ok', 'it''s \"great\"');
create table kinds (id bigint, part text, n integer, price numeric, tags text[], matrix integer[], mood mood,
    doc jsonb, raw bytea, at timestamptz, flag boolean, body text, primary key (id, part));
create table plain (id integer primary key, body text not null default '');
create table gone (id integer primary key, body text);";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_change_and_value_arrives_in_three_stores() {
    let pipeline = Pipeline::create(&[], KINDS).await;
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    let sql = format!(
        "insert into kinds select n, 'p' || n, n, n / 7.0, array['{MARKER}', null, 'a,\"b', ''], '{{{{1,2}},{{3,null}}}}',
             'it''s \"great\"', jsonb_build_object('n', n, 'null', null, 'q', '\"'), decode('00ff0a5c', 'hex'),
             '2026-01-01 00:00:00.123456+03', n % 2 = 0, E'tab\\tline\\nback\\\\slash é {MARKER}'
         from generate_series(1, 50) n;
         insert into kinds (id, part, body, tags) values (100, '', '', '{{}}'), (101, 'nulls', null, null);
         insert into plain select n from generate_series(1, 30) n;
         insert into gone select n, '' from generate_series(1, 30) n"
    );
    run(&pipeline.from, &sql).await;
    assert_eq!(pipeline.compare().await, 52 + 30 + 30);

    let sql = "update kinds set body = null, price = 1.500 where id % 3 = 0;
         update kinds set part = part || '-moved', id = id + 1000 where id % 5 = 0;
         delete from kinds where id % 7 = 0;
         update plain set id = id + 100;
         begin; delete from plain where id < 110; insert into plain values (2, 'again'); commit;
         begin; insert into plain values (99); rollback;
         truncate gone; insert into gone values (7, 'after')";
    for statement in sql.split(";\n") {
        run(&pipeline.from, statement).await;
    }
    pipeline.compare().await;
    run(&pipeline.from, "truncate kinds, plain, gone").await;
    assert_eq!(pipeline.compare().await, 0);

    let status = pipeline.fine("status --json").await;
    assert_eq!(status.matches("\"rows_behind\":0").count(), 3, "{status}");
    assert!(pipeline.fine("check").await.starts_with("ok"));
    pipeline.topics.assert_exactly_once(&pipeline.from).await;
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_added_while_the_daemon_runs_arrives_too() {
    let settings = [("kafka.delivery", "at_least_once"), ("kafka.partitions", "1")];
    let pipeline = Pipeline::create(&settings, SHOP).await;
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    let load = Load::start(&pipeline, 2, seed()).await;

    // The application writes the new table from the moment that it is there, and all through `init`.
    run(&pipeline.from, "create table late (id serial primary key, body text)").await;
    let writer = pipeline.source.connect().await;
    let (done, mut stop) = tokio::sync::oneshot::channel();
    let writing = tokio::spawn(async move {
        while stop.try_recv().is_err() {
            run(&writer, "insert into late (body) values ('late')").await;
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    });
    pipeline.init().await;
    done.send(()).unwrap();
    writing.await.unwrap();
    load.finish().await;
    // Rows from before its capture are the initial load's, which is not what this test is about.
    let before = "delete from late where id < (select min(id) from cdc.late_cdc where cdc_op = 'I')";
    run(&pipeline.from, before).await;

    let compared = pipeline.compare().await;
    println!("{compared} rows compared");
    pipeline.stop(daemon).await;
}
