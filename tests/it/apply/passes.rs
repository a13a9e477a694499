//! Passes that are larger than a batch: several batches, one transaction.

use super::*;

/// A batch inside a pass: `done` at its end, committed there or where `commit` says so.
fn part(changes: Vec<Change>, at: i64, done: bool, commit: bool) -> Batch {
    let mut batch = batch_at(changes, (at > 0).then_some(at), at + 1);
    batch.cut.part = u32::try_from(at).unwrap();
    batch.cut.done = done;
    batch.commit = commit;
    batch
}

fn many(table: &Arc<Table>, ids: std::ops::Range<i32>, v: &str) -> Vec<Change> {
    ids.map(|id| insert(table, &format!("{id}\t{v}"))).collect()
}

#[tokio::test]
async fn nobody_sees_a_pass_before_its_end() {
    let db = Db::new("whole").await;
    let table = db.create("t", "id int primary key, v text", &["id"]).await;
    let mut target = db.resumed().await;
    // Through stages and as literals, the same keys again, and what an earlier batch of the pass inserted goes.
    let last = (0..150).map(|id| delete(&table, &format!("{id}\tc"))).collect();
    let parts = [
        many(&table, 0..300, "a"),
        many(&table, 100..400, "b"),
        vec![insert(&table, "900\tx")],
        many(&table, 0..120, "c"),
    ];
    for (at, changes) in (0..).zip(parts) {
        target.apply(&part(changes, at, false, false)).await.unwrap();
        assert_eq!(db.rows("select count(*) from public.t").await, ["0"], "part {at}");
        assert_eq!(db.rows("select count(*) from tripline.positions").await, ["0"], "part {at}");
    }
    target.apply(&part(last, 4, true, true)).await.unwrap();
    assert_eq!(
        db.rows("select v, count(*), min(id), max(id) from public.t group by v order by v").await,
        ["b|250|150|399", "x|1|900|900"]
    );
    assert_eq!(db.rows("select next_offset from tripline.positions").await, ["5"]);
    assert_eq!(db.rows("select part, done from tripline.cuts").await, ["4|t"]);
    // The next batch stands by itself again.
    target.apply(&part(vec![insert(&table, "901\ty")], 5, true, true)).await.unwrap();
    assert_eq!(db.rows("select count(*) from public.t").await, ["252"]);
}

#[tokio::test]
async fn a_pass_that_is_cut_off_leaves_nothing() {
    let db = Db::new("cutoff").await;
    let table = db.create("t", "id int primary key, v text", &["id"]).await;
    let mut target = db.resumed().await;
    target.apply(&part(many(&table, 0..10, "a"), 0, true, true)).await.unwrap();
    target.apply(&part(many(&table, 0..500, "b"), 1, false, false)).await.unwrap();
    assert_eq!(target.resume().await.unwrap().positions.get(&("t".into(), 0)), Some(&1));
    assert_eq!(db.rows("select distinct v from public.t").await, ["a"]);
    target.apply(&part(many(&table, 0..500, "b"), 1, false, false)).await.unwrap();
    target.apply(&part(Vec::new(), 2, true, true)).await.unwrap();
    assert_eq!(db.rows("select v, count(*) from public.t group by v").await, ["b|500"]);
}

#[tokio::test]
async fn a_batch_inside_a_pass_is_replayed_alone() {
    let db = Db::new("inside").await;
    let table = db.create("t", "id int primary key, u int unique", &["id"]).await;
    let mut target = db.resumed().await;
    let rows = (0..300).map(|id| insert(&table, &format!("{id}\t{id}"))).collect();
    target.apply(&part(rows, 0, false, false)).await.unwrap();
    for at in 1..4 {
        let (a, b) = if at % 2 == 1 { (2, 1) } else { (1, 2) };
        let swap = vec![
            update(&table, "1\t-1"),
            update(&table, &format!("2\t{b}")),
            update(&table, &format!("1\t{a}")),
        ];
        target.apply(&part(swap, at, at == 3, at == 3)).await.unwrap();
    }
    assert_eq!(target.replays(), 3);
    assert_eq!(db.rows("select * from public.t where id in (1, 2) order by 1").await, ["1|2", "2|1"]);
    assert_eq!(db.rows("select count(*) from public.t where id = u").await, ["298"]);
}

#[tokio::test]
async fn a_truncate_inside_a_pass_meets_active_foreign_keys() {
    let db = Db::new("pending").await;
    let parent = db.create("p", "id int primary key, v text", &["id"]).await;
    let child = db.create("c", "id int primary key, p int", &["id"]).await;
    db.run("alter table public.c add foreign key (p) references public.p deferrable initially deferred")
        .await;
    let (mut target, _role) = db.as_plain_role().await;
    // The child first: its key is checked at the end of the pass, and until then its table cannot be truncated.
    target.apply(&part(vec![insert(&child, "1\t1"), insert(&child, "2\t1")], 0, false, false)).await.unwrap();
    let emptied = vec![truncate(&child), insert(&child, "3\t1"), insert(&parent, "1\ta")];
    target.apply(&part(emptied, 1, true, true)).await.unwrap();
    assert_eq!(db.rows("table public.c").await, ["3|1"]);
    assert_eq!(target.replays(), 0);
}

#[tokio::test]
async fn a_split_waits_for_a_place_where_deferred_constraints_hold() {
    let db = Db::new("split").await;
    let parent = db.create("p", "id int primary key, v text", &["id"]).await;
    let child = db.create("c", "id int primary key, p int", &["id"]).await;
    db.run("alter table public.c add foreign key (p) references public.p deferrable initially deferred")
        .await;
    let (mut target, _role) = db.as_plain_role().await;
    let seen =
        async || db.rows("select (select count(*) from public.c), (select count(*) from public.p)").await;
    target.apply(&part(vec![insert(&child, "1\t1")], 0, false, true)).await.unwrap();
    assert_eq!(seen().await, ["0|0"], "not committed");
    target.apply(&part(vec![insert(&parent, "1\ta")], 1, false, true)).await.unwrap();
    assert_eq!(seen().await, ["1|1"], "committed before the end");
    assert_eq!(db.rows("select part, done from tripline.cuts").await, ["1|f"]);
    // At the end of the pass there is no later place.
    let error = target.apply(&part(vec![insert(&child, "2\t7")], 2, true, true)).await.unwrap_err();
    assert!(chain(&error).contains("foreign_key_violation"), "{}", chain(&error));
    assert_eq!(seen().await, ["1|1"]);
}

#[tokio::test]
async fn a_table_that_appears_or_changes_inside_a_pass_is_taken_in() {
    let db = Db::new("changes").await;
    let table = db.create("t", "id int primary key, v text", &["id"]).await;
    let other = db.create("o", "id int primary key, v text", &["id"]).await;
    db.run("drop table public.o").await;
    let mut target = db.resumed().await;
    target.apply(&part(many(&table, 0..300, "a"), 0, false, false)).await.unwrap();
    // The destination is altered between two transactions, never inside one: the pass begins again.
    let error = target.apply(&part(many(&other, 0..300, "b"), 1, false, false)).await.unwrap_err();
    assert!(matches!(error, TargetError::Unavailable { .. }), "{error:?}");
    assert_eq!(db.rows("select count(*) from public.o").await, ["0"], "it is there, and empty");
    assert!(target.resume().await.unwrap().positions.is_empty());
    target.apply(&part(many(&table, 0..300, "a"), 0, false, false)).await.unwrap();
    target.apply(&part(many(&other, 0..300, "b"), 1, false, false)).await.unwrap();
    target.apply(&part(many(&table, 300..301, "a"), 2, false, false)).await.unwrap();
    target.apply(&part(many(&other, 300..600, "b"), 3, true, true)).await.unwrap();
    // A column that goes between two passes is noticed in the middle of one.
    db.run("alter table public.o drop column v").await;
    target.apply(&part(many(&table, 301..302, "a"), 4, false, false)).await.unwrap();
    let error = target.apply(&part(many(&other, 600..900, "b"), 5, true, true)).await.unwrap_err();
    assert!(matches!(error, TargetError::Unavailable { .. }), "{error:?}");
    assert_eq!(target.resume().await.unwrap().positions.get(&("t".into(), 0)), Some(&4));
    target.apply(&part(many(&table, 301..302, "a"), 4, false, false)).await.unwrap();
    target.apply(&part(many(&other, 600..900, "b"), 5, true, true)).await.unwrap();
    assert_eq!(db.rows("select count(*), count(v) from public.o").await, ["900|300"]);
    assert_eq!(db.rows("select count(*) from public.t").await, ["302"]);
}

#[tokio::test]
async fn a_label_that_is_new_in_the_middle_of_a_pass_can_be_used() {
    let db = Db::new("labels").await;
    db.run("create type public.mood as enum ('sad')").await;
    let table = db.create("t", "id int primary key, m public.mood", &["id"]).await;
    let mut wider = (*table).clone();
    wider.version = 2;
    wider.columns[1].enum_labels.as_mut().unwrap().push("glad".into());
    let wider = Arc::new(wider);
    let mut target = db.resumed().await;
    for attempt in 0..2 {
        target.apply(&part(vec![insert(&table, "1\tsad")], 0, false, false)).await.unwrap();
        let second = target.apply(&part(vec![insert(&wider, "2\tglad")], 1, true, true)).await;
        assert_eq!(second.is_ok(), attempt == 1, "{second:?}");
        if attempt == 0 {
            target.resume().await.unwrap();
        }
    }
    assert_eq!(db.rows("select * from public.t order by 1").await, ["1|sad", "2|glad"]);
}
