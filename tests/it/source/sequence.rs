//! The sequence that numbers the log, set back or altered.

use tripline::capture::{self, InitOptions};
use tripline::position::Position;
use tripline::tail::{Tail, TailError};

use crate::passes::halts::{at_rest, refusal};
use crate::passes::{Source, anchors_of};

/// Runs `sql` and returns what a tail at rest says, and what one says that starts again.
async fn refusals(source: &Source, mut tail: Tail, sql: &str) -> [TailError; 2] {
    source.run(sql).await;
    let running = refusal(&mut tail).await;
    [running, source.resume(tail.position().clone(), Some(tail.identity()), &[]).await.unwrap_err()]
}

#[tokio::test]
async fn an_altered_sequence_halts_until_init_accepts_it() {
    let source = Source::simple().await;
    for sql in [
        "alter sequence cdc.cdc_id_seq restart with 1000",
        "alter sequence cdc.cdc_id_seq cache 10",
        "alter sequence cdc.cdc_id_seq increment by 2",
        "alter sequence cdc.cdc_id_seq cycle",
        // Put back before anybody looks.
        "begin; alter sequence cdc.cdc_id_seq cache 10; alter sequence cdc.cdc_id_seq cache 1; commit",
    ] {
        source.run("delete from t").await;
        let tail = at_rest(&source).await;
        // Restarting makes the sequence look unused until somebody draws: whichever is looked at first, it halts.
        for refused in refusals(&source, tail, sql).await {
            let refused = refused.to_string();
            let set_back = sql.contains("restart") && refused.contains("sequence of the log stands at 0");
            let altered = refused.contains("cdc.cdc_id_seq") && refused.contains("tripline init");
            assert!(set_back || altered, "{sql}: {refused}");
        }
        source.run("insert into t values (3, 'z')").await;
        let mut client = source.db.connect().await;
        let init = capture::init(&mut client, &source.config, InitOptions::default());
        let report = init.await.unwrap();
        assert!(report.notes.iter().any(|note| note.contains("cdc_id_seq was altered")), "{sql}: {report:?}");
        let again = capture::init(&mut client, &source.config, InitOptions::default()).await.unwrap();
        assert!(again.sql.is_empty() && again.notes.is_empty(), "{sql}: {again:?}");
        source.tail().await;
    }
}

#[tokio::test]
async fn a_sequence_set_back_below_what_was_drawn_is_refused() {
    let source = Source::simple().await;
    let mut tail = source.tail().await;
    source.run("insert into t select n, 'x' from generate_series(1, 10) n").await;
    let window = source.drain(&mut tail).await.swap_remove(0);
    let anchors = anchors_of(&window);
    // A position whose offset lies below: late transactions keep it there.
    let position = Position { offset: 3, ..tail.position().clone() };
    source.run("alter sequence cdc.cdc_id_seq restart with 5").await;
    // init accepts that it was altered, never that it is too low.
    let mut client = source.db.connect().await;
    capture::init(&mut client, &source.config, InitOptions::default()).await.unwrap();
    source.run("select nextval('cdc.cdc_id_seq')").await;
    let running = refusal(&mut tail).await;
    let stopped = source.resume(position.clone(), Some(tail.identity()), &[]).await.unwrap_err();
    // Even when the log is gone, the anchors tell.
    source.run("delete from cdc.t_cdc").await;
    let emptied = source.resume(position.clone(), Some(tail.identity()), &anchors).await.unwrap_err();
    for refused in [running, stopped, emptied] {
        assert!(matches!(refused, TailError::Identity { .. }), "{refused}");
        let says = ["stands at 5, below 10", "setval", "tripline offset reset"];
        says.iter()
            .for_each(|text| assert!(refused.to_string().contains(text), "{text:?} is not in {refused}"));
    }
    source.run("select setval('cdc.cdc_id_seq', 10)").await;
    source.resume(position, Some(tail.identity()), &[]).await.unwrap();
}

#[tokio::test]
async fn a_role_that_may_not_read_the_sequence_is_told_the_grant() {
    let source = Source::simple().await;
    let role = source.db.role("reader").await;
    source
        .run(&format!(
            "grant usage on schema cdc to {role}; grant select on all tables in schema cdc to {role}"
        ))
        .await;
    let url = source.url().replace("postgres@", &format!("{role}@"));
    let connect = || Tail::connect(&source.config, &url, Position::start(), None, &[]);
    let refused = connect().await.unwrap_err();
    let grant = format!("grant select on sequence \"cdc\".\"cdc_id_seq\" to \"{role}\"");
    assert!(refused.to_string().contains(&grant), "{refused}");
    source.run(&grant).await;
    let mut tail = connect().await.unwrap();
    source.run("insert into t values (1, 'x')").await;
    assert_eq!(source.drain(&mut tail).await.len(), 1);
}
