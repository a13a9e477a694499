//! What only newer versions of PostgreSQL have, from a source of that version on.

use std::time::Duration;

use tripline::capture::{self, InitOptions};
use tripline::config::{Config, TableOverride};

use crate::db::{TestDb, Which, rows, run, value};
use crate::passes::{PATIENCE, Source, brief};
use crate::pipeline::harness::Pipeline;

/// Returns true when a server is new enough for a test, and says so when it is not.
pub(crate) async fn at_least(client: &tokio_postgres::Client, major: u32) -> bool {
    let version: u32 = value(client, "show server_version_num").await.parse().unwrap();
    if version / 10_000 < major {
        println!("nothing to test before PostgreSQL {major}, this is {}", version / 10_000);
    }
    version / 10_000 >= major
}

/// Returns why `t` cannot be captured with this index as its key, or with its primary key.
async fn refused(ddl: &str, key_index: Option<&str>) -> String {
    let db = TestDb::create(Which::Source).await;
    let mut client = db.connect().await;
    run(&client, ddl).await;
    let mut config = Config::default();
    config.source.tables = vec!["public.t".into()];
    config.table = vec![TableOverride {
        name: "public.t".into(),
        key_index: key_index.map(str::to_owned),
        ..TableOverride::default()
    }];
    capture::init(&mut client, &config, InitOptions::default()).await.unwrap_err().to_string()
}

#[tokio::test]
async fn nulls_that_are_not_distinct_make_no_key() {
    let db = TestDb::create(Which::Source).await;
    if !at_least(&db.connect().await, 15).await {
        return;
    }
    let ddl = "create table t (id int, v text); create unique index i on t (id) nulls not distinct";
    let error = refused(ddl, Some("i")).await;
    assert!(error.contains("its key i has a column that may be null"), "{error}");
}

#[tokio::test]
async fn a_key_without_overlaps_is_refused() {
    let db = TestDb::create(Which::Source).await;
    if !at_least(&db.connect().await, 18).await {
        return;
    }
    let ddl = "create table t (id int4range, at daterange, v text, primary key (id, at without overlaps))";
    let error = refused(ddl, None).await;
    assert!(error.contains("its key t_pkey is not a valid, unique btree index"), "{error}");
}

#[tokio::test]
async fn a_not_null_that_was_never_checked_is_none() {
    let db = TestDb::create(Which::Source).await;
    let mut client = db.connect().await;
    if !at_least(&client, 18).await {
        return;
    }
    let ddl = "create table t (id int, v text); insert into t values (null, 'a'), (null, 'b');
        alter table t add constraint later not null id not valid; create unique index i on t (id)";
    let error = refused(ddl, Some("i")).await;
    assert!(error.contains("its key i has a column that may be null"), "{error}");

    // As any other column it may hold NULL in both targets.
    run(&client, "create table t (id int primary key, v text); insert into t values (1, null)").await;
    run(&client, "alter table t add constraint later not null v not valid").await;
    let mut config = Config::default();
    config.source.tables = vec!["public.t".into()];
    capture::init(&mut client, &config, InitOptions::default()).await.unwrap();
    let known = capture::load(&client, "cdc").await.unwrap();
    let not_null: Vec<bool> = known[0].table.columns.iter().map(|column| column.not_null).collect();
    assert_eq!(not_null, [true, false]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn virtual_columns_arrive_with_their_values() {
    let schema = "
        create table plain (id int primary key, a int, double int generated always as (a * 2), kept int generated always as (a * 3) stored);
        create table parts (id int primary key, a int, double int generated always as (a * 2)) partition by hash (id);
        create table part partition of parts for values with (modulus 1, remainder 0);";
    let probe = TestDb::create(Which::Source).await;
    if !at_least(&probe.connect().await, 18).await {
        return;
    }
    let pipeline = Pipeline::create(&[], schema).await;
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    for table in ["plain", "parts"] {
        let writes = format!(
            "insert into {table} (id, a) select n, n from generate_series(1, 20) n; update {table} set a = a + 100 where id % 3 = 0;
             update {table} set id = id + 50 where id % 5 = 0; delete from {table} where id % 7 = 0"
        );
        run(&pipeline.from, &writes).await;
    }
    assert!(pipeline.compare().await > 30);
    let doubled = "select count(*) from plain where double = a * 2 and kept = a * 3";
    assert_eq!(value(&pipeline.to, doubled).await, value(&pipeline.from, "select count(*) from plain").await);
    let mut config = Config::default();
    config.source.tables = vec!["public.plain".into()];
    config.table = vec![TableOverride {
        name: "public.plain".into(),
        mode: Some(tripline::table::CaptureMode::Statement),
        ..TableOverride::default()
    }];
    let mut client = pipeline.source.connect().await;
    let error = capture::init(&mut client, &config, InitOptions::default()).await.unwrap_err().to_string();
    assert!(error.contains("mode statement does not see virtual generated columns"), "{error}");
    pipeline.stop(daemon).await;
}

#[tokio::test]
async fn merge_that_returns_rows_is_captured() {
    let source = Source::simple().await;
    if !at_least(&source.client, 17).await {
        return;
    }
    let mut tail = source.tail().await;
    source.run("insert into t values (1, 'a'), (2, 'b'), (3, 'c')").await;
    let merge = "merge into t using (values (1, 'A'), (4, 'd')) s (id, v) on t.id = s.id
        when matched then update set v = s.v when not matched then insert values (s.id, s.v)
        when not matched by source and t.id = 3 then delete returning merge_action(), t.id";
    assert_eq!(rows(&source.client, merge).await.len(), 3);
    let mut seen = brief(&source.drain(&mut tail).await).split_off(3);
    seen.sort();
    assert_eq!(seen, ["c {\"id\":4}", "d {\"id\":3}", "u {\"id\":1}"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_timeout_of_the_database_does_not_end_a_pass() {
    let source = Source::create("create table t (id int primary key, v text)", |config| {
        config.tail.lock_timeout_ms = 60_000;
    })
    .await;
    if !at_least(&source.client, 17).await {
        return;
    }
    source.run(&format!("alter database {} set transaction_timeout = '500ms'", source.db.name)).await;
    let mut tail = source.tail().await;
    source.run("insert into t values (1, 'a'); begin; lock table cdc.t_cdc in access exclusive mode").await;
    // The pass waits inside its transaction for longer than that.
    let pass = tokio::spawn(async move {
        loop {
            if let Some(window) = tail.poll().await? {
                break Ok::<_, tripline::tail::TailError>(window);
            }
        }
    });
    let other = source.db.connect().await;
    let waits = "select exists (select from pg_stat_activity where datname = current_database()
        and wait_event_type = 'Lock' and xact_start < clock_timestamp() - interval '1 s')";
    while !pass.is_finished() && value(&other, waits).await == "f" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    source.run("commit").await;
    let window = tokio::time::timeout(PATIENCE, pass).await.unwrap().unwrap().unwrap();
    assert_eq!(brief(&[window]), ["c {\"id\":1}"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_an_older_destination_does_not_know_halts_by_name() {
    let pipeline = Pipeline::create(&[], "create table t (id int primary key, v interval)").await;
    if !at_least(&pipeline.from, 17).await {
        return;
    }
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    run(&pipeline.from, "insert into t values (1, '1 day')").await;
    pipeline.compare().await;
    run(&pipeline.from, "insert into t values (2, 'infinity')").await;
    if at_least(&pipeline.to, 17).await {
        assert_eq!(pipeline.compare().await, 2);
        pipeline.stop(daemon).await;
        return;
    }
    let cdc_id = value(&pipeline.from, "select cdc_id from cdc.t_cdc where id = 2").await;
    let names = ["public.t".to_owned(), cdc_id];
    let names = names.each_ref().map(String::as_str);
    pipeline.ends_with(daemon, 2, &names).await;
    pipeline.refuses("apply", &names).await;
    assert_eq!(value(&pipeline.to, "select count(*) from t").await, "1");
}
