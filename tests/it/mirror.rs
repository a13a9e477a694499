//! The ClickHouse target against a real ClickHouse.

mod fixture;
mod proxy;
mod ranges;
mod tables;
mod types;

use fixture::{Fixture, MemoryStore, orders, with_database};
use tripline::consume::{Target, TargetError};
use tripline::event::Op;
use tripline::mirror::ClickHouseTarget;

#[tokio::test]
async fn inserts_updates_and_deletes_show_in_the_view() {
    with_database(async |db| {
        let mut mirror = Fixture::new(&db).await;
        let orders = orders();
        mirror
            .apply(&orders, &[(1, Op::Insert, "1\tann\t9.50"), (2, Op::Insert, "2\tbob\t\\N")])
            .await
            .unwrap();
        mirror
            .apply(&orders, &[(3, Op::Update, "1\tann\t10.00"), (4, Op::Delete, "2\t\\N\t\\N")])
            .await
            .unwrap();
        mirror.apply(&orders, &[(5, Op::Read, "3\tcid\t0.01")]).await.unwrap();

        assert_eq!(db.read("SELECT * FROM orders_current ORDER BY id").await, "1\tann\t10\n3\tcid\t0.01\n");
        let versions = "SELECT id, _version, _deleted FROM orders FINAL ORDER BY id";
        assert_eq!(db.read(versions).await, "1\t3\t0\n3\t5\t0\n");
        assert_eq!(mirror.target.resume().await.unwrap().positions, mirror.expected_positions());
    })
    .await;
}

#[tokio::test]
async fn a_batch_applied_again_changes_nothing() {
    with_database(async |db| {
        let mut mirror = Fixture::new(&db).await;
        let orders = orders();
        let first = mirror.batch(&orders, &[(1, Op::Insert, "1\tann\t1"), (2, Op::Insert, "2\tbob\t2")]);
        let second = mirror.batch(&orders, &[(3, Op::Delete, "1\t\\N\t\\N"), (4, Op::Update, "2\tbob\t3")]);
        mirror.target.resume().await.unwrap();
        for batch in [&first, &second] {
            mirror.target.apply(batch).await.unwrap();
        }
        let (state, rows) = (db.read("SELECT * FROM orders_current").await, db.read(ALL_VERSIONS).await);
        assert_eq!(state, "2\tbob\t3\n");

        for batch in [&second, &first, &second, &first] {
            mirror.target.apply(batch).await.unwrap();
        }
        // Another process: its tokens are others, so the rows really arrive again.
        let mut restarted = Fixture::new(&db).await;
        for batch in [&first, &second, &first] {
            restarted.target.apply(batch).await.unwrap();
        }

        assert_eq!(db.read("SELECT * FROM orders_current").await, state);
        assert_eq!(db.read(ALL_VERSIONS).await, rows);
        db.run("OPTIMIZE TABLE orders FINAL").await;
        assert_eq!(db.read("SELECT * FROM orders_current").await, state);
    })
    .await;
}

/// What wins of every key, deleted ones included.
const ALL_VERSIONS: &str =
    "SELECT id, max(_version), argMax(_deleted, _version) FROM orders GROUP BY id ORDER BY id";

#[tokio::test]
async fn many_changes_of_a_key_in_one_batch_leave_the_last() {
    with_database(async |db| {
        let mut mirror = Fixture::new(&db).await;
        let changes = [
            (1, Op::Insert, "1\ta\t1"),
            (2, Op::Update, "1\tb\t2"),
            (3, Op::Delete, "1\t\\N\t\\N"),
            (4, Op::Insert, "1\tc\t3"),
            (5, Op::Insert, "2\td\t4"),
            (6, Op::Delete, "2\t\\N\t\\N"),
            // A snapshot's row carries the version of its snapshot, which is older than the change before it.
            (2, Op::Read, "1\tstale\t0"),
        ];
        mirror.apply(&orders(), &changes).await.unwrap();
        assert_eq!(db.read("SELECT * FROM orders_current").await, "1\tc\t3\n");
        assert_eq!(db.read("SELECT count() FROM orders").await, "2\n", "one row for each key was sent");
    })
    .await;
}

#[tokio::test]
async fn a_truncate_ends_what_was_before_it_and_nothing_else() {
    with_database(async |db| {
        let mut mirror = Fixture::new(&db).await;
        let orders = orders();
        let before = mirror.batch(&orders, &[(1, Op::Insert, "1\tann\t1"), (2, Op::Insert, "2\tbob\t2")]);
        let truncate = mirror.batch(
            &orders,
            &[
                (3, Op::Insert, "3\tcid\t3"),
                (4, Op::Truncate, ""),
                (5, Op::Insert, "2\tbob again\t5"),
                (6, Op::Insert, "4\tdan\t6"),
            ],
        );
        let after =
            mirror.batch(&orders, &[(7, Op::Insert, "1\tann again\t7"), (8, Op::Delete, "4\t\\N\t\\N")]);
        mirror.target.apply(&before).await.unwrap();
        mirror.target.apply(&truncate).await.unwrap();
        let current = "SELECT id, name FROM orders_current ORDER BY id";
        assert_eq!(db.read(current).await, "2\tbob again\n4\tdan\n");
        mirror.target.apply(&after).await.unwrap();
        let state = "1\tann again\n2\tbob again\n";
        assert_eq!(db.read(current).await, state);
        let versions = db.read(ALL_VERSIONS).await;

        // Replays, from any earlier position and by another process.
        for batches in [vec![&truncate], vec![&before, &truncate, &after], vec![&truncate, &after]] {
            let mut restarted = Fixture::new(&db).await;
            for batch in batches {
                restarted.target.apply(batch).await.unwrap();
            }
            assert_eq!(db.read(current).await, state);
            assert_eq!(db.read(ALL_VERSIONS).await, versions);
        }
    })
    .await;
}

#[tokio::test]
async fn a_value_that_does_not_fit_leaves_nothing_behind_and_moves_no_position() {
    with_database(async |db| {
        let mut mirror = Fixture::new(&db).await;
        let events = fixture::table("public.events", 1, &["id"], "id integer int4 !, at date date ?");
        mirror.apply(&events, &[(1, Op::Insert, "1\t2026-01-01")]).await.unwrap();
        let positions = mirror.target.resume().await.unwrap().positions;

        let bad = mirror.batch_of(&[
            (&orders(), 2, Op::Insert, "1\tann\t1"),
            (&events, 3, Op::Insert, "2\t2026-01-02"),
            (&events, 4, Op::Insert, "3\tinfinity"),
        ]);
        let error = mirror.target.apply(&bad).await.unwrap_err();

        let TargetError::Refused { table, cdc_id: Some(4), why, .. } = &error else { panic!("{error:?}") };
        assert_eq!(table.to_string(), "public.events");
        assert!(
            why.contains("`at`") && why.contains("Nullable(Date32)") && why.contains("MODIFY COLUMN"),
            "{why}"
        );
        assert_eq!(db.read("SELECT count() FROM orders").await, "0\n");
        assert_eq!(db.read("SELECT count() FROM events").await, "1\n");
        assert_eq!(mirror.target.resume().await.unwrap().positions, positions);

        // The way out that the error names.
        let way_out = why.split("as text, ").nth(1).and_then(|rest| rest.split(", then").next()).unwrap();
        db.run(way_out).await;
        mirror.target.resume().await.unwrap();
        mirror.target.apply(&bad).await.unwrap();
        let rows = "1\t2026-01-01\n2\t2026-01-02\n3\tinfinity\n";
        assert_eq!(db.read("SELECT * FROM events_current ORDER BY id").await, rows);
    })
    .await;
}

#[tokio::test]
async fn a_lost_answer_is_retried_without_a_second_copy() {
    with_database(async |db| {
        let proxy = proxy::start(&db.url).await;
        let mut mirror = Fixture::through(&db, &proxy.url).await;
        let batch = mirror.batch(&orders(), &[(1, Op::Insert, "1\tann\t1"), (2, Op::Insert, "2\tbob\t2")]);
        mirror.target.resume().await.unwrap();
        mirror.target.prepare(&orders()).await.unwrap();

        proxy.swallow_next_answer();
        let error = mirror.target.apply(&batch).await.unwrap_err();
        assert!(matches!(error, TargetError::Unavailable { .. }), "{error:?}");
        assert_eq!(db.read("SELECT count() FROM orders").await, "2\n", "the server had taken it");
        assert!(mirror.target.resume().await.unwrap().positions.is_empty(), "the progress had not moved");

        mirror.target.apply(&batch).await.unwrap();
        assert_eq!(db.read("SELECT count() FROM orders").await, "2\n");
        assert_eq!(mirror.target.resume().await.unwrap().positions, mirror.expected_positions());
    })
    .await;
}

#[tokio::test]
async fn a_batch_of_many_chunks_arrives_whole() {
    with_database(async |db| {
        let mut mirror = Fixture::new(&db).await;
        let lines: Vec<String> = (1..=20_000).map(|id| format!("{id}\t{id:0150}\t{id}.25")).collect();
        let changes: Vec<_> =
            lines.iter().zip(1..).map(|(line, id)| (id, Op::Insert, line.as_str())).collect();
        mirror.apply(&orders(), &changes).await.unwrap();
        let sums = "SELECT count(), sum(id), sum(toInt64(name)), sum(total) FROM orders_current";
        assert_eq!(db.read(sums).await, "20000\t200010000\t200010000\t200015000\n");
    })
    .await;
}

#[tokio::test]
async fn rows_that_somebody_removed_come_back_with_a_rewind() {
    with_database(async |db| {
        let batch_of = |mirror: &mut Fixture| mirror.batch(&orders(), &[(1, Op::Insert, "1\tann\t1")]);
        let mut mirror = Fixture::new(&db).await;
        let batch = batch_of(&mut mirror);
        mirror.target.apply(&batch).await.unwrap();
        db.run("ALTER TABLE orders DELETE WHERE 1 SETTINGS mutations_sync = 1").await;

        let mut restarted = Fixture::new(&db).await;
        restarted.target.apply(&batch).await.unwrap();
        assert_eq!(db.read("SELECT id FROM orders_current").await, "1\n");
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable_and_a_wrong_address_is_not() {
    let misfits = async |url: &str| {
        let config = tripline::config::ClickHouse { url: url.into(), ..Default::default() };
        ClickHouseTarget::new(&config, MemoryStore::default()).misfits(&[]).await.unwrap_err()
    };
    let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let error = misfits(&format!("http://127.0.0.1:{port}")).await;
    assert!(matches!(error, TargetError::Unavailable { .. }), "{error:?}");
    let error = misfits("nonsense").await;
    assert!(matches!(error, TargetError::Setup { .. }), "{error:?}");
}
