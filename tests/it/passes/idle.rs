//! Polls that find nothing to do: one statement, no transaction, no window.

use tripline::tail::Tail;

use super::{PATIENCE, Source, brief};
use crate::db::{run, value};

/// Returns the statement that the session of `pid` sent last.
async fn last_statement(source: &Source, pid: &str) -> String {
    value(&source.client, &format!("select query from pg_stat_activity where pid = {pid}")).await
}

/// Polls until 20 polls in a row have opened no transaction, although before each of them somebody commits something
/// that logs nothing. Those of other databases who ran at B may cost a pass each when they end, but that has an end.
async fn comes_to_rest(source: &Source, tail: &mut Tail, pid: &str) {
    let rests = async {
        let mut quiet = 0;
        while quiet < 20 {
            source.run("select pg_current_xact_id()").await;
            assert!(tail.poll().await.unwrap().is_none(), "there is nothing to read");
            let polled = last_statement(source, pid).await.contains("pg_sequence_last_value");
            quiet = if polled { quiet + 1 } else { 0 };
        }
    };
    tokio::time::timeout(PATIENCE, rests).await.expect("the tail comes to rest");
}

#[tokio::test]
async fn a_long_transaction_without_changes_keeps_nobody_busy() {
    let source = Source::simple().await;
    let mut tail = source.tail().await;
    let pid = value(tail.client(), "select pg_backend_pid()").await;
    let long = source.db.connect().await;
    run(&long, "begin; insert into t values (1, 'drawn, not committed')").await;
    source.run("insert into t values (2, 'committed')").await;
    assert_eq!(brief(&source.drain(&mut tail).await), [r#"c {"id":2}"#]);
    comes_to_rest(&source, &mut tail, &pid).await;
    run(&long, "commit").await;
    assert_eq!(brief(&source.drain(&mut tail).await), [r#"c {"id":1}"#]);
}

#[tokio::test]
async fn the_offset_reaches_the_last_id_and_the_tail_rests() {
    let source = Source::simple().await;
    let mut tail = source.tail().await;
    let pid = value(tail.client(), "select pg_backend_pid()").await;
    source.run("insert into t select g, 'x' from generate_series(1, 100) g").await;
    source.drain(&mut tail).await;
    let settled = async {
        while tail.position().offset < 100 {
            assert!(tail.poll().await.unwrap().is_none(), "everything was read");
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.expect("the offset reaches the last id");
    comes_to_rest(&source, &mut tail, &pid).await;
    let last = value(&source.client, "select pg_sequence_last_value('cdc.cdc_id_seq')").await;
    assert_eq!(tail.position().offset.to_string(), last);
}

#[tokio::test]
async fn a_restart_after_a_rest_reads_from_the_settled_offset() {
    let source = Source::simple().await;
    let mut tail = source.tail().await;
    source.run("insert into t values (1, 'marked')").await;
    source.drain(&mut tail).await;
    // The next mark is not due yet: usually these rows are published while the offset still stands below them.
    source.run("insert into t select g, 'x' from generate_series(2, 100) g").await;
    let mut position = source.drain(&mut tail).await.pop().expect("rows were published").position;
    let settled = async {
        while position.offset < 100 {
            assert!(tail.poll().await.unwrap().is_none(), "everything was read");
            if let Some(moved) = tail.settled().await.unwrap() {
                position = moved;
            }
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.expect("the offset settles");
    assert_eq!(position.offset, 100);
    let mut tail = source.resume(position, None, &[]).await.unwrap();
    source.run("insert into t values (101, 'behind the rest')").await;
    let pass = loop {
        if let Some(pass) = tail.open().await.unwrap() {
            break pass;
        }
    };
    assert_eq!(pass.cursor(), 100, "nothing that is settled is scanned again");
    let window = tail.read(pass).await.unwrap().expect("one row is new");
    assert_eq!(brief(&[window]), [r#"c {"id":101}"#]);
}
