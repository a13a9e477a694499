//! Values that the type of their column cannot hold, under every policy.

use tripline::config::OutOfRange;
use tripline::event::Op;

use super::fixture::{Fixture, table, with_database};

const COLUMNS: &str = "id integer int4 !, d date date !, t timestamp with time zone timestamptz ?, n numeric(4,2) numeric !, \
                       a date[] date[] !";
const TYPES: &str = "SELECT type FROM system.columns WHERE database = currentDatabase() AND table = 'people' \
                     AND name IN ('d', 't', 'n', 'a') ORDER BY position FORMAT TSVRaw";
const ROWS: &str = "SELECT d, t, n, a FROM people_current ORDER BY id";

#[tokio::test]
async fn null_stands_in_for_what_a_type_cannot_hold() {
    with_database(async |db| {
        let people = table("public.people", 1, &["id"], COLUMNS);
        let mut mirror = Fixture::keeping(&db, OutOfRange::Null).await;
        let lines = ["1\t1899-12-31\tinfinity\tNaN\t{infinity,2026-01-01}", "2\t2026-01-01\t\\N\t1.5\t{}"];
        mirror.apply(&people, &[(1, Op::Insert, lines[0]), (2, Op::Insert, lines[1])]).await.unwrap();
        let types = "Nullable(Date32)\nNullable(DateTime64(6, 'UTC'))\nNullable(Decimal(4, 2))\nArray(Nullable(Date32))\n";
        assert_eq!(db.read(TYPES).await, types);
        assert_eq!(db.read(ROWS).await, "\\N\t\\N\t\\N\t[NULL,'2026-01-01']\n2026-01-01\t\\N\t1.5\t[]\n");
    })
    .await;
}

#[tokio::test]
async fn the_nearest_value_stands_in_for_what_a_type_cannot_hold_but_for_nan() {
    with_database(async |db| {
        let people = table("public.people", 1, &["id"], COLUMNS);
        let mut mirror = Fixture::keeping(&db, OutOfRange::Clamp).await;
        let line = "1\t0044-03-15 BC\t294276-12-31 23:59:59+00\t-Infinity\t{infinity,-infinity}";
        mirror.apply(&people, &[(1, Op::Insert, line)]).await.unwrap();
        let row = "1900-01-01\t2299-12-31 23:59:59.999999\t-99.99\t['2299-12-31','1900-01-01']\n";
        assert_eq!(db.read(ROWS).await, row);
        let nan = "2\t2026-01-01\t\\N\tNaN\t{}";
        let error = mirror.apply(&people, &[(2, Op::Insert, nan)]).await.unwrap_err().to_string();
        assert!(error.contains("out_of_range = \"null\" for this column"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn text_holds_everything_where_the_policy_asks_for_it() {
    with_database(async |db| {
        let people = table("public.people", 1, &["d"], COLUMNS);
        let mut mirror = Fixture::keeping(&db, OutOfRange::String).await;
        let line = "1\tinfinity\t0044-03-15 00:00:00+00 BC\tNaN\t[0:0]={-infinity}";
        mirror.apply(&people, &[(1, Op::Insert, line)]).await.unwrap();
        assert_eq!(db.read(TYPES).await, "String\nNullable(String)\nString\nString\n", "the key too");
        assert_eq!(db.read(ROWS).await, "infinity\t0044-03-15 00:00:00+00 BC\tNaN\t[0:0]={-infinity}\n");
    })
    .await;
}

#[tokio::test]
async fn what_no_policy_covers_is_refused_with_the_policy_that_would() {
    with_database(async |db| {
        let people = table("public.people", 1, &["d"], COLUMNS);
        let line = "1\tinfinity\t\\N\t1\t{}";
        // In a key, two values could become one.
        for policy in [OutOfRange::Error, OutOfRange::Null, OutOfRange::Clamp] {
            let mut mirror = Fixture::keeping(&db, policy).await;
            let error = mirror.apply(&people, &[(7, Op::Insert, line)]).await.unwrap_err().to_string();
            let names = ["public.people", "cdc_id Some(7)", "`d` (Date32)", "out_of_range = \"string\""];
            assert!(names.iter().all(|name| error.contains(name)), "{error}");
            assert_ne!(mirror.target_positions().await, mirror.expected_positions());
        }
        let people = table("public.people", 2, &["d"], COLUMNS);
        let line = "1\t2026-01-01\t\\N\tInfinity\t{}";
        // A table that was made under another policy has no room for NULL.
        let mut mirror = Fixture::keeping(&db, OutOfRange::Null).await;
        let error = mirror.apply(&people, &[(8, Op::Insert, line)]).await.unwrap_err().to_string();
        assert!(
            error.contains("`n` (Decimal(4, 2))") && error.contains("needs a Nullable column"),
            "{error}"
        );
        assert_eq!(db.read("SELECT count() FROM people").await, "0\n");
    })
    .await;
}
