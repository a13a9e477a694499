//! Every type, read back through ClickHouse's own text.

use tripline::event::Op;

use super::fixture::{Fixture, table, with_database};

/// Column, declared type, base type, PostgreSQL's text in COPY, ClickHouse's type and text.
const CASES: &[(&str, &str, &str, &str, &str, &str)] = &[
    ("i2", "smallint", "int2", "-32768", "Int16", "-32768"),
    ("i4", "integer", "int4", "2147483647", "Int32", "2147483647"),
    ("i8", "bigint", "int8", "-9223372036854775808", "Int64", "-9223372036854775808"),
    ("o", "oid", "oid", "4294967295", "UInt32", "4294967295"),
    ("f4", "real", "float4", "0.1", "Float32", "0.1"),
    ("f8", "double precision", "float8", "1.7976931348623157e+308", "Float64", "1.7976931348623157e308"),
    ("f_nan", "double precision", "float8", "NaN", "Float64", "nan"),
    ("f_inf", "real", "float4", "-Infinity", "Float32", "-inf"),
    ("b", "boolean", "bool", "t", "Bool", "true"),
    ("n9", "numeric(9,2)", "numeric", "-1234567.89", "Decimal(9, 2)", "-1234567.89"),
    ("n18", "numeric(18,0)", "numeric", "999999999999999999", "Decimal(18, 0)", "999999999999999999"),
    ("n38", "numeric(38,10)", "numeric", "-0.0000000001", "Decimal(38, 10)", "-0.0000000001"),
    ("n76", "numeric(76,1)", "numeric", "-<75 nines>.9", "Decimal(76, 1)", "-<75 nines>.9"),
    ("n_neg", "numeric(2,-3)", "numeric", "99000", "Decimal(5, 0)", "99000"),
    ("n_free", "numeric", "numeric", "1.500", "String", "1.500"),
    ("n_big", "numeric(100,0)", "numeric", "NaN", "String", "NaN"),
    ("t", "text", "text", "a\\tb\\\\\\n\u{1f600}", "String", "a\\tb\\\\\\n\u{1f600}"),
    ("vc", "character varying(9)", "varchar", "", "String", ""),
    ("bc", "character(3)", "bpchar", "x  ", "String", "x  "),
    ("d_min", "date", "date", "1900-01-01", "Date32", "1900-01-01"),
    ("d_max", "date", "date", "2299-12-31", "Date32", "2299-12-31"),
    (
        "ts_min",
        "timestamp without time zone",
        "timestamp",
        "1900-01-01 00:00:00",
        DT,
        "1900-01-01 00:00:00.000000",
    ),
    (
        "ts",
        "timestamp(3) without time zone",
        "timestamp",
        "1969-12-31 23:59:59.5",
        DT,
        "1969-12-31 23:59:59.500000",
    ),
    (
        "tz_max",
        "timestamp with time zone",
        "timestamptz",
        "2299-12-31 23:59:59.999999+00",
        DT,
        "2299-12-31 23:59:59.999999",
    ),
    ("time_", "time without time zone", "time", "09:00:00.25", "String", "09:00:00.25"),
    ("iv", "interval", "interval", "P1Y2DT3H", "String", "P1Y2DT3H"),
    (
        "u",
        "uuid",
        "uuid",
        "00112233-4455-6677-8899-aabbccddeeff",
        "UUID",
        "00112233-4455-6677-8899-aabbccddeeff",
    ),
    ("j", "json", "json", "{\"a\": [1, null]}", "String", "{\"a\": [1, null]}"),
    ("jb", "jsonb", "jsonb", "null", "String", "null"),
    ("by", "bytea", "bytea", "\\\\x000a5c78", "String", "\\0\\n\\\\x"),
    ("e", "public.mood", "text", "happy", "LowCardinality(String)", "happy"),
    ("ip", "inet", "inet", "10.0.0.0/8", "String", "10.0.0.0/8"),
    ("r", "int4range", "int4range", "[1,5)", "String", "[1,5)"),
    ("ai", "integer[]", "int4[]", "{1,NULL,-3}", "Array(Nullable(Int32))", "[1,NULL,-3]"),
    ("at", "text[]", "text[]", "{\"a b\",NULL,\"NULL\"}", "Array(Nullable(String))", "['a b',NULL,'NULL']"),
    ("ae", "uuid[]", "uuid[]", "{}", "Array(Nullable(UUID))", "[]"),
    ("an", "numeric(5,2)[]", "numeric[]", "{1.50}", "Array(Nullable(Decimal(5, 2)))", "[1.5]"),
    ("ab", "boolean[]", "bool[]", "{t,f}", "Array(Nullable(Bool))", "[true,false]"),
    ("ad", "date[]", "date[]", "{2026-11-21}", "Array(Nullable(Date32))", "['2026-11-21']"),
];
const DT: &str = "DateTime64(6, 'UTC')";

fn spelled(text: &str) -> String {
    text.replace("<75 nines>", &"9".repeat(75))
}

#[tokio::test]
async fn every_type_reads_back_as_it_was() {
    with_database(async |db| {
        let columns: Vec<String> =
            CASES.iter().map(|(name, declared, base, ..)| format!("{name} {declared} {base} !")).collect();
        let table = table("public.every", 1, &["i8"], &columns.join(", "));
        let line: Vec<String> = CASES.iter().map(|case| spelled(case.3)).collect();
        let mut mirror = Fixture::new(&db).await;
        mirror.apply(&table, &[(1, Op::Insert, &line.join("\t"))]).await.unwrap();

        let types =
            "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = 'every'";
        let types =
            db.read(&format!("{types} AND name NOT LIKE '\\\\_%' ORDER BY position FORMAT TSVRaw")).await;
        let expected: String = CASES.iter().map(|case| format!("{}\t{}\n", case.0, case.4)).collect();
        assert_eq!(types, expected);
        for &(name, .., expected) in CASES {
            let read = db.read(&format!("SELECT {name} FROM every_current")).await;
            assert_eq!(read, format!("{}\n", spelled(expected)), "{name}");
        }
        // A row that is gone holds defaults; all widths must be right.
        mirror.apply(&table, &[(2, Op::Delete, &line.join("\t"))]).await.unwrap();
        assert_eq!(db.read("SELECT count() FROM every_current").await, "0\n");
    })
    .await;
}

#[tokio::test]
async fn null_is_null_in_every_type() {
    with_database(async |db| {
        let columns: Vec<String> =
            CASES.iter().map(|(name, declared, base, ..)| format!("{name} {declared} {base} ?")).collect();
        let table = table("public.every", 1, &["i8"], &columns.join(", "));
        let values: Vec<String> = CASES.iter().map(|case| spelled(case.3)).collect();
        let nulls: Vec<&str> = CASES.iter().map(|case| if case.0 == "i8" { "1" } else { "\\N" }).collect();
        let mut mirror = Fixture::new(&db).await;
        let changes = [(1, Op::Insert, values.join("\t")), (2, Op::Insert, nulls.join("\t"))];
        let changes: Vec<_> = changes.iter().map(|(id, op, line)| (*id, *op, line.as_str())).collect();
        mirror.apply(&table, &changes).await.unwrap();

        for (name, ..) in CASES.iter().filter(|case| case.0 != "i8") {
            let nulls = db.read(&format!("SELECT isNull({name}) FROM every_current ORDER BY i8")).await;
            assert_eq!(nulls, "0\n1\n", "{name}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_nullable_array_is_text_that_keeps_null_empty_and_dimensions_apart() {
    with_database(async |db| {
        let table = table("public.lists", 1, &["id"], "id integer int4 !, a integer[] int4[] ?");
        let mut mirror = Fixture::new(&db).await;
        let lines = ["1\t\\N", "2\t{}", "3\t{1,NULL}", "4\t{{1},{2}}", "5\t[0:1]={1,2}"];
        let changes: Vec<_> = lines.iter().zip(1..).map(|(&line, id)| (id, Op::Insert, line)).collect();
        mirror.apply(&table, &changes).await.unwrap();
        let rows = "1\t\\N\n2\t[]\n3\t[1,null]\n4\t[[1],[2]]\n5\t[0:1]={1,2}\n";
        assert_eq!(db.read("SELECT * FROM lists_current ORDER BY id").await, rows);
        let typed =
            "SELECT JSONExtract(assumeNotNull(a), 'Array(Nullable(Int32))') FROM lists_current WHERE id = 3";
        assert_eq!(db.read(typed).await, "[1,NULL]\n");
    })
    .await;
}

#[tokio::test]
async fn a_typed_array_that_a_person_chose_is_kept_and_null_is_an_error() {
    with_database(async |db| {
        let table = table("public.lists", 1, &["id"], "id integer int4 !, a text[] text[] ?");
        let mut mirror = Fixture::new(&db).await;
        db.run(
            "CREATE TABLE lists (id Int32, a Array(Nullable(String)), _version UInt64, _deleted UInt8) \
             ENGINE = ReplacingMergeTree(_version, _deleted) ORDER BY id",
        )
        .await;
        mirror.apply(&table, &[(1, Op::Insert, "1\t{x}")]).await.unwrap();
        assert_eq!(db.read("SELECT a FROM lists_current").await, "['x']\n");
        for (line, what) in [("2\t\\N", "NULL"), ("2\t{{x}}", "dimension"), ("2\t[2:2]={x}", "bounds")] {
            let error = mirror.apply(&table, &[(2, Op::Insert, line)]).await.unwrap_err().to_string();
            assert!(error.contains(what) && error.contains("Nullable(String)"), "{error}");
        }
        db.run("ALTER TABLE lists MODIFY COLUMN a Nullable(String)").await;
        mirror.apply(&table, &[(2, Op::Insert, "2\t\\N")]).await.unwrap();
        assert_eq!(db.read("SELECT a FROM lists_current ORDER BY id").await, "[\\'x\\']\n\\N\n");
    })
    .await;
}

#[tokio::test]
async fn values_beyond_a_type_are_refused_by_name() {
    with_database(async |db| {
        let mut mirror = Fixture::new(&db).await;
        let cases = [
            ("date", "date", "1899-12-31"),
            ("date", "date", "0044-03-15 BC"),
            ("date", "date", "-infinity"),
            ("timestamp without time zone", "timestamp", "2345-01-01 00:00:00"),
            ("timestamp with time zone", "timestamptz", "infinity"),
            ("timestamp with time zone", "timestamptz", "10000-01-01 00:00:00+00"),
            ("numeric(5,2)", "numeric", "NaN"),
            ("numeric(5,2)", "numeric", "Infinity"),
        ];
        for (number, (declared, base, text)) in cases.into_iter().enumerate() {
            let columns = format!("id integer int4 !, v {declared} {base} !");
            let table = table(&format!("public.t{number}"), 1, &["id"], &columns);
            let line = format!("1\t{text}");
            let error = mirror.apply(&table, &[(7, Op::Insert, &line)]).await.unwrap_err();
            let message = error.to_string();
            assert!(message.contains("cdc_id Some(7)") && message.contains("`v`"), "{message}");
            // The others are words that a policy's name may hold.
            let day = text.split(' ').next().unwrap();
            assert!(!day.starts_with(char::is_numeric) || !message.contains(day), "a value: {message}");
            assert_eq!(db.read(&format!("SELECT count() FROM t{number}")).await, "0\n");
        }
        assert!(mirror.target_positions().await.is_empty());
    })
    .await;
}
