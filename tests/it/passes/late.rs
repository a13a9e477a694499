//! What becomes visible late, never, or while somebody holds a lock.

use tripline::capture::{self, InitOptions};
use tripline::event::Op;
use tripline::tail::TailError;

use super::{Source, anchors_of, brief, id_and_v, ids, row_json};
use crate::db::run;

#[tokio::test]
async fn a_row_that_commits_late_is_read_exactly_once() {
    let source = Source::simple().await;
    let mut tail = source.tail().await;
    let late = source.db.connect().await;
    run(&late, "begin; insert into t values (1, 'drawn first')").await;
    source.run("insert into t values (2, 'committed first')").await;
    let before = source.drain(&mut tail).await;
    assert_eq!(brief(&before), [r#"c {"id":2}"#]);
    assert!(tail.position().offset < ids(&before)[0], "the offset waits for the id below");
    run(&late, "commit").await;
    assert_eq!(brief(&source.drain(&mut tail).await), [r#"c {"id":1}"#]);
    source.run("insert into t values (3, 'later')").await;
    assert_eq!(brief(&source.drain(&mut tail).await), [r#"c {"id":3}"#]);
}

#[tokio::test]
async fn a_row_that_commits_late_is_read_after_a_restart() {
    let source = Source::simple().await;
    let mut tail = source.tail().await;
    let late = source.db.connect().await;
    run(&late, "begin; insert into t values (1, 'drawn first')").await;
    source.run("insert into t values (2, 'committed first')").await;
    let before = source.drain(&mut tail).await;
    let stored = before.last().unwrap();
    run(&late, "commit").await;
    let identity = tail.identity().clone();
    let anchors = anchors_of(stored);
    let mut tail = source.resume(stored.position.clone(), Some(&identity), &anchors).await.unwrap();
    assert_eq!(brief(&source.drain(&mut tail).await), [r#"c {"id":1}"#]);
}

#[tokio::test]
async fn what_is_rolled_back_leaves_nothing() {
    let source = Source::simple().await;
    let mut tail = source.tail().await;
    let prepared = &source.db.name;
    source
        .run(&format!(
            "begin; insert into t values (1, 'never'); rollback;
             begin; insert into t values (2, 'once'); savepoint s; update t set v = 'never'; rollback to s; commit;
             begin; insert into t values (3, 'never'); prepare transaction '{prepared}'"
        ))
        .await;
    assert_eq!(brief(&source.drain(&mut tail).await), [r#"c {"id":2}"#]);
    source.run(&format!("rollback prepared '{prepared}'")).await;
    source.run("insert into t values (4, 'behind')").await;
    assert_eq!(brief(&source.drain(&mut tail).await), [r#"c {"id":4}"#]);
}

#[tokio::test]
async fn a_locked_log_table_gives_the_pass_up_and_loses_nothing() {
    let source = Source::create("create table t (id int primary key, v text)", |config| {
        config.tail.lock_timeout_ms = 20;
        config.tail.window_rows = 2;
    })
    .await;
    let mut tail = source.tail().await;
    source.run("insert into t select g, 'x' from generate_series(1, 3) g").await;
    let other = source.db.connect().await;

    run(&other, "begin; truncate cdc.t_cdc").await;
    // The first poll may only look at the catalog.
    let locked = loop {
        match tail.poll().await {
            Ok(None) => {}
            other => break other.unwrap_err(),
        }
    };
    assert!(matches!(locked, TailError::Locked), "{locked}");
    run(&other, "rollback").await;
    let first = loop {
        if let Some(window) = tail.poll().await.unwrap() {
            break window;
        }
    };
    assert_eq!(brief(std::slice::from_ref(&first)), [r#"c {"id":1}"#, r#"c {"id":2}"#]);
    assert!(!first.done);

    // In the middle of the pass a migration rewrites the log table.
    run(&other, "begin; alter table cdc.t_cdc alter column v type text using v || ''").await;
    let locked = tail.poll().await.unwrap_err();
    assert!(matches!(locked, TailError::Locked), "{locked}");
    run(&other, "commit").await;
    // It might have been a TRUNCATE: a person accepts it, and the pass goes on where it was.
    let halted = tail.poll().await.unwrap_err();
    assert!(halted.to_string().contains("its log table was truncated or rewritten"), "{halted}");
    let mut client = source.db.connect().await;
    capture::init(&mut client, &source.config, InitOptions::default()).await.unwrap();
    assert_eq!(brief(&source.drain(&mut tail).await), [r#"c {"id":3}"#]);
}

#[tokio::test]
async fn a_key_inserted_again_under_repeatable_read_is_logged_as_written() {
    let source = Source::simple().await;
    let mut tail = source.tail().await;
    let other = source.db.connect().await;
    source.run("insert into t values (1, 'old'), (2, 'old')").await;
    run(&other, "begin isolation level repeatable read; select from t").await;
    source.run("delete from t").await;
    // PostgreSQL shows the session both rows of each key now.
    run(
        &other,
        "insert into t values (1, 'new'), (2, 'new'); delete from t where v = 'new' and id = 2; commit",
    )
    .await;
    let windows = source.drain(&mut tail).await;
    let last = |id: i32| {
        let messages = windows.iter().flat_map(|window| window.messages.iter().map(move |m| (window, m)));
        let mut of_key = messages.filter(|(window, message)| id_and_v(row_json(window, message)).0 == id);
        of_key
            .next_back()
            .map(|(window, message)| (message.op, id_and_v(row_json(window, message)).1))
            .unwrap()
    };
    assert_eq!(last(1), (Op::Insert, Some("new".to_owned())));
    assert_eq!(last(2), (Op::Delete, None));
}
