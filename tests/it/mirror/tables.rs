//! Tables that are there already, change, or have names that need care.

use tripline::consume::{Target, TargetError};
use tripline::event::Op;
use tripline::mirror::reset;

use super::fixture::{Database, Fixture, orders, table, with_database};

async fn refusal(db: &Database, statement: &str) -> String {
    db.run(statement).await;
    let mut mirror = Fixture::new(db).await;
    let error = mirror.target.prepare(&orders()).await.unwrap_err();
    assert!(matches!(error, TargetError::Setup { .. }), "{error:?}");
    db.run("DROP TABLE orders SYNC").await;
    error.to_string()
}

#[tokio::test]
async fn an_added_column_is_added_and_old_versions_still_apply() {
    with_database(async |db| {
        let mut mirror = Fixture::new(&db).await;
        let old = orders();
        mirror.apply(&old, &[(1, Op::Insert, "1\tann\t1")]).await.unwrap();
        let columns = "id bigint int8 !, name text text !, total numeric(12,2) numeric ?, note text text ?, n integer int4 !";
        let new = table("public.orders", 2, &["id"], columns);
        // Both shapes in one batch: the version changes between two rows.
        let batch = mirror.batch_of(&[
            (&old, 2, Op::Insert, "2\tbob\t2"),
            (&new, 3, Op::Insert, "3\tcid\t3\thello\t5"),
            (&old, 4, Op::Update, "2\tbob\t9"),
        ]);
        mirror.target.prepare(&new).await.unwrap();
        mirror.target.apply(&batch).await.unwrap();
        let rows = "1\tann\t1\t\\N\t\\N\n2\tbob\t9\t\\N\t\\N\n3\tcid\t3\thello\t5\n";
        assert_eq!(db.read("SELECT * FROM orders_current ORDER BY id").await, rows);
        // An older version that is prepared later does not take the column out of the view again.
        mirror.target.resume().await.unwrap();
        mirror.target.prepare(&old).await.unwrap();
        assert_eq!(db.read("SELECT * FROM orders_current ORDER BY id").await, rows);
    })
    .await;
}

#[tokio::test]
async fn rows_without_a_key_fold_by_their_number_alone() {
    with_database(async |db| {
        let mut mirror = Fixture::new(&db).await;
        let events = table("public.events", 1, &[], "kind text text ?");
        let rows = [(1, Op::Insert, "a"), (2, Op::Insert, "a"), (3, Op::Insert, "\\N")];
        for _ in 0..2 {
            mirror.apply(&events, &rows).await.unwrap();
        }
        let counts = "SELECT kind, count() FROM events_current GROUP BY kind ORDER BY kind";
        assert_eq!(db.read(counts).await, "a\t2\n\\N\t1\n");
        for _ in 0..2 {
            // What comes again behind its truncate stays gone.
            mirror.apply(&events, &[(4, Op::Truncate, "\\N"), (5, Op::Insert, "b")]).await.unwrap();
            mirror.apply(&events, &rows[..2]).await.unwrap();
        }
        mirror.apply(&events, &[(4, Op::Truncate, "\\N")]).await.unwrap();
        assert_eq!(db.read(counts).await, "b\t1\n");
        let added = table("public.events", 2, &[], "kind text text ?, n integer int4 ?");
        mirror.apply(&added, &[(6, Op::Insert, "b\t7")]).await.unwrap();
        assert_eq!(db.read("SELECT * FROM events_current ORDER BY n").await, "b\t7\nb\t\\N\n");
    })
    .await;
}

#[tokio::test]
async fn a_table_that_cannot_be_the_mirror_is_refused_with_a_way_out() {
    with_database(async |db| {
        Fixture::new(&db).await;
        let columns =
            "id Int64, name String, total Nullable(Decimal(12, 2)), _version UInt64, _deleted UInt8";
        let replacing = "ENGINE = ReplacingMergeTree(_version, _deleted)";

        let engine =
            refusal(&db, &format!("CREATE TABLE orders ({columns}) ENGINE = MergeTree ORDER BY id")).await;
        assert!(
            engine.contains("`orders`") && engine.contains("MergeTree") && engine.contains("rename"),
            "{engine}"
        );
        let bare = format!("CREATE TABLE orders ({columns}) ENGINE = ReplacingMergeTree ORDER BY id");
        assert!(refusal(&db, &bare).await.contains("ReplacingMergeTree(_version, _deleted)"));
        let key =
            refusal(&db, &format!("CREATE TABLE orders ({columns}) {replacing} ORDER BY (id, name)")).await;
        assert!(key.contains("ordered by (id, name) instead of the key (id)"), "{key}");
        let narrow = columns.replace("name String", "name UUID");
        let ty = refusal(&db, &format!("CREATE TABLE orders ({narrow}) {replacing} ORDER BY id")).await;
        assert!(
            ty.contains("`name`") && ty.contains("UUID") && ty.contains("MODIFY COLUMN `name` String"),
            "{ty}"
        );
        let not_null = columns.replace("Nullable(Decimal(12, 2))", "Decimal(12, 2)");
        let ty = refusal(&db, &format!("CREATE TABLE orders ({not_null}) {replacing} ORDER BY id")).await;
        assert!(ty.contains("MODIFY COLUMN `total` Nullable(Decimal(12, 2))"), "{ty}");
        let view = "CREATE VIEW orders AS SELECT 1 AS id";
        assert!(refusal(&db, view).await.contains("engine View"));

        db.run("CREATE TABLE orders_current (id Int64) ENGINE = Memory").await;
        let error = Fixture::new(&db).await.target.prepare(&orders()).await.unwrap_err().to_string();
        assert!(error.contains("orders_current exists with engine Memory"), "{error}");
        assert_eq!(db.read("EXISTS TABLE orders_current").await, "1\n", "it was not replaced");
    })
    .await;
}

#[tokio::test]
async fn a_wider_table_of_the_users_is_written_as_it_is() {
    with_database(async |db| {
        let mut mirror = Fixture::new(&db).await;
        db.run(
            "CREATE TABLE orders (extra String DEFAULT 'x', name LowCardinality(String), id Int64, \
             total Nullable(String), _version UInt64, _deleted UInt8) \
             ENGINE = ReplacingMergeTree(_version, _deleted) PARTITION BY id % 2 ORDER BY id",
        )
        .await;
        mirror.apply(&orders(), &[(1, Op::Insert, "1\tann\tNaN")]).await.unwrap();
        assert_eq!(db.read("SELECT * FROM orders_current").await, "1\tann\tNaN\n");
        assert_eq!(db.read("SELECT extra FROM orders").await, "x\n");
    })
    .await;
}

#[tokio::test]
async fn a_column_altered_under_the_running_mirror_is_noticed() {
    with_database(async |db| {
        let mut mirror = Fixture::new(&db).await;
        mirror.apply(&orders(), &[(1, Op::Insert, "1\tann\t1.5")]).await.unwrap();
        db.run("ALTER TABLE orders MODIFY COLUMN total Nullable(String)").await;
        let batch = mirror.batch(&orders(), &[(2, Op::Insert, "2\tbob\tNaN")]);
        let next = mirror.batch(&orders(), &[(3, Op::Insert, "3\tcid\t2.50")]);
        // Prepared for Decimal, so this one is refused before it is sent; the next is noticed by the server.
        assert!(matches!(mirror.target.apply(&batch).await, Err(TargetError::Refused { .. })));
        mirror.target.apply(&next).await.unwrap();
        mirror.target.apply(&batch).await.unwrap();
        let rows = "1\t1.5\n2\tNaN\n3\t2.50\n";
        assert_eq!(db.read("SELECT id, total FROM orders_current ORDER BY id").await, rows);

        db.run("ALTER TABLE orders DROP COLUMN total").await;
        let last = mirror.batch(&orders(), &[(4, Op::Insert, "4\tdan\t1")]);
        mirror.target.apply(&last).await.unwrap();
        assert_eq!(db.read("SELECT id, total FROM orders_current WHERE id = 4").await, "4\t1\n");
    })
    .await;
}

#[tokio::test]
async fn weird_names_are_only_names() {
    with_database(async |db| {
        let mut weird =
            (*table("my`sch.x", 1, &["k"], "k text text !, v text text ?, w integer int4 ?")).clone();
        weird.name.name = "Ta`b\\le '?{x:Int8}".into();
        weird.columns[0].name = "sel`ect\\".into();
        weird.columns[1].name = "a, (b) ?".into();
        weird.columns[2].name = "\u{fc}\"'; --".into();
        weird.key = vec!["sel`ect\\".into()];
        let weird = std::sync::Arc::new(weird);
        let mut mirror = Fixture::new(&db).await;
        mirror.apply(&weird, &[(1, Op::Insert, "a\tx\t1"), (2, Op::Insert, "b\ty\t2")]).await.unwrap();
        mirror.apply(&weird, &[(3, Op::Truncate, ""), (4, Op::Insert, "c\tz\t3")]).await.unwrap();
        let view = r"`my\`sch__Ta\`b\\le '?{x:Int8}_current`";
        assert_eq!(db.read(&format!("SELECT * FROM {view}")).await, "c\tz\t3\n");
        reset(&db.config(), std::slice::from_ref(&weird.name)).await.unwrap();
        assert_eq!(db.read("SHOW TABLES").await, "");
    })
    .await;
}

#[tokio::test]
async fn compound_keys_and_other_schemas_have_their_own_tables() {
    with_database(async |db| {
        let lines = table(
            "sales.lines",
            1,
            &["b", "a"],
            "a integer int4 !, b uuid uuid !, c timestamptz timestamptz ?",
        );
        let uuid = "00112233-4455-6677-8899-aabbccddeeff";
        let mut mirror = Fixture::new(&db).await;
        let (first, second) = (format!("1\t{uuid}\t\\N"), format!("2\t{uuid}\t\\N"));
        mirror.apply(&lines, &[(1, Op::Insert, &first), (2, Op::Insert, &second)]).await.unwrap();
        mirror.apply(&lines, &[(3, Op::Delete, &first)]).await.unwrap();
        assert_eq!(db.read("SELECT * FROM sales__lines_current").await, format!("{second}\n"));

        let same = table("public.sales__lines", 1, &["a"], "a integer int4 !");
        let error = mirror.target.prepare(&same).await.unwrap_err().to_string();
        assert!(error.contains("would share"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn what_lacks_its_key_or_takes_our_names_is_refused() {
    with_database(async |db| {
        let mut mirror = Fixture::new(&db).await;
        mirror.target.resume().await.unwrap();
        let keyless = table("public.a", 1, &["b"], "a integer int4 !");
        assert!(
            mirror.target.prepare(&keyless).await.unwrap_err().to_string().contains("columns of its key")
        );
        let appended = table("public.c", 1, &[], "a integer int4 !, _cdc_id integer int4 ?");
        assert!(mirror.target.prepare(&appended).await.unwrap_err().to_string().contains("_cdc_id"));
        let taken = table("public.b", 1, &["a"], "a integer int4 !, _version integer int4 ?");
        assert!(mirror.target.prepare(&taken).await.unwrap_err().to_string().contains("_version"));
    })
    .await;
}

#[tokio::test]
async fn a_reset_removes_tables_views_and_remembered_tokens() {
    with_database(async |db| {
        let mut mirror = Fixture::new(&db).await;
        let batch = mirror.batch(&orders(), &[(1, Op::Insert, "1\tann\t1")]);
        mirror.target.resume().await.unwrap();
        mirror.target.apply(&batch).await.unwrap();
        for _ in 0..2 {
            reset(&db.config(), &[orders().name.clone()]).await.unwrap();
        }
        assert_eq!(db.read("SHOW TABLES").await, "");
        // Gone under a running target: it looks again and makes its table.
        mirror.target.apply(&batch).await.unwrap();
        assert_eq!(db.read("SELECT id FROM orders_current").await, "1\n");
    })
    .await;
}
