//! Keys of every type that PostgreSQL sorts: changed, swapped, and replaced by keys that are equal but not the same.

use crate::db::{run, value};
use crate::pipeline::harness::Pipeline;
use crate::verify::all_equal;

/// Made on both sides.
const TYPES: &str = "
create extension if not exists citext; create extension if not exists ltree;
create collation ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
create collation german (provider = icu, locale = 'de');
create type mood as enum ('sad', 'ok', 'great');
create domain positive as int check (value > 0);
create domain word as citext;
create type point_in_time as (day date, number numeric)";

/// Type of the key column, four keys, and a key that is equal to the first one (the same, where no other is).
const KEYS: &[(&str, [&str; 5])] = &[
    ("text", ["a", "A", "", "ü\\'\"\t\n", "a"]),
    ("text collate \"C\"", ["a", "A", "ä", "z", "a"]),
    ("text collate ci", ["a", "b", "ß", "Z", "A"]),
    ("text collate german", ["a", "A", "ä", "z", "a"]),
    ("citext", ["a", "b", "ß", "Z", "A"]),
    ("word", ["a", "b", "ß", "Z", "A"]),
    ("varchar(20)", ["a", "a ", "b", "", "a"]),
    ("character(5)", ["a", "b", "", "c", "a  "]),
    ("name", ["a", "A", "b", "c", "a"]),
    ("\"char\"", ["a", "b", "c", "d", "a"]),
    ("smallint", ["1", "-1", "0", "32767", "1"]),
    ("integer", ["1", "-1", "0", "2147483647", "1"]),
    ("bigint", ["1", "-9223372036854775808", "0", "9223372036854775807", "1"]),
    ("oid", ["1", "0", "2", "4294967295", "1"]),
    ("numeric", ["1.0", "0", "NaN", "123456789012345678901234567890.1", "1.000"]),
    ("numeric(10,2)", ["1.0", "0", "-0.01", "99999999.99", "1"]),
    ("real", ["0", "1.5", "NaN", "-Infinity", "-0"]),
    ("double precision", ["0", "1e-300", "NaN", "Infinity", "-0"]),
    ("date", ["2020-01-01", "1900-01-01", "1969-12-31", "2299-12-31", "2020-01-01"]),
    ("time", ["00:00", "24:00", "12:34:56.789012", "01:00", "00:00"]),
    ("timetz", ["12:00+00", "12:00+01", "24:00+00", "00:00-15:59", "12:00+00"]),
    ("timestamp", ["2020-01-01", "1900-01-01", "1969-12-31 23:59:59.999999", "2200-01-01", "2020-01-01"]),
    (
        "timestamptz",
        [
            "2020-01-01 00:00+00",
            "1900-01-02 00:00+00",
            "1969-12-31 23:59:59.999999+00",
            "2200-01-01 00:00+00",
            "2020-01-01 01:00+01",
        ],
    ),
    ("interval", ["1 month", "1 day", "-1 year +3 hours", "0", "30 days"]),
    (
        "uuid",
        [
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "12345678-1234-1234-1234-123456789abc",
            "00000000-0000-0000-0000-000000000001",
            "00000000-0000-0000-0000-000000000000",
        ],
    ),
    ("bytea", ["\\x", "\\x00", "\\xff00", "\\x0a5c27", "\\x"]),
    ("inet", ["1.2.3.4", "1.2.3.0/24", "::1", "fe80::/10", "1.2.3.4/32"]),
    ("cidr", ["1.2.3.0/24", "10.0.0.0/8", "::/0", "1.2.3.4/32", "1.2.3.0/24"]),
    (
        "macaddr",
        ["08:00:2b:01:02:03", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "08:00:2b:01:02:04", "08002b010203"],
    ),
    (
        "macaddr8",
        [
            "08:00:2b:01:02:03:04:05",
            "00:00:00:00:00:00:00:00",
            "ff:ff:ff:ff:ff:ff:ff:ff",
            "08:00:2b:01:02:03:04:06",
            "08002b0102030405",
        ],
    ),
    ("bit(5)", ["00000", "11111", "10101", "00001", "00000"]),
    ("bit varying", ["", "0", "00", "1", ""]),
    ("money", ["1.00", "-1.00", "0", "12345678.90", "1"]),
    ("jsonb", ["{\"a\": 1.0}", "null", "[1, \"x\"]", "\"s\"", "{\"a\": 1.00}"]),
    ("pg_lsn", ["0/0", "FFFFFFFF/FFFFFFFF", "1/2", "0/1", "00/00"]),
    ("xid8", ["0", "18446744073709551615", "7", "8", "0"]),
    ("tsvector", ["", "'a':1 'b':2", "'c'", "'ü'", ""]),
    ("mood", ["sad", "ok", "great", "", "sad"]),
    ("positive", ["1", "2", "3", "2147483647", "1"]),
    ("int4range", ["[1,2]", "empty", "(,5)", "[7,)", "[1,3)"]),
    ("numrange", ["[1.0,2]", "empty", "(,5)", "[7,)", "[1.00,2.0]"]),
    (
        "tsrange",
        ["[2020-01-01,2020-01-02)", "empty", "(,2020-01-01)", "[infinity,]", "[2020-01-01,2020-01-02)"],
    ),
    ("int4multirange", ["{[1,2]}", "{}", "{[1,2],[5,7]}", "{(,)}", "{[1,3)}"]),
    ("integer[]", ["{1,2}", "{}", "{{1,2},{3,4}}", "[0:1]={1,2}", "{1,2}"]),
    ("text[]", ["{a}", "{NULL}", "{\"\",\"a,b\",\"\\\\\\\"\"}", "{}", "{a}"]),
    ("numeric[]", ["{1.0}", "{NaN,NULL}", "{}", "{0}", "{1.00}"]),
    ("point_in_time", ["(2020-01-01,1.0)", "(,)", "(infinity,NaN)", "(,0)", "(2020-01-01,1.00)"]),
    ("ltree", ["a.b", "", "a", "a.b.c", "a.b"]),
    ("regtype", ["int4", "text", "date", "uuid", "integer"]),
];

fn table(number: usize) -> String {
    format!("k{number:02}")
}

/// A key as SQL; PostgreSQL has no value for an empty enum.
fn literal(of: &str, key: &str) -> String {
    format!("{}::{}", tripline::table::quote_literal(key), of.split(" collate").next().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_every_type_arrive_whatever_becomes_of_them() {
    let mut schema = TYPES.to_owned();
    for (number, (of, _)) in KEYS.iter().enumerate() {
        schema.push_str(&format!("; create table {} (k {of} primary key, v int)", table(number)));
    }
    let pipeline = Pipeline::create(&[], &schema).await;
    run(&pipeline.to, TYPES).await;
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    // One pass or several: what is folded together at the targets is another thing each time.
    for together in [true, false] {
        if together {
            run(&pipeline.from, "begin").await;
        }
        for (number, (of, keys)) in KEYS.iter().enumerate() {
            let table = table(number);
            let keys: Vec<String> = keys.iter().map(|key| literal(of, key)).collect();
            let [first, second, third, fourth, equal] = &keys[..] else { unreachable!() };
            let fourth = if *of == "mood" { third } else { fourth };
            let statements = [
                format!("insert into {table} values ({first}, 1), ({second}, 2), ({third}, 3)"),
                // Two rows swap their keys in one statement; the sort takes both out before either is put in.
                format!(
                    "with gone as (delete from {table} where v in (1, 2) returning *)
                     insert into {table} select case v when 1 then {second} else {first} end, v from gone order by v"
                ),
                format!("update {table} set k = {equal} where v = 2"),
                format!("update {table} set k = {fourth}, v = 4 where v = 3"),
                format!("update {table} set v = 5 where k = {second}; delete from {table} where k = {second}"),
                format!("insert into {table} values ({second}, 6) on conflict (k) do update set v = -1"),
                format!("insert into {table} values ({first}, 7) on conflict (k) do update set k = excluded.k, v = 8"),
            ];
            for statement in statements {
                pipeline
                    .from
                    .batch_execute(&statement)
                    .await
                    .unwrap_or_else(|error| panic!("{of}: {statement}\n{error:?}"));
            }
        }
        if together {
            run(&pipeline.from, "commit").await;
        }
        assert_eq!(all_equal(&pipeline).await, 3 * KEYS.len() as u64);
        // The bytes, too, which a comparison by equality would not tell apart.
        for (number, (of, _)) in KEYS.iter().enumerate() {
            let all = format!(
                "select string_agg(t::text, ' ' order by t::text collate \"C\") from {} t",
                table(number)
            );
            assert_eq!(value(&pipeline.from, &all).await, value(&pipeline.to, &all).await, "{of}");
            if together {
                run(&pipeline.from, &format!("truncate {}", table(number))).await;
            }
        }
    }
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn composite_and_chosen_keys_arrive_whatever_becomes_of_them() {
    let schema = "create extension citext;
        create table wide (v text, c citext, b numeric, a timestamptz, primary key (a, b, c));
        create table chosen (id int not null, code varchar(10) not null, side smallint not null, v text);
        create unique index chosen_code_side on chosen (side desc, code collate \"default\" text_pattern_ops) include (v)";
    let pipeline = Pipeline::create(&[], schema).await;
    pipeline.configure("[[table]]\nname = 'public.chosen'\nkey_index = 'chosen_code_side'");
    run(&pipeline.to, "create extension citext").await;
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    run(
        &pipeline.from,
        "insert into wide select 'v', 'K' || n % 7, n * 1.0, '2020-01-01'::timestamptz + n % 5 * '1 day'::interval
           from generate_series(1, 300) n;
         update wide set c = upper(c::text) where b < 100; update wide set b = b * 1.00 where b > 200; update wide set c = lower(c::text);
         update wide set b = b + 1000, a = a + '1 day' where b < 50; delete from wide where b between 60 and 70;
         insert into chosen select n, 'c' || n % 50, n / 50, 'v' from generate_series(0, 299) n;
         update chosen set side = side + 100, id = 0 where code < 'c2'; update chosen set id = -id where side > 100;
         update chosen set code = code || '!' where side = 3; delete from chosen where side = 4",
    )
    .await;
    let expected = "select (select count(*) from wide) + (select count(*) from chosen)";
    let expected = value(&pipeline.from, expected).await;
    assert_eq!(all_equal(&pipeline).await.to_string(), expected);
    pipeline.stop(daemon).await;
}
