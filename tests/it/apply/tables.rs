use super::*;

async fn setup_error(db: &Db, table: &Arc<Table>) -> String {
    let error = db.resumed().await.prepare(table).await.unwrap_err();
    assert!(matches!(error, TargetError::Setup { .. }), "{error:?}");
    chain(&error)
}

#[tokio::test]
async fn a_missing_table_is_created_as_declared() {
    let db = Db::new("created").await;
    db.run("create schema \"My S\"; create type \"My S\".\"Mo'od\" as enum ('sad', 'o''k')").await;
    let columns =
        "id bigint generated always as identity, n numeric(10,2) not null, c varchar(7)[], ts timestamptz(3),
        m \"My S\".\"Mo'od\" not null, g int generated always as (1 + 1) stored, primary key (n, id)";
    let table = db.create("We\"ird tab.le", columns, &["n", "id"]).await;
    db.run("drop schema \"My S\" cascade; drop table public.\"We\"\"ird tab.le\"").await;
    let mut target = db.resumed().await;
    target.prepare(&table).await.unwrap();
    let created = db.table("We\"ird tab.le", 1, &["n", "id"]).await;
    let types = |table: &Table| -> Vec<_> {
        table
            .columns
            .iter()
            .map(|c| (c.name.clone(), c.declared.clone(), c.not_null, c.enum_labels.clone()))
            .collect()
    };
    assert_eq!(types(&created), types(&table));
    assert!(!created.columns.iter().any(|column| column.generated));
    apply(&db, &mut target, vec![insert(&table, "3\t1.25\t{a,\"b c\"}\t2026-01-01 00:00:00.123+00\to'k\t2")])
        .await
        .unwrap();
    let rows = db.rows("select * from public.\"We\"\"ird tab.le\"").await;
    assert_eq!(rows, ["3|1.25|{a,\"b c\"}|2026-01-01 00:00:00.123+00|o'k|2"]);
}

#[tokio::test]
async fn many_create_the_same_table_at_the_same_time() {
    let db = Db::new("together").await;
    db.run("create schema s; create type s.mood as enum ('sad')").await;
    let table = db.create("t", "id int primary key, m s.mood", &["id"]).await;
    for _ in 0..5 {
        db.run("drop schema s cascade; drop table public.t").await;
        let targets: Vec<_> = (0..8).map(|_| db.target()).collect();
        let tables = [std::sync::Arc::clone(&table)];
        let installs = targets.iter().map(|target| target.install(&tables));
        for installed in futures_util::future::join_all(installs).await {
            installed.unwrap();
        }
        assert_eq!(db.rows("table public.t").await, [""; 0]);
    }
}

#[tokio::test]
async fn added_columns_and_labels_follow_the_source() {
    let db = Db::new("added").await;
    db.run("create type public.mood as enum ('b')").await;
    let old = db.create("t", "id int primary key, m public.mood", &["id"]).await;
    let mut target = db.resumed().await;
    apply(&db, &mut target, vec![insert(&old, "1\tb"), insert(&old, "2\tb")]).await.unwrap();
    let mut new = Table { version: 2, ..(*old).clone() };
    new.columns[1].enum_labels = Some(["a", "b", "c"].map(String::from).to_vec());
    new.columns.push(tripline::table::Column {
        name: "more".into(),
        declared: "text".into(),
        base: "text".into(),
        ..new.columns[0].clone()
    });
    let new = Arc::new(new);
    target.prepare(&new).await.unwrap();
    // Both versions in one batch: the older one leaves the new column alone.
    let changes =
        vec![insert(&new, "1\tc\tx"), update(&old, "2\tb"), insert(&old, "3\tb"), update(&new, "3\ta\ty")];
    apply(&db, &mut target, changes).await.unwrap();
    assert_eq!(db.rows("select * from public.t order by 1").await, ["1|c|x", "2|b|~", "3|a|y"]);
    assert_eq!(db.rows("select unnest(enum_range(null::public.mood))").await, ["a", "b", "c"]);
}

#[tokio::test]
async fn without_create_tables_nothing_is_created() {
    let db = Db::new("manual").await;
    let table = db.create("t", "id int primary key, v text", &["id"]).await;
    let config = config::Apply { create_tables: false, ..config::Apply::default() };
    let mut target = PostgresTarget::new(&db.url, "shop", &config);
    target.resume().await.unwrap();
    target.prepare(&table).await.unwrap();
    db.run("alter table public.t drop v").await;
    let newer = Arc::new(Table { version: 2, ..(*table).clone() });
    let error = target.prepare(&newer).await.unwrap_err();
    assert!(error.to_string().contains("table public.t has no column \"v\" (text)"), "{error}");
    db.run("drop table public.t").await;
    let newer = Arc::new(Table { version: 3, ..(*table).clone() });
    let error = target.prepare(&newer).await.unwrap_err();
    assert!(error.to_string().contains("table public.t is not there"), "{error}");
}

#[tokio::test]
async fn tables_that_cannot_work_are_named_with_the_way_out() {
    let db = Db::new("unfit").await;
    let source = db.create("t", "id int primary key, v numeric", &["id"]).await;
    for (columns, says) in [
        ("id int, v numeric", "no unique index exactly on (id)"),
        ("id int, v numeric, unique (id, v)", "no unique index exactly on (id)"),
        ("id int, v numeric, unique (id) deferrable", "no unique index exactly on (id)"),
        (
            "id int primary key, v numeric, x int not null",
            "\"x\" of table public.t is NOT NULL without a default",
        ),
        ("id int primary key, v int generated always as identity", "GENERATED BY DEFAULT"),
        ("id int primary key, v numeric(5,1)", "would lose digits"),
    ] {
        db.run(&format!("drop table public.t; create table public.t ({columns})")).await;
        let error = setup_error(&db, &source).await;
        assert!(error.contains(says), "{columns}: {error}");
    }
    let mut foreign = (*source).clone();
    foreign.name.name = "f".into();
    foreign.columns[1].declared = "public.nothing".into();
    let error = setup_error(&db, &Arc::new(foreign)).await;
    assert!(error.contains("column \"v\" of table public.f has the type public.nothing"), "{error}");
}

#[tokio::test]
async fn a_key_without_overlaps_is_none_to_write_by() {
    let db = Db::new("temporal").await;
    if !crate::versions::at_least(&db.client, 18).await {
        return;
    }
    let source =
        db.create("t", "id int4range, at daterange, v text, primary key (id, at)", &["id", "at"]).await;
    db.run("drop table public.t; create table public.t (id int4range, at daterange, v text, primary key (id, at without overlaps))").await;
    let error = setup_error(&db, &source).await;
    assert!(error.contains("no unique index exactly on (id, at)"), "{error}");
}

#[tokio::test]
async fn generated_and_identity_columns_are_the_destinations_own() {
    let db = Db::new("identity").await;
    let table = db.create("t", "id int primary key, a int, g int, d int", &["id"]).await;
    db.run("drop table public.t; create table public.t (
                id int generated always as identity primary key, a int, g int generated always as (a * 2) stored,
                d int generated by default as identity, x int not null default 5)")
        .await;
    let mut target = db.resumed().await;
    apply(&db, &mut target, vec![insert(&table, "100\t1\t2\t7")]).await.unwrap();
    apply(&db, &mut target, (100..200).map(|i| insert(&table, &format!("{i}\t3\t6\t8"))).collect())
        .await
        .unwrap();
    assert_eq!(db.rows("select * from public.t where id = 100").await, ["100|3|6|8|5"]);
    assert_eq!(db.rows("select count(*) from public.t").await, ["100"]);
}

#[tokio::test]
async fn a_destination_that_was_altered_is_looked_at_again() {
    let db = Db::new("altered").await;
    let table = db.create("t", "id int primary key, v text", &["id"]).await;
    let mut target = db.resumed().await;
    apply(&db, &mut target, vec![insert(&table, "1\ta")]).await.unwrap();
    db.run("drop table public.t").await;
    apply(&db, &mut target, vec![insert(&table, "2\tb")]).await.unwrap();
    assert_eq!(db.rows("table public.t").await, ["2|b"]);
    db.run("alter table public.t drop constraint t_pkey").await;
    let error = apply(&db, &mut target, vec![insert(&table, "3\tc")]).await.unwrap_err();
    assert!(error.to_string().contains("no unique index"), "{error}");
}

#[tokio::test]
async fn a_missing_right_is_a_matter_of_setup() {
    let db = Db::new("rights").await;
    let table = db.create("t", "id int primary key", &["id"]).await;
    let (mut target, _role) = db.as_plain_role().await;
    db.run(&format!("revoke insert on public.t from {}", quote_ident(&db.name))).await;
    let error = apply(&db, &mut target, vec![insert(&table, "1")]).await.unwrap_err();
    assert!(matches!(error, TargetError::Setup { .. }), "{error:?}");
    assert!(
        chain(&error).contains("cannot write to public.t") && chain(&error).contains("(42501)"),
        "{error:?}"
    );
    db.run(&format!("grant insert on public.t to {}", quote_ident(&db.name))).await;
    apply(&db, &mut target, vec![insert(&table, "1")]).await.unwrap();
}

#[tokio::test]
async fn without_temporary_tables_large_batches_go_by_literals() {
    let db = Db::new("notemp").await;
    let table = db.create("t", "id int primary key, v text", &["id"]).await;
    db.run(&format!("revoke temporary on database {} from public", quote_ident(&db.name))).await;
    let (mut target, _role) = db.as_plain_role().await;
    apply(&db, &mut target, (0..1000).map(|i| insert(&table, &format!("{i}\tx"))).collect()).await.unwrap();
    apply(&db, &mut target, (1..1000).map(|i| delete(&table, &format!("{i}\tx"))).collect()).await.unwrap();
    assert_eq!(db.rows("table public.t").await, ["0|x"]);
}

#[tokio::test]
async fn partitioned_destinations_take_changes() {
    let db = Db::new("partitions").await;
    let table = db.create("t", "id int primary key, v text", &["id"]).await;
    db.run(
        "drop table public.t; create table public.t (id int primary key, v text) partition by range (id);
            create table public.t1 partition of public.t for values from (0) to (100);
            create table public.t2 partition of public.t default",
    )
    .await;
    let mut target = db.resumed().await;
    apply(&db, &mut target, (0..300).map(|i| insert(&table, &format!("{i}\tx"))).collect()).await.unwrap();
    apply(&db, &mut target, (2..300).map(|i| delete(&table, &format!("{i}\tx"))).collect()).await.unwrap();
    assert_eq!(db.rows("select * from public.t order by 1").await, ["0|x", "1|x"]);
    apply(&db, &mut target, vec![truncate(&table)]).await.unwrap();
    assert_eq!(db.rows("table public.t").await.len(), 0);
}

#[tokio::test]
async fn keys_of_extension_types_find_their_operator() {
    let db = Db::new("operators").await;
    db.run("create extension if not exists citext schema public").await;
    let table = db.create("t", "k public.citext primary key, v text", &["k"]).await;
    let mut target = db.resumed().await;
    apply(&db, &mut target, (0..300).map(|i| insert(&table, &format!("K{i}\tv"))).collect()).await.unwrap();
    apply(&db, &mut target, vec![delete(&table, "k1\tv"), insert(&table, "kK\tv")]).await.unwrap();
    apply(&db, &mut target, (2..299).map(|i| delete(&table, &format!("k{i}\tv"))).collect()).await.unwrap();
    assert_eq!(db.rows("select k from public.t order by k").await, ["K0", "K299", "kK"]);
}
