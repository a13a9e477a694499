use super::*;

#[tokio::test]
async fn a_swap_of_unique_values_is_replayed_in_order() {
    let db = Db::new("swap").await;
    let table = db.create("t", "id int primary key, u int unique", &["id"]).await;
    let mut target = db.resumed().await;
    apply(&db, &mut target, vec![insert(&table, "1\t10"), insert(&table, "2\t20")]).await.unwrap();
    let swap = vec![update(&table, "1\t0"), update(&table, "2\t10"), update(&table, "1\t20")];
    apply(&db, &mut target, swap).await.unwrap();
    assert_eq!(db.rows("select * from public.t order by 1").await, ["1|20", "2|10"]);
    assert_eq!(target.replays(), 1);
}

#[tokio::test]
async fn a_swap_of_unique_values_in_a_large_batch_is_replayed_too() {
    let db = Db::new("swaps").await;
    let table = db.create("t", "id int primary key, u int unique", &["id"]).await;
    let mut target = db.resumed().await;
    apply(&db, &mut target, (0..1000).map(|i| insert(&table, &format!("{i}\t{i}"))).collect()).await.unwrap();
    let away = (0..1000).map(|i| update(&table, &format!("{i}\t{}", -i - 1)));
    let back = (0..1000).map(|i| update(&table, &format!("{i}\t{}", 999 - i)));
    apply(&db, &mut target, away.chain(back).collect()).await.unwrap();
    assert_eq!(db.rows("select count(*) from public.t where u = 999 - id").await, ["1000"]);
    assert_eq!(target.replays(), 1);
}

#[tokio::test]
async fn a_swap_of_primary_keys_leaves_both_rows() {
    let db = Db::new("keyswap").await;
    let table = db.create("t", "id int primary key, v text", &["id"]).await;
    let mut target = db.resumed().await;
    apply(&db, &mut target, vec![insert(&table, "1\ta"), insert(&table, "2\tb")]).await.unwrap();
    let swap = vec![
        delete(&table, "1\ta"),
        insert(&table, "0\ta"),
        delete(&table, "2\tb"),
        insert(&table, "1\tb"),
        delete(&table, "0\ta"),
        insert(&table, "2\ta"),
    ];
    apply(&db, &mut target, swap).await.unwrap();
    assert_eq!(db.rows("select * from public.t order by 1").await, ["1|b", "2|a"]);
    assert_eq!(target.replays(), 0);
}

#[tokio::test]
async fn foreign_keys_are_met_where_they_cannot_be_turned_off() {
    let db = Db::new("foreign").await;
    let child = db.create("c", "id int primary key, p int", &["id"]).await;
    let parent = db.create("p", "id int primary key", &["id"]).await;
    db.run("alter table public.c add foreign key (p) references public.p").await;
    let (mut target, _role) = db.as_plain_role().await;
    // Named child first, and sorted out by the destination's foreign keys.
    let rows =
        vec![insert(&parent, "1"), insert(&parent, "2"), insert(&child, "1\t1"), insert(&child, "2\t1")];
    apply(&db, &mut target, rows).await.unwrap();
    apply(&db, &mut target, vec![delete(&child, "2\t1"), insert(&parent, "3")]).await.unwrap();
    assert_eq!(target.replays(), 0);
    // Deletes first, which every table order allows, cannot do this one.
    apply(&db, &mut target, vec![update(&child, "1\t2"), delete(&parent, "1")]).await.unwrap();
    assert_eq!(target.replays(), 1);
    assert_eq!(db.rows("select c.*, p.id from public.c join public.p on p.id = c.p").await, ["1|2|2"]);
    let error = apply(&db, &mut target, vec![insert(&child, "9\t77")]).await.unwrap_err();
    assert!(chain(&error).contains("let it set session_replication_role"), "{}", chain(&error));
    assert!(
        chain(&error).contains("foreign_key_violation (23503), constraint \"c_p_fkey\""),
        "{}",
        chain(&error)
    );
}

#[tokio::test]
async fn deferred_foreign_keys_are_judged_at_the_end() {
    let db = Db::new("deferred").await;
    let a = db.create("a", "id int primary key, b int", &["id"]).await;
    let b = db.create("b", "id int primary key, a int", &["id"]).await;
    db.run(
        "alter table public.a add foreign key (b) references public.b deferrable;
            alter table public.b add foreign key (a) references public.a deferrable",
    )
    .await;
    let (mut target, _role) = db.as_plain_role().await;
    apply(&db, &mut target, vec![insert(&a, "1\t1"), insert(&b, "1\t1")]).await.unwrap();
    assert_eq!(target.replays(), 0);
    let error = apply(&db, &mut target, vec![insert(&a, "5\t6")]).await.unwrap_err();
    assert!(matches!(error, TargetError::Refused { .. }), "{error:?}");
    assert_eq!(db.rows("table public.a").await, ["1|1"]);
}

#[tokio::test]
async fn a_cascade_takes_nothing_along_that_the_source_has_kept() {
    let db = Db::new("kept").await;
    let parent = db.create("p", "id int primary key, u int unique", &["id"]).await;
    let child = db.create("c", "id int primary key, p int", &["id"]).await;
    let grandchild = db.create("g", "id int primary key, c int", &["id"]).await;
    db.run(
        "alter table public.c add foreign key (p) references public.p on delete cascade on update cascade;
            alter table public.g add foreign key (c) references public.c on delete set null",
    )
    .await;
    let (mut target, _role) = db.as_plain_role().await;
    let rows = [
        insert(&parent, "1\t1"),
        insert(&parent, "2\t2"),
        insert(&child, "1\t1"),
        insert(&grandchild, "1\t1"),
    ];
    apply(&db, &mut target, rows.to_vec()).await.unwrap();
    let all = "select p.id, u, c.id, g.id from public.p left join public.c on c.p = p.id left join public.g on g.c = c.id order by 1";
    // The child goes to another parent first; what references the child is in no message.
    apply(&db, &mut target, vec![update(&child, "1\t2"), delete(&parent, "1\t1")]).await.unwrap();
    assert_eq!(db.rows(all).await, ["2|2|1|1"]);
    assert_eq!(target.replays(), 0);
    // The parent's key changes, and its unique value stays: the row with it has to make room and cannot be deleted.
    let moved = vec![delete(&parent, "2\t2"), insert(&parent, "3\t2"), update(&child, "1\t3")];
    apply(&db, &mut target, moved).await.unwrap();
    assert_eq!(db.rows(all).await, ["3|2|1|1"]);
    assert_eq!(target.replays(), 1);
}

#[tokio::test]
async fn rows_of_one_statement_may_stand_in_any_order() {
    let db = Db::new("shift").await;
    let table = db.create("t", "id int primary key, u int unique", &["id"]).await;
    let mut target = db.resumed().await;
    apply(&db, &mut target, (1..=5).map(|i| insert(&table, &format!("{i}\t{i}"))).collect()).await.unwrap();
    let shift = [3, 1, 4, 2, 5].map(|i| update(&table, &format!("{i}\t{}", i + 1)));
    let then = [update(&table, "1\t9"), insert(&table, "6\t2"), delete(&table, "3\t4")];
    apply(&db, &mut target, shift.into_iter().chain(then).collect()).await.unwrap();
    assert_eq!(db.rows("select * from public.t order by 1").await, ["1|9", "2|3", "4|5", "5|6", "6|2"]);
}

#[tokio::test]
async fn a_value_that_does_not_fit_is_refused_and_never_cut() {
    let db = Db::new("refused").await;
    let table = db.create("t", "id int primary key, v text", &["id"]).await;
    db.run("create domain public.short as varchar(3); alter table public.t alter v type public.short").await;
    let mut target = db.resumed().await;
    let bad = insert(&table, "7\tsecret");
    let many =
        |bad: &Change| (100..300).map(|i| insert(&table, &format!("{i}\tx"))).chain([bad.clone()]).collect();
    for changes in [vec![insert(&table, "1\tabc"), bad.clone()], many(&bad)] {
        let error = apply(&db, &mut target, changes).await.unwrap_err();
        let TargetError::Refused { table: name, cdc_id, .. } = &error else { panic!("{error:?}") };
        assert_eq!((name, *cdc_id), (&table.name, Some(bad.cdc_id)));
        let named = "string_data_right_truncation (22001), column \"v\", type \"public.short\"";
        assert!(chain(&error).contains(named), "{}", chain(&error));
        assert!(!format!("{error:?} {}", chain(&error)).contains("secret"), "no values");
    }
    assert_eq!(db.rows("table public.t").await.len(), 0);
    apply(&db, &mut target, vec![insert(&table, "1\tabc")]).await.unwrap();
}

#[tokio::test]
async fn the_column_that_does_not_take_its_value_is_named() {
    let db = Db::new("culprit").await;
    let types = "create type public.mood as enum ('ok'); create domain public.short as varchar(3);
        create domain public.amount as numeric(4,1); create domain public.whole as smallint;
        create domain public.day as date; create domain public.flags as bit(2);
        create type public.pair as (a int, b public.mood)";
    db.run(types).await;
    let columns = [
        ("public.short", "22001", "long"),
        ("public.amount", "22003", "1234.5"),
        ("public.whole", "22003", "32768"),
        ("public.day", "22008", "2024-02-30"),
        ("public.flags", "22026", "10101"),
        ("public.mood", "22P02", "bad"),
        ("public.mood[]", "22P02", "{ok,bad}"),
        ("public.pair", "22P02", "(1,bad)"),
    ];
    for (number, (declared, code, value)) in columns.into_iter().enumerate() {
        let name = format!("t{number}");
        let table = db.create(&name, "id int primary key, a text, b text, c text", &["id"]).await;
        db.run(&format!(
            "alter table public.{name} alter b type {declared} using null, alter c set not null"
        ))
        .await;
        let mut target = db.resumed().await;
        let error =
            apply(&db, &mut target, vec![insert(&table, &format!("1\tx\t{value}\ty"))]).await.unwrap_err();
        let found = chain(&error);
        let named = format!("({code}), column \"b\", type \"{declared}\"");
        assert!(found.contains(&named), "{named} is not in: {found}");
        assert!(!found.contains(value), "no values: {found}");
        assert_eq!(db.rows(&format!("table public.{name}")).await.len(), 0, "asking wrote nothing");
    }
}

#[tokio::test]
async fn triggers_of_the_destination_do_not_fire() {
    let db = Db::new("triggers").await;
    let table = db.create("t", "id int primary key", &["id"]).await;
    db.run(
        "create function public.no() returns trigger language plpgsql as $$begin raise 'fired'; end$$;
            create trigger no before insert on public.t for each row execute function public.no()",
    )
    .await;
    let mut target = db.resumed().await;
    apply(&db, &mut target, vec![insert(&table, "1")]).await.unwrap();
    assert_eq!(db.rows("table public.t").await, ["1"]);
}

#[tokio::test]
async fn rows_that_are_new_meet_rows_that_are_there() {
    let db = Db::new("there").await;
    let table = db.create("t", "id int primary key, v text unique, w text default 'w'", &["id"]).await;
    let gone = db.create("o", "id int primary key, v text", &["id"]).await;
    // Statements that write the tables, as their triggers see them.
    db.run(
        "create table public.seen (t text, op text);
         create function public.note() returns trigger language plpgsql as
           $$begin insert into public.seen values (tg_table_name, tg_op); return null; end$$;
         create trigger note after insert or update on public.t for each statement execute function public.note();
         create trigger note after insert or update on public.o for each statement execute function public.note();
         alter table public.t enable always trigger note;
         alter table public.o enable always trigger note",
    )
    .await;
    let mut target = db.resumed().await;
    let rows = |table: &Arc<Table>, ids: std::ops::Range<i32>| -> Vec<Change> {
        let line = |id: i32| {
            if table.columns.len() == 3 { format!("{id}\tv{id}\tn") } else { format!("{id}\tv{id}") }
        };
        ids.map(|id| insert(table, &line(id))).collect()
    };
    let seen = async || {
        let seen = db.rows("select t, op, count(*) from public.seen group by 1, 2 order by 1, 2").await;
        db.run("truncate public.seen").await;
        seen
    };
    // An upsert fires both triggers of a statement, COPY one.
    apply(&db, &mut target, [rows(&table, 0..300), rows(&gone, 0..300)].concat()).await.unwrap();
    assert_eq!(seen().await, ["o|INSERT|1", "t|INSERT|1"]);
    // A key that comes twice is not new, nor is one that is updated.
    let twice = [rows(&gone, 1200..1500), vec![delete(&gone, "7\tx"), insert(&gone, "7\tagain")]].concat();
    apply(&db, &mut target, twice).await.unwrap();
    assert_eq!(seen().await, ["o|INSERT|1", "o|UPDATE|1"]);
    let changed = [rows(&gone, 900..1200), vec![update(&gone, "8\tchanged")]].concat();
    apply(&db, &mut target, changed).await.unwrap();
    assert_eq!(seen().await, ["o|INSERT|1", "o|UPDATE|1"]);
    // Somebody has written rows: they are written over, like every row that differs from the source's.
    db.run("insert into public.t values (450, 'mine'), (451, 'too'); truncate public.seen").await;
    apply(&db, &mut target, [rows(&table, 300..600), rows(&gone, 300..600)].concat()).await.unwrap();
    assert_eq!(seen().await, ["o|INSERT|1", "o|UPDATE|1", "t|INSERT|1", "t|UPDATE|1"]);
    let state = "select count(*), count(*) filter (where v = 'v' || id and w = 'n') from public.t";
    assert_eq!(db.rows(state).await, ["600|600"]);
    // For a while nothing is expected of the tables of that batch.
    apply(&db, &mut target, [rows(&table, 600..900), rows(&gone, 600..900)].concat()).await.unwrap();
    assert_eq!(seen().await, ["o|INSERT|1", "o|UPDATE|1", "t|INSERT|1", "t|UPDATE|1"]);
    assert_eq!(db.rows("select v from public.o where id in (7, 8) order by id").await, ["again", "changed"]);
    assert_eq!(db.rows("select count(*) from public.o").await, ["1500"]);
    assert_eq!(db.rows(state).await, ["900|900"]);
}
