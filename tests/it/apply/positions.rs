use tripline::apply::{progress, reset};

use super::*;

#[tokio::test]
async fn a_batch_applied_twice_leaves_what_it_leaves_once() {
    let db = Db::new("twice").await;
    let table = db.create("t", "id int primary key, v text", &["id"]).await;
    let mut target = db.resumed().await;
    let changes =
        vec![insert(&table, "1\ta"), insert(&table, "2\tb"), delete(&table, "1\ta"), update(&table, "2\tc")];
    apply(&db, &mut target, changes.clone()).await.unwrap();
    apply(&db, &mut target, changes).await.unwrap();
    assert_eq!(db.rows("table public.t").await, ["2|c"]);
}

#[tokio::test]
async fn positions_are_stored_with_the_rows_and_found_again() {
    let db = Db::new("resume").await;
    let table = db.create("t", "id int primary key", &["id"]).await;
    let mut target = db.target();
    assert!(target.resume().await.unwrap().positions.is_empty());
    target.apply(&batch_at(vec![insert(&table, "1")], None, 5)).await.unwrap();
    assert_eq!(target.resume().await.unwrap().positions.get(&("t".into(), 0)), Some(&5));
    target.apply(&batch_at(vec![insert(&table, "2")], Some(5), 6)).await.unwrap();
    let applied = progress(&db.url, "shop").await.unwrap();
    assert_eq!(applied.positions.get(&("t".into(), 0)), Some(&6));
    let cut = applied.cut.unwrap();
    assert_eq!((cut.pass, cut.done, cut.source_micros), (7, true, 1_000_000));
    assert!(cut.applied_micros > 0);
    assert_eq!(progress(&db.url, "other").await.unwrap(), tripline::apply::Applied::default());
}

#[tokio::test]
async fn an_overtaken_batch_leaves_nothing() {
    let db = Db::new("overtaken").await;
    let table = db.create("t", "id int primary key", &["id"]).await;
    let mut target = db.resumed().await;
    target.apply(&batch_at(vec![insert(&table, "1")], None, 5)).await.unwrap();
    let many: Vec<Change> = (100..300).map(|i| insert(&table, &i.to_string())).collect();
    for (changes, expected) in
        [(vec![insert(&table, "2")], None), (vec![insert(&table, "3")], Some(4)), (many, Some(6))]
    {
        let error = target.apply(&batch_at(changes, expected, 9)).await.unwrap_err();
        let TargetError::Overtaken { topic, partition, expected: told, .. } = error else {
            panic!("{error:?}")
        };
        assert_eq!((topic.as_str(), partition, told), ("t", 0, expected));
    }
    assert_eq!(db.rows("table public.t").await, ["1"]);
    target.apply(&batch_at(vec![insert(&table, "4")], Some(5), 6)).await.unwrap();
    assert_eq!(db.rows("table public.t").await, ["1", "4"]);
}

#[tokio::test]
async fn a_lost_connection_is_unavailable_until_resumed() {
    let db = Db::new("lost").await;
    let table = db.create("t", "id int primary key", &["id"]).await;
    let mut target = db.resumed().await;
    let batch = batch_at(vec![insert(&table, "1")], None, 5);
    target.apply(&batch).await.unwrap();
    db.run(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'tripline apply'
            and datname = current_database()",
    )
    .await;
    let error = target.apply(&batch_at(vec![insert(&table, "2")], Some(5), 6)).await.unwrap_err();
    assert!(matches!(error, TargetError::Unavailable { .. }), "{error:?}");
    let error = target.apply(&batch).await.unwrap_err();
    assert!(matches!(error, TargetError::Unavailable { .. }), "{error:?}");
    assert_eq!(target.resume().await.unwrap().positions.get(&("t".into(), 0)), Some(&5));
    target.apply(&batch_at(vec![insert(&table, "2")], Some(5), 6)).await.unwrap();
    assert_eq!(db.rows("table public.t").await, ["1", "2"]);
}

#[tokio::test]
async fn a_second_applier_waits_until_the_first_is_gone() {
    let db = Db::new("standby").await;
    let first = db.resumed().await;
    let mut second = db.target();
    let waited = tokio::time::timeout(std::time::Duration::from_millis(100), second.resume()).await;
    assert!(waited.is_err(), "the standby waits, and can be stopped");
    let error = reset(&db.url, "shop", &[]).await.unwrap_err();
    assert!(error.to_string().contains("stop it first"), "{error}");
    drop(first);
    second.resume().await.unwrap();
}

#[tokio::test]
async fn a_reset_forgets_positions_and_empties_the_named_tables() {
    let db = Db::new("reset").await;
    let table = db.create("t", "id int primary key", &["id"]).await;
    let mut target = db.resumed().await;
    target.apply(&batch_at(vec![insert(&table, "1")], None, 5)).await.unwrap();
    drop(target);
    // The server notices a moment later that the applier is gone: its lock goes with it.
    db.run("select pg_advisory_lock(hashtextextended('tripline apply shop', 0)), pg_advisory_unlock_all()")
        .await;
    reset(&db.url, "shop", std::slice::from_ref(&table.name)).await.unwrap();
    assert_eq!(progress(&db.url, "shop").await.unwrap(), tripline::apply::Applied::default());
    assert_eq!(db.rows("table public.t").await.len(), 0);
}
