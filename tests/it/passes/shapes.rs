//! Windows of large rows, of many tables, of tables of every type.

use tokio_postgres::SimpleQueryMessage;
use tripline::tail::{Tail, Window};

use super::{Source, brief, ids, row_json};
use crate::db::value;

const MEGABYTE: usize = 1 << 20;

#[tokio::test]
async fn windows_of_large_rows_are_bounded_in_bytes() {
    const ROWS: u64 = 40;
    let source = Source::create("create table t (id int primary key, v text)", |config| {
        config.tail.window_bytes = 4 * MEGABYTE;
    })
    .await;
    let mut tail = source.tail().await;
    source
        .run(&format!(
            "insert into t select g, repeat(chr(64 + g), {MEGABYTE}) from generate_series(1, {ROWS}) g;
             insert into t select g, 'small' from generate_series(1000, 2999) g"
        ))
        .await;
    let windows = source.drain(&mut tail).await;
    for window in &windows {
        assert!(window.bytes.len() < 5 * MEGABYTE + 4096, "{} bytes in {window:?}", window.bytes.len());
    }
    assert_eq!(ids(&windows), (1..=ROWS + 2000).collect::<Vec<u64>>());
    assert!(windows.len() >= 10, "{} windows", windows.len());
    assert!(windows.len() < 20, "small rows come in large windows again: {} windows", windows.len());
    let large = row_json(&windows[0], &windows[0].messages[0]);
    assert_eq!(large.iter().filter(|&&byte| byte == b'A').count(), MEGABYTE, "the row is whole");
}

#[tokio::test]
async fn many_tables_are_read_in_one_order() {
    let ddl: String =
        (1..=12).map(|i| format!("create table t{i:02} (id int primary key, c{i} text);")).collect();
    let source = Source::create(&ddl, |config| config.tail.window_rows = 7).await;
    let mut tail = source.tail().await;
    let writes: String =
        (0..30).map(|n| format!("insert into t{:02} values ({n}, 'x');", n * 5 % 12 + 1)).collect();
    source.run(&writes).await;
    let expected: Vec<String> = (0..30).map(|n| format!(r#"c {{"id":{n}}}"#)).collect();
    assert_eq!(brief(&source.drain(&mut tail).await), expected);
    source.run("update t03 set c3 = 'only this table'").await;
    let windows = source.drain(&mut tail).await;
    let count = value(&source.client, "select count(*) from t03").await;
    assert_eq!(brief(&windows).len().to_string(), count);
}

/// One column of every kind of text; the values are `(column type, a value, another one)`.
const TYPES: [(&str, &str, &str); 26] = [
    ("boolean", "true", "false"),
    ("char(5)", "'ab'", "''"),
    ("\"char\"", "'x'", "'y'"),
    ("varchar(9)", "E'tab\\there'", "'\\N'"),
    ("text", "E'line\\nline \\\\ \"q\"'", "'é'"),
    ("name", "'a name'", "'b'"),
    ("int2", "-32768", "7"),
    ("int8", "9223372036854775807", "-1"),
    ("float4", "1.1", "'-Infinity'"),
    ("float8", "0.1", "'NaN'"),
    ("numeric(20,4)", "1234567890.1230", "'NaN'"),
    ("numeric", "1e-20", "100000000000000000000.00"),
    ("money", "1234.5", "-1"),
    ("inet", "'192.168.0.1/32'", "'10.0.0.0/8'"),
    ("cidr", "'10.0.0.0/8'", "'::1/128'"),
    ("bytea", "'\\x00ff5c'", "''"),
    ("bit varying(8)", "B'101'", "B''"),
    ("date", "'0044-03-15 BC'", "'infinity'"),
    ("timestamptz", "'2026-11-21 09:00:00.5+02'", "'-infinity'"),
    ("interval", "'1 year -2 days 03:04:05.6'", "'0'"),
    ("jsonb", "'{\"a\": [1, null]}'", "'null'"),
    ("xml", "'<a>1</a>'", "''"),
    ("int4range", "'[1,5)'", "'empty'"),
    ("boolean[]", "'{t,f,NULL}'", "'{}'"),
    ("text[]", "array[['a,b', null], ['\"', '\\']]", "'[0:1]={x,y}'"),
    ("mood", "'ok'", "'not ok'"),
];

#[tokio::test]
async fn a_table_reads_the_same_alone_and_among_others() {
    let columns: String = TYPES.iter().enumerate().map(|(i, (kind, ..))| format!(", c{i} {kind}")).collect();
    let others: String = (1..=9).map(|i| format!("create table u{i} (id int primary key);")).collect();
    let ddl =
        format!("create type mood as enum ('ok', 'not ok'); create table t (id int primary key{columns})");
    let source = Source::create(&ddl, |_| ()).await;
    let mut tail = source.tail().await;
    let values = |pick: fn(&(&'static str, &'static str, &'static str)) -> &'static str| {
        TYPES.iter().map(|kind| format!(", {}", pick(kind))).collect::<String>()
    };
    source
        .run(&format!(
            "insert into t values (1{}); insert into t values (2{}); insert into t (id) values (3)",
            values(|kind| kind.1),
            values(|kind| kind.2)
        ))
        .await;
    let alone = source.drain(&mut tail).await;
    // More than are read by COPY, and with other types in the same places.
    source.run(&format!("{others} create table wide (id numeric primary key, a inet, b bool[])")).await;
    source
        .run("begin; insert into wide values (1.0, '::1', '{t}'); update t set id = id; insert into u1 values (1); commit")
        .await;
    let among = source.drain(&mut tail).await;
    assert_eq!(brief(&alone), [r#"c {"id":1}"#, r#"c {"id":2}"#, r#"c {"id":3}"#]);
    assert_eq!(alone.len() + among.len(), 2, "one window each");
    assert_eq!(brief(&among).len(), 5);
    let rows = |window: &Window| {
        let rows =
            window.messages.iter().filter(|message| window.tables[message.table].table.name.name == "t");
        let mut rows: Vec<String> =
            rows.map(|message| String::from_utf8(row_json(window, message).to_vec()).unwrap()).collect();
        // One statement may log its rows in any order.
        rows.sort();
        rows
    };
    assert_eq!(rows(&alone[0]), rows(&among[0]));
}

/// Twelve tables of the same shape.
async fn twelve() -> Source {
    let ddl: String = (1..=12).map(|i| format!("create table t{i} (id int primary key, v text);")).collect();
    Source::create(&ddl, |_| ()).await
}

/// Returns the names of the statements that the tail's session keeps.
async fn prepared(tail: &Tail) -> Vec<String> {
    let names = tail.client().query("select name from pg_prepared_statements where from_sql", &[]);
    names.await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn the_statement_over_many_tables_is_kept_and_follows_ddl() {
    let source = twelve().await;
    let mut tail = source.tail().await;
    source.run("insert into t1 values (1, 'a'); insert into t12 values (2, 'b')").await;
    assert_eq!(brief(&source.drain(&mut tail).await), [r#"c {"id":1}"#, r#"c {"id":2}"#]);
    let first = prepared(&tail).await;
    assert_eq!(first.len(), 1, "{first:?}");
    source.run("insert into t5 values (3, 'c')").await;
    assert_eq!(brief(&source.drain(&mut tail).await).len(), 1);
    assert_eq!(prepared(&tail).await, first, "it is kept");
    // As behind a pooler, where the next pass may be in another session.
    tail.client().batch_execute("deallocate all").await.unwrap();
    source.run("insert into t6 values (4, 'd')").await;
    assert_eq!(brief(&source.drain(&mut tail).await), [r#"c {"id":4}"#]);
    assert_eq!(prepared(&tail).await, first);
    // Every table gets another type in the same place: the text of the statement need not tell.
    let alter: String = (1..=12).map(|i| format!("alter table t{i} alter id type bigint;")).collect();
    source.run(&format!("{alter} insert into t7 values (5000000000, 'e')")).await;
    let renewed = brief(&source.drain(&mut tail).await);
    assert_eq!(
        renewed.last().unwrap(),
        r#"c {"id":5000000000}"#,
        "behind the rows that DDL logged again: {renewed:?}"
    );
    let second = prepared(&tail).await;
    assert_eq!(second.len(), 1, "the former one is gone: {second:?}");
    assert_ne!(second, first);
}

#[tokio::test]
async fn the_statement_over_many_tables_has_no_plan_of_an_empty_log() {
    let source = twelve().await;
    let mut tail = source.tail().await;
    source.run("insert into t1 values (0, 'first')").await;
    source.drain(&mut tail).await;
    let before = prepared(&tail).await;
    source.run("insert into t1 select g, 'x' from generate_series(1, 30000) g").await;
    let pass = loop {
        if let Some(pass) = tail.open().await.unwrap() {
            break pass;
        }
    };
    assert_eq!(prepared(&tail).await, before);
    let sql = format!("explain (costs off) execute {}(0, '9:9:', '1:1:', 10)", before[0]);
    let rows = tail.client().simple_query(&sql).await.unwrap();
    let plan: Vec<String> = rows
        .iter()
        .filter_map(|row| match row {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
        .collect();
    assert_eq!(tail.read(pass).await.unwrap().map(|window| window.messages.len()), Some(20_000));
    let plan = plan.join("\n");
    assert_eq!(plan.matches("Index Scan using").count(), 12, "{plan}");
    assert!(
        !plan.contains("Seq Scan") && !plan.contains("Sort  ") && plan.contains("Merge Append"),
        "{plan}"
    );
}
