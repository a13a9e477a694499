//! Capture that was altered and put back: what stands now is right, and changes made in between are not in the log.

use tripline::capture::{self, Action, InitOptions, InitReport};
use tripline::tail::{Tail, TailError};

use crate::db::{UNWATCHED, run, value};
use crate::passes::halts::{at_rest, refusal};
use crate::passes::{PATIENCE, Source, brief};

async fn init(source: &Source) -> InitReport {
    let mut client = source.db.connect().await;
    capture::init(&mut client, &source.config, InitOptions::default()).await.unwrap()
}

/// Runs `sql` beside a tail at rest and beside a stopped one: both refuse, saying all of `says`, until `init` accepts.
/// Nothing of what was logged is lost by that.
async fn halts_until_accepted(source: &Source, mut tail: Tail, sql: &str, says: &[&str]) -> InitReport {
    run(&source.client, UNWATCHED).await;
    run(&source.client, sql).await;
    run(&source.client, "insert into t (id) values (100)").await;
    let position = tail.position().clone();
    let running = refusal(&mut tail).await;
    assert_eq!(tail.position().pass, position.pass, "no pass was handed out");
    let stopped = source.resume(position.clone(), Some(tail.identity()), &[]).await.unwrap_err();
    for refused in [running, stopped] {
        assert!(matches!(refused, TailError::Capture(_)), "{sql}: {refused}");
        let says = says.iter().chain(&["tripline verify", "tripline init"]);
        says.for_each(|text| {
            assert!(refused.to_string().contains(text), "{sql}: {text:?} is not in {refused}")
        });
    }
    let report = init(source).await;
    let again = init(source).await;
    assert!(again.sql.is_empty(), "a second init finds nothing to do:\n{}", again.sql);
    let mut tail = source.resume(position, Some(tail.identity()), &[]).await.unwrap();
    let read = brief(&source.drain(&mut tail).await);
    assert!(read.contains(&"c {\"id\":100}".to_owned()), "{sql}: {read:?}");
    report
}

#[tokio::test]
async fn what_was_switched_off_and_on_again_halts_until_init_accepts_it() {
    let body = "select pg_get_functiondef('cdc.t_cdc_update'::regproc)";
    let source = Source::simple().await;
    let function = value(&source.client, body).await;
    let trigger =
        "select pg_get_triggerdef(oid) from pg_trigger where tgrelid = 't'::regclass and tgname ~ 'update'";
    let trigger = value(&source.client, trigger).await;
    let name = trigger.split('"').nth(1).map_or_else(
        || trigger.split_whitespace().nth(2).unwrap().to_owned(),
        |quoted| format!("\"{quoted}\""),
    );
    let missed = "update t set v = 'missed'";
    let empty = "create or replace function cdc.t_cdc_update() returns trigger language plpgsql as 'begin return null; end'";
    for alteration in [
        format!("alter table t disable trigger all; {missed}; alter table t enable trigger all"),
        format!(
            "begin; alter table t disable trigger {name}; {missed}; alter table t enable trigger {name}; commit"
        ),
        format!("drop trigger {name} on t; {missed}; {trigger}"),
        format!("begin; {empty}; {missed}; {function}; commit"),
    ] {
        let tail = at_rest_again(&source).await;
        let says = ["public.t: its triggers or their functions were altered", "tripline verify public.t"];
        let report = halts_until_accepted(&source, tail, &alteration, &says).await;
        assert_eq!(report.tables[0].action, Action::Repaired);
        assert!(report.tables[0].needs_snapshot);
        assert!(report.tables[0].notes.iter().any(|note| note.starts_with("accepted: ")), "{report:?}");
    }
}

/// A tail that has read everything, whatever was in the table.
async fn at_rest_again(source: &Source) -> Tail {
    run(&source.client, "delete from t").await;
    let mut tail = source.tail().await;
    source.drain(&mut tail).await;
    tail
}

#[tokio::test]
async fn a_partition_whose_trigger_was_switched_off_and_on_again_halts() {
    let ddl = "create table t (id int primary key, v text) partition by range (id);
               create table t_low partition of t for values from (0) to (50);
               create table t_high partition of t for values from (50) to (1000)";
    let source = Source::create(ddl, |_| ()).await;
    let tail = at_rest(&source).await;
    let off = "alter table t_low disable trigger all; update t set v = 'missed'; alter table t_low enable trigger all";
    halts_until_accepted(&source, tail, off, &["public.t: its triggers"]).await;
    // Partitions that come and go take their triggers with them: that is no alteration.
    let mut tail = at_rest_again(&source).await;
    source.run("drop table t_low; create table t_new partition of t for values from (0) to (50)").await;
    source.run("insert into t values (7, 'new')").await;
    assert_eq!(brief(&source.drain(&mut tail).await), ["c {\"id\":7}"]);
}

#[tokio::test]
async fn new_values_of_the_same_type_halt() {
    let source =
        Source::create("create table t (id int primary key, v text, n numeric(10, 2))", |_| ()).await;
    let same = "alter table t alter column v type text using upper(v)";
    let says = ["public.t: it was rewritten and its columns altered", "(v"];
    let report = halts_until_accepted(&source, at_rest(&source).await, same, &says).await;
    let warned = |report: &InitReport, column: &str| {
        let says = format!("existing rows carry values in {column}");
        report.tables[0].notes.iter().any(|note| note.contains(&says) && note.contains("verify public.t"))
    };
    assert!(warned(&report, "v"), "{report:?}");
    // Hidden in one transaction with something harmless.
    let hidden = "begin; alter table t alter column v type text using lower(v), alter column v set statistics 7; commit";
    halts_until_accepted(&source, at_rest_again(&source).await, hidden, &says).await;
    // Another type halts as a column that differs, and init says what rows no event carried.
    let another = "alter table t alter column n type numeric(10, 0)";
    let report = halts_until_accepted(&source, at_rest_again(&source).await, another, &["column n"]).await;
    assert!(warned(&report, "n"), "{report:?}");
}

#[tokio::test]
async fn a_column_with_a_default_is_followed_by_init_with_a_warning() {
    let source = Source::simple().await;
    let mut tail = at_rest(&source).await;
    let unlogged = |report: &InitReport| {
        report.tables[0].notes.iter().find(|note| note.contains("that no event carried")).cloned()
    };
    for (sql, column) in [
        ("alter table t add a int", None),
        ("alter table t add b int default 7", Some("b that no")),
        ("alter table t add c float default random()", Some("c that no")),
        ("alter table t add d int default 7; vacuum full t", Some("d that no")),
    ] {
        source.run(UNWATCHED).await;
        for statement in sql.split(';') {
            source.run(statement).await;
        }
        let refused = refusal(&mut tail).await;
        assert!(refused.to_string().contains("is new"), "{refused}");
        let report = init(&source).await;
        assert_eq!(report.tables[0].action, Action::Altered);
        match (unlogged(&report), column) {
            (None, None) => {}
            (Some(note), Some(column)) => assert!(note.contains(column), "{sql}: {note}"),
            (note, _) => panic!("{sql}: {note:?}"),
        }
        tail = source.tail().await;
    }
}

#[tokio::test]
async fn what_changes_no_row_does_not_halt() {
    let ddl =
        "create table t (id int primary key, v text default 'a', w int); create table u (id int primary key)";
    let source = Source::create(ddl, |config| config.source.tables = vec!["public.t".into()]).await;
    let role = source.db.role("harmless").await;
    let mut tail = at_rest(&source).await;
    let position = tail.position().clone();
    let harmless = [
        "alter table t alter column v set statistics 100",
        "alter table t alter column w set not null",
        "alter table t alter column v set default 'b'",
        "vacuum full t",
        "create index t_v on t (v)",
        "cluster t using t_pkey",
        "alter table t add foreign key (id) references u",
        "analyze t",
        &format!("grant select, insert on t to {role}"),
        &format!("grant update (v) on t to {role}"),
        "vacuum full t",
        "reindex table t",
        "vacuum full cdc.tables",
        "alter table t set (fillfactor = 90)",
        "truncate t",
    ];
    source.run("update t set w = 1; insert into u values (1), (2), (7)").await;
    for sql in harmless {
        source.run(sql).await;
        // Both what is checked while it runs and what is checked when it starts.
        source.drain(&mut tail).await;
        source.resume(position.clone(), None, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    let looked = async {
        while tail.poll().await.unwrap().is_some() {}
        source.run("insert into t values (7, 'x', 1)").await;
        assert_eq!(brief(&source.drain(&mut tail).await).last().unwrap(), "c {\"id\":7}");
    };
    tokio::time::timeout(PATIENCE, looked).await.unwrap();
    let report = init(&source).await;
    assert!(!report.tables[0].notes.iter().any(|note| note.contains("accepted")), "{report:?}");
}

#[tokio::test]
async fn a_log_table_that_was_emptied_or_rewritten_halts() {
    let source = Source::simple().await;
    for alteration in
        ["truncate cdc.t_cdc", "begin; alter table cdc.t_cdc alter column v type text using upper(v); commit"]
    {
        let tail = at_rest_again(&source).await;
        let says = ["public.t: its log table was truncated or rewritten"];
        halts_until_accepted(&source, tail, alteration, &says).await;
    }
    for (alteration, says) in [
        ("alter table cdc.t_cdc alter column v type varchar", "t_cdc has no column v of type text"),
        ("alter table cdc.t_cdc rename to t_gone", "the log table t_cdc is missing"),
    ] {
        let mut tail = at_rest_again(&source).await;
        source.run(alteration).await;
        let refused = refusal(&mut tail).await;
        assert!(refused.to_string().contains(says), "{alteration}: {refused}");
        source.run("alter table if exists cdc.t_cdc alter column v type text").await;
        init(&source).await;
    }
}

#[tokio::test]
async fn a_truncate_of_the_log_table_that_a_pass_waits_for_halts() {
    let source = Source::create("create table t (id int primary key, v text)", |config| {
        config.tail.lock_timeout_ms = 60_000;
    })
    .await;
    let mut tail = at_rest(&source).await;
    source.run("insert into t values (5, 'not read yet')").await;
    let other = source.db.connect().await;
    run(&other, "begin; truncate cdc.t_cdc").await;
    let waiting = tokio::spawn(async move { (refusal(&mut tail).await, tail) });
    let waits = "select count(*) from pg_locks where relation = 'cdc.t_cdc'::regclass and not granted";
    let waited = async { while value(&source.client, waits).await == "0" {} };
    tokio::time::timeout(PATIENCE, waited).await.expect("the pass waits for its locks");
    run(&other, "commit").await;
    let (refused, tail) = waiting.await.unwrap();
    assert!(refused.to_string().contains("its log table was truncated"), "{refused}");
    assert_eq!(tail.position().pass, 1, "no pass was handed out");
}

#[tokio::test]
async fn a_registry_of_an_older_release_is_completed_by_init() {
    let source = Source::simple().await;
    source.run("alter table cdc.tables drop column seal").await;
    let refused = source.resume(tripline::position::Position::start(), None, &[]).await.unwrap_err();
    assert!(refused.to_string().contains("run tripline init"), "{refused}");
    assert_eq!(init(&source).await.tables[0].action, Action::Repaired);
    assert!(init(&source).await.sql.is_empty());
    source.tail().await;
}

#[tokio::test]
async fn an_index_of_a_log_table_that_somebody_holds_delays_and_loses_nothing() {
    let ddl = "create table t (id int primary key, v text); create table u (id int primary key, v text)";
    let source = Source::create(ddl, |config| config.tail.lock_timeout_ms = 100).await;
    let mut tail = at_rest(&source).await;
    // The table itself can be locked by readers meanwhile: it is the window that waits.
    let blocker = source.db.connect().await;
    run(&blocker, "begin; reindex table cdc.t_cdc").await;
    source.run("insert into u values (101)").await;
    for _ in 0..3 {
        let error = tail.poll().await.unwrap_err();
        assert!(matches!(error, TailError::Locked), "{error:?}");
    }
    run(&blocker, "rollback").await;
    source.run("insert into t values (102)").await;
    assert_eq!(brief(&source.drain(&mut tail).await), ["c {\"id\":101}", "c {\"id\":102}"]);
}
