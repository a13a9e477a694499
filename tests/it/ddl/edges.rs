//! DDL that does not say ALTER TABLE, or says more than it seems.

use std::sync::{Arc, Mutex};

use futures_util::{StreamExt as _, stream};
use tokio_postgres::{AsyncMessage, NoTls};
use tripline::capture::{self, InitOptions};
use tripline::config::TableOverride;
use tripline::selection::Mask;
use tripline::table::CaptureMode;

use super::source::{assert_followed, captured, config, init};
use crate::db::{TestDb, Which, rows, run, value};
use crate::versions::at_least;

#[tokio::test]
async fn a_key_type_that_moves_with_its_extension_is_followed() {
    let ddl = "create schema ext; create extension citext;
        create domain word as citext; create table k (id citext primary key, v text); create table d (id word primary key)";
    let (db, client, config) = captured(ddl, CaptureMode::Reread).await;
    run(&client, "insert into k values ('a', 'x'); insert into d values ('a')").await;
    run(&client, "alter extension citext set schema ext").await;
    run(&client, "insert into k values ('b', 'y'); insert into d values ('b')").await;
    assert_eq!(value(&client, "select string_agg(broken, ',') from cdc.tables").await, "∅");
    assert_followed(&db, &config, "set schema").await;
}

#[tokio::test]
async fn a_policy_that_would_hide_rows_ends_capture_and_not_the_writes() {
    let db = TestDb::create(Which::Source).await;
    let client = db.connect().await;
    let (installer, app) = (db.role("installer").await, db.role("app").await);
    let schema = format!(
        "create schema other; create table other.there (id int primary key); create table t (id int primary key, v text);
         create table owned (id int primary key);
         grant usage on schema other to {installer}; grant select, trigger, update on t, other.there to {installer};
         alter table owned owner to {installer}; grant create on database {name} to {installer};
         grant select, insert, update, delete on t, owned to {app}",
        name = db.name
    );
    run(&client, &schema).await;
    let config = config(CaptureMode::Reread);
    run(&client, &format!("set session authorization {installer}")).await;
    let mut session = db.connect().await;
    run(&session, &format!("set session authorization {installer}")).await;
    let dry = InitOptions { dry_run: true, ..InitOptions::default() };
    let sql = capture::init(&mut session, &config, dry).await.unwrap().sql;
    let report = capture::init(&mut session, &config, InitOptions::default()).await.unwrap();
    assert!(report.notes.iter().any(|note| note.contains("may not create event triggers")), "{report:?}");
    // Somebody who may creates them, as the dry run shows.
    let triggers = &sql[sql.find("drop event trigger").unwrap()..];
    run(&client, "reset session authorization").await;
    run(&client, triggers).await;
    for (statement, table) in [
        (
            "alter table t enable row level security; create policy all_rows on t using (true) with check (true)",
            "t",
        ),
        ("alter table owned owner to postgres", "owned"),
    ] {
        run(&client, statement).await;
        let user = db.connect().await;
        run(&user, &format!("set session authorization {app}")).await;
        run(&user, &format!("insert into {table} values (1)")).await;
        let broken =
            value(&client, &format!("select broken from cdc.tables where table_name = '{table}'")).await;
        assert!(
            broken.contains("row-level security") || broken.contains("lacks SELECT"),
            "{statement}: {broken}"
        );
    }
}

