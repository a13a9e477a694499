//! Tables without a key: plain inserts, each exactly once.

use super::*;

#[tokio::test]
async fn equal_rows_are_inserted_as_often_as_they_come() {
    let db = Db::new("appended").await;
    // An index or an identity column of its own changes nothing.
    let columns = "a int, v text, n int generated always as identity";
    let table = db.create("t", columns, &[]).await;
    let mut target = db.resumed().await;
    let few = vec![insert(&table, "1\tx\t1"), insert(&table, "1\tx\t1"), insert(&table, "\\N\t\\N\t7")];
    apply(&db, &mut target, few).await.unwrap();
    let many = (0..500).map(|_| insert(&table, "2\ty\t1")).collect();
    apply(&db, &mut target, many).await.unwrap();
    let counts = "select a, v, n, count(*) from public.t group by 1, 2, 3 order by 1";
    assert_eq!(db.rows(counts).await, ["1|x|1|2", "2|y|1|500", "~|~|7|1"]);
    let again = vec![
        insert(&table, "1\tx\t1"),
        truncate(&table),
        insert(&table, "3\tz\t1"),
        insert(&table, "3\tz\t1"),
    ];
    apply(&db, &mut target, again).await.unwrap();
    assert_eq!(db.rows(counts).await, ["3|z|1|2"]);
    assert_eq!(target.replays(), 0);
}

#[tokio::test]
async fn an_exact_replay_inserts_no_row_twice() {
    let db = Db::new("appendreplay").await;
    let table = db.create("t", "a int", &[]).await;
    let keyed = db.create("k", "id int primary key, u int unique", &["id"]).await;
    let mut target = db.resumed().await;
    apply(&db, &mut target, vec![insert(&keyed, "1\t10"), insert(&keyed, "2\t20")]).await.unwrap();
    // Few, literally, and many, through a stage; each time two unique values change places.
    for (number, (rows, [one, two])) in [(5, ["20", "10"]), (700, ["10", "20"])].into_iter().enumerate() {
        let mut changes: Vec<Change> = vec![truncate(&table)];
        changes.extend((0..rows).map(|_| insert(&table, "1")));
        changes.extend([update(&keyed, "1\t0"), update(&keyed, &format!("2\t{two}"))]);
        changes.extend([update(&keyed, &format!("1\t{one}")), insert(&table, "2")]);
        apply(&db, &mut target, changes).await.unwrap();
        assert_eq!(target.replays(), number as u64 + 1);
        let counts = db.rows("select a, count(*) from public.t group by 1 order by 1").await;
        assert_eq!(counts, [format!("1|{rows}"), "2|1".to_owned()]);
    }
}

#[tokio::test]
async fn a_batch_that_comes_again_inserts_nothing() {
    let db = Db::new("appendagain").await;
    let table = db.create("t", "a int", &[]).await;
    let mut target = db.resumed().await;
    let rows = || (0..300).map(|_| insert(&table, "1")).collect::<Vec<_>>();
    target.apply(&batch_at(rows(), None, 5)).await.unwrap();
    for expected in [None, Some(4)] {
        let error = target.apply(&batch_at(rows(), expected, 5)).await.unwrap_err();
        assert!(matches!(error, TargetError::Overtaken { .. }), "{error:?}");
    }
    // Of one row that stands twice in a batch one comes through.
    let row = insert(&table, "2");
    target.apply(&batch_at(vec![row.clone(), row], Some(5), 6)).await.unwrap();
    assert_eq!(db.rows("select a, count(*) from public.t group by 1 order by 1").await, ["1|300", "2|1"]);
}

#[tokio::test]
async fn a_table_is_created_without_a_key_and_one_with_a_key_still_needs_its_index() {
    let db = Db::new("appendcreate").await;
    let described = db.create("t", "a int not null, b text", &[]).await;
    db.run("drop table public.t").await;
    let mut target = db.resumed().await;
    apply(&db, &mut target, vec![insert(&described, "1\tx"), insert(&described, "1\tx")]).await.unwrap();
    assert_eq!(db.rows("select * from public.t").await, ["1|x", "1|x"]);
    let keyed = Arc::new(Table { key: vec!["a".into()], version: 2, ..(*described).clone() });
    let error = apply(&db, &mut target, vec![insert(&keyed, "2\ty")]).await.unwrap_err();
    assert!(chain(&error).contains("no unique index exactly on (a)"), "{}", chain(&error));
}
