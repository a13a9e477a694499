use super::*;

#[tokio::test]
async fn rows_are_written_changed_and_deleted() {
    let db = Db::new("basics").await;
    let table = db.create("orders", "id int primary key, note text, n numeric", &["id"]).await;
    let mut target = db.resumed().await;
    target.prepare(&table).await.unwrap();
    apply(&db, &mut target, vec![insert(&table, "1\ta'b\\\\c\t1.50"), insert(&table, "2\t\\N\t\\N")])
        .await
        .unwrap();
    apply(&db, &mut target, vec![update(&table, "1\t\t2"), delete(&table, "2\t\\N\t\\N")]).await.unwrap();
    assert_eq!(db.rows("select * from public.orders order by 1").await, ["1||2"]);
    apply(&db, &mut target, vec![truncate(&table), insert(&table, "5\tx\t0")]).await.unwrap();
    assert_eq!(db.rows("select * from public.orders order by 1").await, ["5|x|0"]);
    assert_eq!(target.replays(), 0);
}

#[tokio::test]
async fn large_and_small_batches_leave_the_same() {
    let db = Db::new("sizes").await;
    let columns = "a int, b text, v text, primary key (b, a)";
    let (few, many) =
        (db.create("few", columns, &["b", "a"]).await, db.create("many", columns, &["b", "a"]).await);
    let mut target = db.resumed().await;
    let changes = |table: &Arc<Table>| -> Vec<Change> {
        let line = |i: usize| format!("{i}\tk'\\\\{}\tv\\t\\n'\\\\{i}", i % 7);
        let inserts = (0..300).map(|i| insert(table, &line(i)));
        let updates = (0..300)
            .step_by(3)
            .map(|i| update(table, &format!("{}\\N", line(i).rsplit_once('v').unwrap().0)));
        let deletes = (0..300).step_by(2).map(|i| delete(table, &line(i)));
        inserts.chain(updates).chain(deletes).collect()
    };
    apply(&db, &mut target, changes(&many)).await.unwrap();
    for change in changes(&few).chunks(17) {
        apply(&db, &mut target, change.to_vec()).await.unwrap();
    }
    // Once more over rows that are there, with deletes in bulk.
    apply(&db, &mut target, changes(&many)).await.unwrap();
    let differ =
        "(table public.few except table public.many) union all (table public.many except table public.few)";
    assert_eq!(db.rows(differ).await, Vec::<String>::new());
    assert_eq!(db.rows("select count(*), count(v) from public.many").await, ["150|100"]);
    assert_eq!(target.replays(), 0);
}

#[tokio::test]
async fn a_wide_row_goes_by_copy_and_null_is_not_empty() {
    let db = Db::new("wide").await;
    let table = db.create("t", "id int primary key, a text, b text", &["id"]).await;
    let mut target = db.resumed().await;
    let wide = "x".repeat(1 << 20);
    apply(&db, &mut target, vec![insert(&table, &format!("1\t{wide}\t")), insert(&table, "2\t\\N\t\\\\N")])
        .await
        .unwrap();
    let rows = db.rows("select id, length(a), b from public.t order by 1").await;
    assert_eq!(rows, ["1|1048576|", "2|~|\\N"]);
}

#[tokio::test]
async fn truncates_take_referenced_tables_together() {
    let db = Db::new("truncates").await;
    let parent = db.create("p", "id int primary key", &["id"]).await;
    let child = db.create("c", "id int primary key, p int references public.p", &["id"]).await;
    db.run("create table public.outside (p int references public.p)").await;
    let mut target = db.resumed().await;
    let rows = || vec![insert(&parent, "1"), insert(&parent, "2"), insert(&child, "1\t1")];
    apply(&db, &mut target, rows()).await.unwrap();
    // A table that we do not replicate references p: TRUNCATE would be refused.
    apply(&db, &mut target, vec![truncate(&parent), truncate(&child)]).await.unwrap();
    assert_eq!(db.rows("select 1 from public.p union all select 1 from public.c").await.len(), 0);
    db.run("drop table public.outside").await;
    apply(&db, &mut target, rows()).await.unwrap();
    let again = vec![truncate(&parent), truncate(&child), insert(&parent, "3"), insert(&child, "3\t3")];
    apply(&db, &mut target, again).await.unwrap();
    assert_eq!(db.rows("select * from public.c").await, ["3|3"]);
    assert_eq!(db.rows("select * from public.p").await, ["3"]);
}

#[tokio::test]
async fn keys_that_change_only_their_bytes_are_followed() {
    let db = Db::new("bytes").await;
    let table = db.create("t", "k numeric primary key, v text", &["k"]).await;
    let mut target = db.resumed().await;
    apply(&db, &mut target, vec![insert(&table, "1.0\ta"), insert(&table, "2\tb")]).await.unwrap();
    apply(&db, &mut target, vec![delete(&table, "1.0\ta"), insert(&table, "1.00\tc")]).await.unwrap();
    assert_eq!(db.rows("select * from public.t order by 1").await, ["1.00|c", "2|b"]);
    let mut changes: Vec<_> = (10..200).map(|i| insert(&table, &format!("{i}\tx"))).collect();
    changes.extend([delete(&table, "1.00\tc"), insert(&table, "1.000\td"), delete(&table, "1.000\td")]);
    changes.push(insert(&table, "1.0\te"));
    apply(&db, &mut target, changes).await.unwrap();
    assert_eq!(db.rows("select * from public.t where k = 1").await, ["1.0|e"]);
}
