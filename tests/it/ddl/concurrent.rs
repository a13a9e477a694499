//! DDL of several sessions at once, under every isolation level.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tripline::capture::{self, Action, CaptureError, InitOptions};
use tripline::table::CaptureMode;

use super::source::{assert_followed, captured, init};
use crate::db::{run, value};

const LOCK_TIMEOUT: &str = "set statement_timeout = '15s'";

#[tokio::test]
async fn migrations_of_unrelated_tables_do_not_wait_for_each_other() {
    let ddl = "create table t (id int primary key); create table u (id int primary key);
        create type mood as enum ('sad'); create domain pos as int; create table v (id int primary key, m mood, p pos)";
    let (db, client, config) = captured(ddl, CaptureMode::Reread).await;
    run(&client, "begin; alter table t add column a int").await;
    let other = db.connect().await;
    run(&other, LOCK_TIMEOUT).await;
    for statement in [
        "alter type mood add value 'ok'",
        "alter type mood rename to feeling",
        "alter domain pos set default 3",
        "alter schema other rename to others",
        "alter table u add column b int",
    ] {
        run(&other, statement).await;
    }
    run(&client, "commit").await;
    run(&client, "alter schema others rename to other").await;
    assert_eq!(value(&client, "select string_agg(broken, ',') from cdc.tables").await, "∅");
    assert_followed(&db, &config, "both").await;
}

#[tokio::test]
async fn ddl_under_an_older_snapshot_never_makes_writes_fail() {
    for level in ["repeatable read", "serializable"] {
        let (db, client, config) =
            captured("create table t (id int primary key, v text, w text)", CaptureMode::Reread).await;
        run(&client, "insert into t values (1, 'a', 'b')").await;
        run(&client, &format!("begin isolation level {level}; select count(*) from pg_class")).await;
        let other = db.connect().await;
        // Nothing of the table is locked before its first statement here.
        run(&other, "commit; alter table t drop column w").await;
        run(&client, "alter table t drop column v; insert into t values (2); commit").await;
        run(&other, "insert into t values (3); update t set id = 4 where id = 3; delete from t where id = 4")
            .await;
        let mut again = db.connect().await;
        let known = capture::load(&client, "cdc").await.unwrap();
        let error = capture::verify(&mut again, "cdc", &known).await.unwrap_err().to_string();
        assert!(error.contains("tripline init"), "{error}");
        let report = init(&db, &config).await;
        let table = report.tables.iter().find(|table| table.table.name == "t").unwrap();
        assert!(table.action == Action::Altered && table.needs_snapshot, "{report:?}");
        assert_followed(&db, &config, "init").await;
        run(&other, "insert into t values (5)").await;
        assert_eq!(value(&client, "select id from cdc.t_cdc order by cdc_id desc limit 1").await, "5");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn init_beside_ddl_and_writers_fails_nobody() {
    let (db, client, config) =
        captured("create table t (id int primary key, n int)", CaptureMode::Reread).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (writer, stopped) = (db.connect().await, Arc::clone(&stop));
    let writes = tokio::spawn(async move {
        let mut count = 0;
        while !stopped.load(Ordering::Relaxed) {
            run(&writer, "insert into t (id, n) values (1, 1) on conflict (id) do update set n = t.n + 1")
                .await;
            count += 1;
        }
        count
    });
    let (mut session, stopped, settings) = (db.connect().await, Arc::clone(&stop), config.clone());
    let inits = async move {
        let (mut done, mut changed) = (0, 0);
        while !stopped.load(Ordering::Relaxed) {
            match capture::init(&mut session, &settings, InitOptions::default()).await {
                Ok(_) => done += 1,
                Err(CaptureError::Changed { .. } | CaptureError::Busy { .. }) => changed += 1,
                Err(error) => panic!("{error} {error:?}"),
            }
        }
        (done, changed)
    };
    let ddl = async {
        for number in 0..40 {
            // Every other time behind the event triggers, so that init has something to do.
            let hidden = if number % 2 == 0 { "set local session_replication_role = replica;" } else { "" };
            let ddl =
                format!("begin; {hidden} alter table t add column c{number} int default {number}; commit");
            run(&client, &ddl).await;
            run(&client, &format!("alter table t rename column c{number} to d{number}")).await;
            if number % 3 == 0 {
                run(&client, &format!("alter table t drop column d{number}")).await;
            }
        }
        stop.store(true, Ordering::Relaxed);
    };
    let (inits, ()) = tokio::join!(inits, ddl);
    let writes = writes.await.unwrap();
    println!("{writes} writes, {inits:?} inits done and to be repeated");
    init(&db, &config).await;
    assert_followed(&db, &config, "all of it").await;
    run(&client, "insert into t (id, n, d1) values (2, 3, 4)").await;
    assert_eq!(
        value(&client, "select concat_ws(',', id, n, d1) from cdc.t_cdc order by cdc_id desc limit 1").await,
        "2,3,4"
    );
}
