//! What cannot be compared is said, with the way out, and never taken for equal.

use super::{all_equal, verify};
use crate::db::run;
use crate::pipeline::harness::{MARKER, Pipeline};

const KINDS: &str = "
create type mood as enum ('sad', 'it''s \"great\"');
create domain price as numeric(10,2);
create table kinds (id numeric, part char(4), at timestamp, r real, d double precision, c char(5), tags text[],
    matrix integer[] not null default '{1}', m mood, j json, b jsonb, raw bytea, z timestamptz, flag boolean, p price, i interval,
    u uuid, day date, n12 numeric(12,3), twice numeric generated always as (id * 2) stored, primary key (id, part, at));
create table nums (id integer primary key, small smallint, n integer, r real, t varchar(12), j json, at timestamp(3));";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_compares_and_other_types_at_the_destination_too() {
    let pipeline = Pipeline::create(&[], KINDS).await;
    let other = "create domain price as numeric(10,2);
        create table nums (id bigint primary key, small numeric(10,3), n numeric, r double precision, t char(12),
            j jsonb, at timestamptz, more text default 'here', twice integer generated always as (id * 2) stored)";
    run(&pipeline.to, other).await;
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    let fill = format!(
        "insert into kinds select n + 0.50, 'p' || n, '2026-01-01'::timestamp + n * interval '1 ms', n / 3.0, n / 7.0, 'c', array['{MARKER}', null, ''],
             array[n, null], 'it''s \"great\"', '{{\"a\": 1,  \"a\": 2}}', '{{\"b\": null}}', decode('00ff0a5c', 'hex'),
             '2026-01-01 00:00:00.123456+03', n % 2 = 0, n * 1.1, '1 mon 2 days', '00000000-0000-0000-0000-0000000000ff', '2000-02-29', n
         from generate_series(1, 50) n;
         insert into kinds (id, part, at) values (0, '', '1999-12-31'), (0.0, 'x', '1999-12-31'), (-1e-9, ' ', '1999-12-31');
         insert into nums select n, n, n * 1000, n * 1e9, 't' || n, '{{\"b\": 1, \"a\":  2}}', '2026-01-01 01:02:03.5' from generate_series(1, 20) n;
         insert into nums (id) values (21)"
    );
    run(&pipeline.from, &fill).await;
    assert_eq!(all_equal(&pipeline).await, 53 + 21);
    let plants = [
        (
            "update kinds set tags = array['a,\"b', null, ''] where id = 3.5",
            "public.kinds",
            r#"changed {"at":"2026-01-01T00:00:00.003000Z","id":"3.50","part":"p3  "}"#,
        ),
        ("update nums set small = 4.001 where id = 4", "public.nums", r#"changed {"id":4}"#),
        ("update nums set t = 'u5' where id = 5", "public.nums", r#"changed {"id":5}"#),
        ("update nums set r = r + 0.1 where id = 6", "public.nums", r#"changed {"id":6}"#),
        ("update nums set j = '[]' where id = 21", "public.nums", r#"changed {"id":21}"#),
    ];
    let mut found = 0;
    for (plant, table, finds) in plants {
        run(&pipeline.to, plant).await;
        found += 1;
        let verified = verify(&pipeline, "").await;
        assert!(
            verified.differing(table, "postgres").contains(&finds.to_owned()),
            "{plant}: {:#}",
            verified.answer
        );
        assert_eq!(verified.sum("postgres", "differing"), found, "{plant}: {:#}", verified.answer);
    }
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_named_with_the_way_out() {
    let pipeline = Pipeline::create(&[], "create table a (id integer primary key, body text, n integer); create table b (id integer primary key)").await;
    pipeline.init().await;
    let says = async |arguments: &str, says: &[&str]| {
        let ended = pipeline.command(&format!("verify {arguments}")).await;
        // What is wrong with the configuration has a status of its own.
        let status = if says == ["nothing to apply to"] { 78 } else { 2 };
        assert_eq!(ended.code, Some(status), "{}", ended.text);
        for text in says {
            assert!(ended.text.contains(text), "{text:?} is not in\n{}", ended.text);
        }
    };
    says(
        "",
        &["postgres has applied nothing", "clickhouse has applied nothing", "incomplete: 0 rows compared"],
    )
    .await;
    says("nothing", &["nothing is no captured table", "public.a, public.b"]).await;

    let daemon = pipeline.start_ready("run").await;
    run(&pipeline.from, "insert into a values (1, 'x'), (2, 'y'); insert into b values (1)").await;
    all_equal(&pipeline).await;
    pipeline.stop(daemon).await;
    run(&pipeline.to, "alter table a drop column body, drop column n; drop table b").await;
    pipeline.mirror.read("DROP TABLE b").await;
    says("", &["table public.a lacks columns at the destination (body, n): run `tripline init`"]).await;
    says("b", &["table public.b is not at the destination", "b is not in", "tripline init"]).await;

    // The other target is compared nevertheless, and a configuration with one target alone does.
    let verified = verify(&pipeline, "a").await;
    assert_eq!(verified.of("public.a", "clickhouse")["rows"], 2, "{:#}", verified.answer);
    let both = std::fs::read_to_string(pipeline.config()).unwrap();
    let (before, after) = both.split_once("[destination]").unwrap();
    let (destination, mirror) = after.split_once("[clickhouse]").unwrap();
    std::fs::write(pipeline.config(), format!("{before}[clickhouse]{mirror}")).unwrap();
    let verified = verify(&pipeline, "a").await;
    assert_eq!((verified.code, verified.answer["tables"].as_array().unwrap().len()), (Some(0), 1));
    let log = mirror.split_once("[log]").unwrap().1;
    std::fs::write(pipeline.config(), format!("{before}[destination]{destination}[log]{log}")).unwrap();
    run(&pipeline.to, "alter table a add body text, add n integer; update a set body = chr(119 + id)").await;
    let verified = verify(&pipeline, "a").await;
    assert_eq!(
        (verified.code, verified.answer["tables"].as_array().unwrap().len()),
        (Some(0), 1),
        "{:#}",
        verified.answer
    );
    std::fs::write(pipeline.config(), format!("{before}[log]{log}")).unwrap();
    says("", &["nothing to apply to"]).await;
    std::fs::write(pipeline.config(), format!("{both}[apply]\nconsistency = \"key\"\n")).unwrap();
    says("a", &["apply.consistency = \"key\"", "2 rows compared"]).await;
    std::fs::write(pipeline.config(), &both).unwrap();

    // Another record than the destination names, and one that is not there.
    run(&pipeline.to, "update tripline.positions set next_offset = next_offset - 1 where topic like '%cuts'")
        .await;
    says("a", &["of the cuts topic"]).await;
    run(
        &pipeline.to,
        "update tripline.positions set next_offset = next_offset + 1000 where topic like '%cuts'",
    )
    .await;
    says("a", &["below 1001: it was deleted or recreated"]).await;
}
