//! What stops the tail: capture that is no longer whole, and a source that is not the one of the position.

use tripline::position::Identity;
use tripline::tail::{Tail, TailError};

use super::{PATIENCE, Source, anchors_of};

/// Polls until the tail refuses to go on; whatever it hands out before is not of interest.
pub(crate) async fn refusal(tail: &mut Tail) -> TailError {
    let refused = async {
        loop {
            if let Err(error) = tail.poll().await {
                break error;
            }
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.expect("the tail halts")
}

/// A tail that has read the first rows and rests.
pub(crate) async fn at_rest(source: &Source) -> Tail {
    let mut tail = source.tail().await;
    source.run("insert into t values (1, 'x'), (2, 'y')").await;
    source.drain(&mut tail).await;
    let rests = async {
        while tail.position().offset < 2 {
            tail.poll().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, rests).await.expect("the tail comes to rest");
    tail
}

#[tokio::test]
async fn a_disabled_trigger_halts_even_when_nothing_is_logged() {
    let source = Source::simple().await;
    let mut tail = at_rest(&source).await;
    source.run("alter table t disable trigger all; insert into t values (3, 'missed')").await;
    let error = refusal(&mut tail).await;
    assert!(matches!(error, TailError::Capture(_)), "{error}");
    assert!(error.to_string().contains("public.t"), "{error}");
}

#[tokio::test]
async fn a_disabled_trigger_halts_before_what_another_table_logs() {
    let ddl = "create table t (id int primary key, v text); create table u (id int primary key)";
    let source = Source::create(ddl, |_| ()).await;
    let mut tail = at_rest(&source).await;
    source.run("alter table t disable trigger all; insert into u values (1)").await;
    let read = tail.position().pass;
    let error = refusal(&mut tail).await;
    assert!(error.to_string().contains("public.t"), "{error}");
    assert_eq!(tail.position().pass, read, "no pass was handed out");
}

#[tokio::test]
async fn a_sequence_that_hands_out_stock_halts() {
    let source = Source::simple().await;
    let mut tail = at_rest(&source).await;
    source.run("alter sequence cdc.cdc_id_seq cache 10; insert into t values (3, 'z')").await;
    let error = refusal(&mut tail).await;
    assert!(error.to_string().contains("cdc_id_seq"), "{error}");
}

#[tokio::test]
async fn another_source_is_refused() {
    let source = Source::simple().await;
    let tail = at_rest(&source).await;
    let here = tail.identity().clone();
    let elsewhere: [(Identity, &str); 3] = [
        (Identity { system: here.system + 1, ..here.clone() }, "another cluster"),
        (Identity { timeline: here.timeline + 1, ..here.clone() }, "timeline"),
        (Identity { database: "other".into(), ..here.clone() }, "database"),
    ];
    for (known, says) in elsewhere {
        let refused = source.resume(tail.position().clone(), Some(&known), &[]).await.unwrap_err();
        assert!(matches!(refused, TailError::Identity { .. }), "{refused}");
        assert!(refused.to_string().contains(says), "{refused}");
    }
    // A restart of the same server is no other source.
    let restarted = Identity { postmaster_start: here.postmaster_start - 1, ..here };
    source.resume(tail.position().clone(), Some(&restarted), &[]).await.unwrap();
}

#[tokio::test]
async fn a_sequence_behind_the_offset_is_refused() {
    let source = Source::simple().await;
    let mut tail = at_rest(&source).await;
    source.run("select setval('cdc.cdc_id_seq', 1)").await;
    let refused = refusal(&mut tail).await;
    assert!(matches!(refused, TailError::Identity { .. }), "{refused}");
}

#[tokio::test]
async fn a_log_that_contradicts_the_anchors_is_refused() {
    let source = Source::simple().await;
    let mut tail = source.tail().await;
    source.run("insert into t values (1, 'x'), (2, 'y')").await;
    let window = source.drain(&mut tail).await.swap_remove(0);
    let (identity, anchors) = (tail.identity().clone(), anchors_of(&window));
    let resume = || source.resume(window.position.clone(), Some(&identity), &anchors);
    resume().await.unwrap();
    for contradiction in [
        "update cdc.t_cdc set cdc_at = cdc_at + interval '1 microsecond' where cdc_id = 2",
        "update cdc.t_cdc set cdc_at = cdc_at - interval '1 microsecond', cdc_txid = '7' where cdc_id = 2",
        "delete from cdc.t_cdc where cdc_id = 2",
    ] {
        source.run(contradiction).await;
        let refused = resume().await.unwrap_err();
        assert!(matches!(refused, TailError::Identity { .. }), "{refused}");
        assert!(refused.to_string().contains("cdc_id 2"), "{refused}");
    }
}
