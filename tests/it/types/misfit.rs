//! Tables at the targets that cannot take the source's changes: `check` names them, and no row is applied.

use crate::db::{run, value};
use crate::pipeline::harness::Pipeline;

/// A table at the source, what stands for it at the destination, and what is said of that.
const MISFITS: &[(&str, &str, &str)] = &[
    ("lacks", "id bigint primary key", "table public.lacks has no column \"v\" (text)"),
    (
        "other",
        "id bigint primary key, v integer",
        "\"v\" of table public.other is integer at the destination, which cannot hold every text",
    ),
    ("short", "id bigint primary key, v varchar(9)", "\"v\" of table public.short is character varying(9)"),
    (
        "narrow",
        "id integer primary key, v text",
        "\"id\" of table public.narrow is integer at the destination, which cannot hold every bigint",
    ),
    ("key", "id bigint, v text primary key", "table public.key has no unique index exactly on (id)"),
    (
        "more",
        "id bigint primary key, v text, x text not null",
        "\"x\" of table public.more is NOT NULL without a default",
    ),
    (
        "always",
        "id bigint primary key, v text generated always as ('x') stored, w integer generated always as identity",
        "",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_do_not_fit_are_found_by_check_and_before_the_first_row() {
    let create =
        |(name, ..): &(&str, &str, &str)| format!("create table {name} (id bigint primary key, v text);");
    let schema: String = MISFITS.iter().map(create).collect();
    let schema = format!("{schema}create table fine (id bigint primary key)");
    let mut pipeline = Pipeline::create(&[], &schema).await;
    pipeline.init().await;
    pipeline.set("apply.create_tables", "false");
    assert!(pipeline.command("check").await.text.starts_with("ok"));
    for (name, columns, _) in MISFITS {
        run(&pipeline.to, &format!("drop table {name}; create table {name} ({columns})")).await;
    }
    let check = pipeline.command("check").await;
    let expected: Vec<&str> =
        MISFITS.iter().map(|(.., says)| *says).filter(|says| !says.is_empty()).collect();
    for says in &expected {
        assert!(check.text.contains(says), "{says}\n{}", check.text);
    }
    let findings = check.text.matches("error    destination.table").count();
    assert!(check.code == Some(2) && findings == expected.len(), "{}", check.text);

    // What a transaction writes into a table that fits waits for the rest of it.
    run(&pipeline.from, "begin; insert into fine values (1); insert into other values (1, 'x'); commit")
        .await;
    let daemon = pipeline.start("run");
    pipeline.ends_with(daemon, 2, &["public.other", "alter it to text"]).await;
    assert_eq!(value(&pipeline.to, "select count(*) from fine").await, "0");
    run(&pipeline.to, "alter table other alter v type text").await;
    let mut daemon = pipeline.start("run");
    pipeline.caught_up_by(&mut daemon).await;
    assert_eq!(value(&pipeline.to, "select v from other, fine").await, "x");
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_that_does_not_fit_is_found_by_check() {
    let pipeline = Pipeline::create(&[], "create table people (id bigint primary key, born date)").await;
    pipeline.init().await;
    assert!(pipeline.command("check").await.text.starts_with("ok"));
    let database = &pipeline.mirror.database;
    pipeline.mirror.read(&format!("DROP TABLE `{database}`.people")).await;
    let narrow = format!(
        "CREATE TABLE `{database}`.people (id Int32, born Nullable(Date32), _version UInt64, _deleted UInt8)
         ENGINE = ReplacingMergeTree(_version, _deleted) ORDER BY id"
    );
    pipeline.mirror.read(&narrow).await;
    let check = pipeline.command("check").await;
    let says = ["clickhouse.table", "column `id`", "is Int32, which cannot hold bigint of public.people"];
    assert!(check.code == Some(2) && says.iter().all(|says| check.text.contains(says)), "{}", check.text);
}
