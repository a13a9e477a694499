use futures_util::{StreamExt, pin_mut};

use super::*;

/// Types with values that a careless way would change.
const VALUES: &[(&str, &[&str])] = &[
    ("bool", &["true", "false"]),
    ("int2", &["-32768", "32767"]),
    ("int8", &["-9223372036854775808", "9223372036854775807"]),
    ("oid", &["4294967295"]),
    ("float4", &["0.1", "'NaN'", "'-Infinity'", "'-0'", "3.4028235e38", "1e-45"]),
    ("float8", &["0.1", "'NaN'", "'Infinity'", "'-0'", "5e-324", "123456789.12345679"]),
    ("numeric", &["1.500", "'NaN'", "123456789012345678901234567890.123456789012345678901234567890"]),
    ("numeric(10,3)", &["1.5", "-9999999.999"]),
    ("text", &["''", "'\\N'", "E'a\\tb\\nc\\rd\\\\e''\"f'", "'\\.'", "'grüß 😀'", "E'\\x01\\x08\\x0b'"]),
    ("varchar(5)", &["'abcde'", "'   '"]),
    ("char(5)", &["'ab'", "''"]),
    ("\"char\"", &["'x'", "''"]),
    ("name", &["'Näme'"]),
    ("bytea", &["'\\x'", "'\\x0001ff27 5c'", "'''\\\\'"]),
    ("date", &["'infinity'", "'0044-03-15 BC'", "'5874897-12-31'"]),
    ("time", &["'24:00:00'", "'12:00:00.000001'"]),
    ("timetz", &["'12:00:00.5+05:30'"]),
    (
        "timestamp",
        &["'-infinity'", "'2026-11-21 09:00:00.123456'", "'294276-12-31 23:59:59.999999'", "'0044-03-15 BC'"],
    ),
    ("timestamptz", &["'infinity'", "'2026-11-21 09:00:00.1+02'", "'4713-01-01 00:00:00+00 BC'"]),
    ("timestamptz(3)", &["'2026-11-21 09:00:00.123'"]),
    ("interval", &["'1 year -2 months 3 days -04:05:06.789'", "'-1 day'", "'0'"]),
    ("uuid", &["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"]),
    ("json", &["'null'", "'{\"a\" : [1.0,  2e5], \"a\": \"\\u0041\\\\\"}'"]),
    ("jsonb", &["'null'", "'{\"b\": 1.10, \"a\": \"x\\ny\"}'"]),
    ("xml", &["'<a/><b>x</b>'"]),
    ("inet", &["'10.0.0.1/8'", "'::1'"]),
    ("cidr", &["'10.0.0.0/8'"]),
    ("macaddr", &["'08:00:2b:01:02:03'"]),
    ("money", &["'-1234567.89'"]),
    ("bit(3)", &["B'101'"]),
    ("bit varying(5)", &["B''", "B'1'"]),
    ("point", &["'(1.5,-2)'"]),
    ("box", &["'(1,2),(3,4)'"]),
    ("box[]", &["'{(1,2),(3,4);(5,6),(7,8)}'"]),
    ("int4range", &["'[1,10)'", "'empty'", "'(,)'"]),
    ("tstzrange", &["'[2026-01-01 00:00:00+00,)'"]),
    ("int4multirange", &["'{[1,3), [5,7)}'"]),
    ("tsvector", &["'a:1A b''c'"]),
    ("tsquery", &["'a & !b'"]),
    ("int4[]", &["'{}'", "'{1,NULL,3}'", "'{{1,2},{3,4}}'", "'[0:1]={7,8}'"]),
    ("text[]", &["'{\"\",NULL,\"NULL\",\"a,b\",\"q\\\"\\\\\",\"{}\"}'"]),
    ("bool[]", &["'{t,f}'"]),
    ("bytea[]", &["array['\\x00ff'::bytea, '']"]),
    ("float8[]", &["'{NaN,-Infinity,0.1}'"]),
    ("timestamptz[]", &["'{\"2026-01-01 00:00:00.5+00\",infinity}'"]),
    ("interval[]", &["'{\"1 day -00:00:01\"}'"]),
    ("json[]", &["array['{\"a\": \"\\\"\"}'::json]"]),
    ("numeric(10,2)[]", &["'{1.5,NaN}'"]),
    ("public.mood", &["'sad'", "'o''k'"]),
    ("public.mood[]", &["'{sad,NULL}'"]),
    ("public.small", &["7"]),
    ("public.pair", &["row(1, 'a,\"b')", "row(null, '')"]),
    ("pg_lsn", &["'16/B374D848'"]),
    ("xid8", &["'18446744073709551615'"]),
    ("jsonpath", &["'$.a[*]'"]),
];

async fn copy_out(db: &Db, table: &str) -> Vec<String> {
    let stream = db.client.copy_out(&format!("copy public.{table} to stdout")).await.unwrap();
    pin_mut!(stream);
    let mut text = Vec::new();
    while let Some(chunk) = stream.next().await {
        text.extend_from_slice(&chunk.unwrap());
    }
    let mut lines: Vec<String> = String::from_utf8(text).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

async fn round_trip(test: &str, copies: usize) {
    let db = Db::new(test).await;
    db.run(&tripline::session::exact_text_sql("session")).await;
    db.run("create type public.mood as enum ('sad', 'o''k'); create domain public.small as int check (value < 10);
            create type public.pair as (a int, b text)")
        .await;
    let columns: Vec<String> =
        VALUES.iter().enumerate().map(|(i, (declared, _))| format!("c{i} {declared}")).collect();
    let table = db.create("t", &format!("id int primary key, {}", columns.join(", ")), &["id"]).await;
    let most = VALUES.iter().map(|(_, values)| values.len()).max().unwrap();
    for copy in 0..copies {
        for i in 0..=most {
            let values: Vec<&str> = VALUES.iter().map(|(_, v)| v.get(i).copied().unwrap_or("null")).collect();
            db.run(&format!("insert into public.t values ({}, {})", copy * 100 + i, values.join(", "))).await;
        }
    }
    let lines = copy_out(&db, "t").await;
    db.run("drop table public.t; drop type public.mood").await;
    let mut target = db.resumed().await;
    apply(&db, &mut target, lines.iter().map(|line| insert(&table, line)).collect()).await.unwrap();
    assert_eq!(copy_out(&db, "t").await, lines);
    assert_eq!(db.table("t", 1, &["id"]).await, table);
    assert_eq!(target.replays(), 0);
}

#[tokio::test]
async fn every_type_comes_back_equal_by_literals() {
    round_trip("literals", 1).await;
}

#[tokio::test]
async fn every_type_comes_back_equal_by_copy() {
    round_trip("copies", 15).await;
}
