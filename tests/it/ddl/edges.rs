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

/// A file of an extension that creates a table, for servers that look for extensions elsewhere too.
#[tokio::test]
async fn tables_of_an_extensions_script_stay_the_extensions() {
    let (db, client, config) = captured("create table t (id int primary key)", CaptureMode::Reread).await;
    if !at_least(&client, 18).await {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("extension");
    std::fs::create_dir(&folder).unwrap();
    for (file, text) in [
        ("tl_made.control", "default_version = '1'\n"),
        ("tl_made--1.sql", "create table made (id int primary key, v text);\n"),
        (
            "tl_made--1--2.sql",
            "alter table made add column w int; alter table t add column w int default 3;\n",
        ),
    ] {
        std::fs::write(folder.join(file), text).unwrap();
    }
    run(&client, &format!("set extension_control_path = '{}:$system'", dir.path().display())).await;
    run(&client, "create extension tl_made").await;
    let members = "select string_agg(pg_describe_object(classid, objid, 0), ', ' order by 1) from pg_depend
        where refclassid = 'pg_extension'::regclass and deptype = 'e'
          and refobjid = (select oid from pg_extension where extname = 'tl_made')";
    assert!(value(&client, members).await.contains("table made"), "the script has run");
    run(&client, "insert into made values (1, 'a')").await;
    // A table that is captured already, altered by a script.
    run(&client, "alter extension tl_made update to '2'; insert into t values (1, 4)").await;
    assert!(!value(&client, members).await.contains("cdc"), "{}", value(&client, members).await);
    assert_eq!(value(&client, "select w from cdc.t_cdc").await, "4");
    init(&db, &config).await;
    run(&client, "drop extension tl_made; insert into t values (2)").await;
    assert_followed(&db, &config, "drop extension").await;
}

#[tokio::test]
async fn types_whose_names_hold_parentheses_are_followed() {
    let ddl = "create type \"odd(x)\" as enum ('a'); create type \"odd(y,4326)\" as enum ('a');
        create table t (id int primary key, v \"odd(x)\")";
    let (db, client, config) = captured(ddl, CaptureMode::Reread).await;
    run(&client, "insert into t values (1, 'a'); alter table t alter column v type \"odd(y,4326)\" using v::text::\"odd(y,4326)\"").await;
    run(&client, "alter table t alter column v type text; insert into t values (2, 'b')").await;
    assert_eq!(value(&client, "select string_agg(broken, ',') from cdc.tables").await, "∅");
    assert_followed(&db, &config, "both").await;
}

#[tokio::test]
async fn partitions_that_are_partitioned_come_and_go() {
    let ddl = "create table t (id int primary key, v text) partition by range (id);
        create table low partition of t for values from (0) to (100) partition by range (id);
        create table lowest partition of low for values from (0) to (50)";
    let (db, client, config) = captured(ddl, CaptureMode::Reread).await;
    run(&client, "insert into t values (1, 'a'); alter table t detach partition low").await;
    run(&client, "insert into low values (2, 'b')").await;
    run(&client, "alter table t attach partition low for values from (0) to (100)").await;
    let logged = "select string_agg(cdc_op::text || id, ' ' order by cdc_id) from cdc.t_cdc";
    assert_eq!(value(&client, logged).await, "I1 D1 I1 I2");
    assert_followed(&db, &config, "attach").await;
    run(&client, "drop table low").await;
    let requested = "select count(*) from cdc.snapshots where sweeps and ended_at is null";
    assert_eq!(value(&client, requested).await, "1");
    assert_eq!(value(&client, "select string_agg(broken, ',') from cdc.tables").await, "∅");
    assert_followed(&db, &config, "drop").await;
}

/// Opens a session; returns it with what it is told.
async fn listening(db: &TestDb) -> (tokio_postgres::Client, Arc<Mutex<Vec<String>>>) {
    let config: tokio_postgres::Config = db.url().parse().unwrap();
    let (client, mut connection) = config.connect(NoTls).await.unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&told);
    tokio::spawn(async move {
        let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notice(notice) = message {
                list.lock().unwrap().push(notice.message().to_owned());
            }
        }
    });
    (client, told)
}

#[tokio::test]
async fn a_new_table_that_cannot_be_captured_is_named_to_who_creates_it() {
    let (db, _client, _config) = captured("create table t (id int primary key)", CaptureMode::Reread).await;
    let (client, told) = listening(&db).await;
    for (statement, why) in [
        (
            "create table odd (id int primary key, cdc_x int)",
            "public.odd is not captured: a column begins with cdc_",
        ),
        ("create table bare (id int)", "public.bare is not captured: it has no primary key"),
        ("create table untold_bare (id int)", ""),
        ("create temp table gone (id int)", ""),
        ("alter table bare add primary key (id)", ""),
        (
            "create table kid (v text) inherits (bare)",
            "public.kid is not captured: it takes part in plain inheritance",
        ),
    ] {
        run(&client, statement).await;
        let told = std::mem::take(&mut *told.lock().unwrap());
        match why {
            "" => assert!(told.is_empty(), "{statement}: {told:?}"),
            why => assert!(
                told.iter().any(|text| text.contains(why) && text.contains("tripline init")),
                "{statement}: {told:?}"
            ),
        }
    }
}

#[tokio::test]
async fn what_existing_rows_got_is_masked_when_a_mask_comes() {
    let (db, client, mut config) = captured("create table t (id int primary key)", CaptureMode::Reread).await;
    run(&client, "alter table t add column card text default 's3cret', add column pin text default 's3cret'")
        .await;
    let known = "select columns::text from cdc.tables where table_name = 't'";
    assert!(value(&client, known).await.contains("s3cret"));
    let mut entry = TableOverride { name: "public.t".into(), ..TableOverride::default() };
    entry.mask.insert("card".into(), Mask::Truncate(1));
    entry.mask.insert("pin".into(), Mask::Value("none".into()));
    config.table = vec![entry];
    init(&db, &config).await;
    let columns = value(&client, known).await;
    assert!(!columns.contains("s3cret") && columns.contains("none"), "{columns}");
    assert_followed(&db, &config, "the mask").await;
}

#[tokio::test]
async fn unread_rows_whose_log_columns_are_gone_are_given_up_as_the_message_says() {
    let (db, client, config) =
        captured("create table t (id int primary key, v text)", CaptureMode::Reread).await;
    run(&client, "insert into t values (1, 'a'); alter table t drop column v").await;
    let stepped = value(&client, "select attname from pg_attribute where attrelid = 'cdc.t_cdc'::regclass and attname like 'cdc\\_v1%'").await;
    run(&client, &format!("alter table cdc.t_cdc drop column {stepped}")).await;
    let error = capture::load_former(&client, "cdc", 0).await.unwrap_err().to_string();
    assert!(!error.contains("again"), "a column that is added again has another number: {error}");
    let statement = &error[error.find("delete from").unwrap()..error.find("; then").unwrap()];
    run(&client, statement).await;
    assert!(error.contains("tripline snapshot public.t"), "{error}");
    assert!(capture::load_former(&client, "cdc", 0).await.unwrap().is_empty());
    assert_followed(&db, &config, "giving up").await;
}

#[tokio::test]
async fn an_expression_that_is_altered_gives_rows_new_values() {
    let db = TestDb::create(Which::Source).await;
    if !at_least(&db.connect().await, 18).await {
        return;
    }
    let ddl = "create table t (id int primary key, n int, twice int generated always as (n * 2) virtual,
        kept int generated always as (n * 3)); insert into t (id, n) values (1, 5)";
    let (db, client, config) = captured(ddl, CaptureMode::Reread).await;
    let last = "select concat_ws(',', twice, kept) from cdc.t_cdc order by cdc_id desc limit 1";
    run(&client, "alter table t alter column twice set expression as (n * 4)").await;
    assert_eq!(value(&client, last).await, "20,15");
    run(&client, "alter table t alter column kept set expression as (n * 5)").await;
    assert_eq!(value(&client, last).await, "20,25");
    let logged = rows(&client, "select cdc_op from cdc.t_cdc").await.len();
    run(&client, "alter table t alter column n set not null").await;
    assert_eq!(rows(&client, "select cdc_op from cdc.t_cdc").await.len(), logged, "nothing changed");
    assert_followed(&db, &config, "set expression").await;
}
