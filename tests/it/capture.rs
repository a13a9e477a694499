//! Capture: what the log says after hostile writes, what init changes and refuses, what verify notices.

use std::collections::BTreeMap;

use tokio_postgres::Client;
use tripline::capture::{self, Action, CaptureError, InitOptions, InitReport, Severity};
use tripline::config::{Config, TableOverride};
use tripline::table::{CaptureMode, TableName};

use crate::db::{TestDb, UNWATCHED, Which, rows, run, value};

fn config(tables: &[&str]) -> Config {
    let mut config = Config::default();
    config.source.tables = tables.iter().map(|&table| table.to_owned()).collect();
    config
}

/// A `[[table]]` entry that changes nothing.
fn over(table: &str) -> TableOverride {
    TableOverride { name: table.into(), ..TableOverride::default() }
}

async fn init(client: &mut Client, config: &Config) -> InitReport {
    capture::init(client, config, InitOptions::default())
        .await
        .unwrap_or_else(|error| panic!("{error} {error:?}"))
}

/// A source with `ddl` run and `public.*` captured.
async fn captured(ddl: &str, mode: CaptureMode) -> (TestDb, Client) {
    let db = TestDb::create(Which::Source).await;
    let mut client = db.connect().await;
    run(&client, ddl).await;
    let mut config = config(&["public.*"]);
    config.capture.mode = mode;
    init(&mut client, &config).await;
    (db, client)
}

/// What a target would hold after applying the log of `table`, key by key, and what the table holds.
///
/// `equal` tells how the target compares keys: their text, or something coarser.
async fn replay(
    client: &Client,
    schema: &str,
    table: &str,
    equal: fn(&str) -> String,
) -> (Vec<String>, Vec<String>) {
    let captured = capture::load(client, schema).await.unwrap();
    let found = captured.iter().find(|known| known.table.name == TableName::new("public", table)).unwrap();
    let quoted = |names: &[String]| {
        names.iter().map(|name| tripline::table::quote_ident(name)).collect::<Vec<_>>().join(", ")
    };
    let columns: Vec<String> = found.table.columns.iter().map(|column| column.name.clone()).collect();
    let (key, columns) = (quoted(&found.table.key), quoted(&columns));
    let log = found.log_table.quoted();
    let sql = format!("select cdc_op, row({key})::text, row({columns})::text from {log} order by cdc_id");
    let mut state = BTreeMap::new();
    for row in rows(client, &sql).await {
        match row[0].as_str() {
            "D" => drop(state.remove(&equal(&row[1]))),
            "T" => state.clear(),
            _ => drop(state.insert(equal(&row[1]), row[2].clone())),
        }
    }
    let sql = format!("select row({columns})::text from public.{table}");
    let mut now: Vec<String> =
        rows(client, &sql).await.into_iter().map(|mut row| row.swap_remove(0)).collect();
    let mut replayed: Vec<String> = state.into_values().collect();
    now.sort();
    replayed.sort();
    (replayed, now)
}

async fn assert_replays(client: &Client, table: &str, after: &str) {
    let (replayed, now) = replay(client, "cdc", table, str::to_owned).await;
    assert_eq!(replayed, now, "log of {table} after {after}");
}

async fn ops(client: &Client, table: &str) -> String {
    value(client, &format!("select string_agg(cdc_op::text || id, ' ' order by cdc_id) from cdc.{table}_cdc"))
        .await
}

const PLAIN: &str = "create table t (id int primary key, v text);";

#[tokio::test]
async fn every_operation_is_logged_in_every_mode() {
    for mode in [CaptureMode::Reread, CaptureMode::Statement, CaptureMode::Row] {
        let db = TestDb::create(Which::Source).await;
        let mut client = db.connect().await;
        run(&client, PLAIN).await;
        let mut config = config(&["public.t"]);
        config.table.push(TableOverride { mode: Some(mode), ..over("public.t") });
        init(&mut client, &config).await;
        run(
            &client,
            "insert into t values (1, 'a'), (2, 'b'); update t set v = 'c' where id = 1; update t set id = 3 where id = 2;
             delete from t where id = 1; truncate t; insert into t values (7, null)",
        )
        .await;
        assert_eq!(ops(&client, "t").await, "I1 I2 U1 D2 I3 D1 I7", "{mode}");
        assert_eq!(value(&client, "select count(*) from cdc.t_cdc where cdc_op = 'T'").await, "1");
        assert_replays(&client, "t", &mode.to_string()).await;
    }
}

/// Tables, the triggers of a user who means no good, and statements. `{t}` is the table.
const HOSTILE: &[(&str, &str)] = &[
    ("after row trigger updates and deletes others", "
        create function u() returns trigger language plpgsql as $$ begin
          if pg_trigger_depth() < 2 and new.id % 2 = 0 then update t set v = new.v || '+n' where id in (new.id, new.id + 1); end if;
          if pg_trigger_depth() < 2 and new.id % 7 = 0 then delete from t where id = new.id + 2; end if; return null; end $$;
        create trigger user_nested after insert or update on t for each row execute function u();"),
    ("a trigger whose name sorts first", "
        create function u() returns trigger language plpgsql as $$ begin
          if pg_trigger_depth() < 2 then update t set v = v || '+n' where id = new.id + 1; end if; return null; end $$;
        create trigger \"000\" after insert or update on t for each row execute function u();"),
    ("before row trigger writes others", "
        create function u() returns trigger language plpgsql as $$ begin
          if pg_trigger_depth() < 2 and new.id % 3 = 0 then
            update t set v = coalesce(v, '') || '+b' where id = new.id - 1 and id > 100;
            insert into t values (new.id + 500, 'made before') on conflict (id) do nothing; end if;
          new.v := new.v || '!'; return new; end $$;
        create trigger user_before before insert on t for each row execute function u();"),
    ("statement triggers write the table", "
        create function u() returns trigger language plpgsql as $$ begin
          if pg_trigger_depth() < 2 then update t set v = v || '+s' where id % 5 = 0; delete from t where id % 11 = 0; end if;
          return null; end $$;
        create trigger \"0_first\" after insert or update or delete on t for each statement execute function u();
        create trigger zz_last before insert or update or delete on t for each statement execute function u();"),
    ("after delete trigger puts the row back", "
        create function u() returns trigger language plpgsql as $$ begin
          if old.id % 2 = 0 then insert into t values (old.id, old.v || '+back'); end if; return null; end $$;
        create trigger user_back after delete on t for each row execute function u();"),
    ("after update trigger changes the key again", "
        create function u() returns trigger language plpgsql as $$ begin
          if pg_trigger_depth() < 2 and new.id < 5 then update t set id = id + 3000 where id = new.id; end if; return null; end $$;
        create trigger user_key after update on t for each row execute function u();"),
    ("a constraint trigger, deferred", "
        create function u() returns trigger language plpgsql as $$ begin
          if new.v not like '%+d' then update t set v = v || '+d' where id = new.id; end if; return null; end $$;
        create constraint trigger user_deferred after insert or update on t deferrable initially deferred
          for each row execute function u();"),
];

const WRITES: &[&str] = &[
    "insert into t select g, 'v' || g from generate_series(1, 30) g",
    "update t set v = v || '.u' where id between 3 and 20",
    "insert into t values (4, 'x'), (900, 'y') on conflict (id) do update set v = excluded.v || '.c'",
    "insert into t values (5, 'x') on conflict do nothing",
    "with d as (delete from t where id in (6, 8) returning *) insert into t select id, v || '.moved' from d limit 1",
    "with d as (delete from t where id = 10 returning *), u as (update t set v = 'cte' where id = 11 returning *)
       insert into t select id + 2000, v from u",
    "update t set id = id + 1000 where id < 6",
    "update t set id = id + 1 where id in (select max(id) from t)",
    "delete from t where id % 4 = 0",
    "create function f(i int) returns text language plpgsql as $$ begin update t set v = 'by f' where id = i + 1; return 'f'; end $$;
       do $$ begin update t set v = f(id) where id in (13, 17); exception when others then raise notice '%', sqlerrm; end $$",
    "begin; savepoint s; delete from t where id = 15; rollback to s; update t set v = 'kept' where id = 15; commit",
    "merge into t using (values (14, 'm'), (77, 'm')) s (id, v) on t.id = s.id when matched then update set v = s.v
       when not matched then insert values (s.id, s.v)",
];

#[tokio::test]
async fn the_last_log_row_of_a_key_is_its_final_state_whatever_user_triggers_do() {
    for mode in [CaptureMode::Reread, CaptureMode::Row] {
        for (what, hostile) in HOSTILE {
            let partitioned = "create table t (id int primary key, v text) partition by range (id);
                create table t_low partition of t for values from (minvalue) to (12);
                create table t_high (v text, id int not null); alter table t attach partition t_high for values from (12) to (maxvalue);";
            let table = if mode == CaptureMode::Row { partitioned } else { PLAIN };
            let (_db, client) = captured(table, CaptureMode::Reread).await;
            run(&client, hostile).await;
            let merge =
                value(&client, "select current_setting('server_version_num')::int >= 150000").await == "t";
            for write in WRITES {
                if !merge && write.starts_with("merge") {
                    continue;
                }
                // An error of the application's own making leaves nothing behind, in the log neither.
                let failed = client.batch_execute(write).await.is_err();
                run(&client, "rollback").await;
                assert_replays(&client, "t", &format!("{mode}, {what}: {write} (failed: {failed})")).await;
            }
        }
    }
}

#[tokio::test]
async fn keys_that_move_onto_each_other_end_with_their_rows() {
    let (_db, client) = captured(PLAIN, CaptureMode::Reread).await;
    run(&client, "insert into t values (2, 'b'), (1, 'a')").await;
    run(&client, "delete from cdc.t_cdc").await;
    // One statement: 2 becomes 3, then 1 becomes 2.
    run(&client, "update t set id = id + 1").await;
    let logged = ops(&client, "t").await;
    assert!(logged == "D1 U2 I3" || logged == "D1 I3 U2", "{logged}");
    assert_replays(&client, "t", "a chain").await;
    run(
        &client,
        "delete from cdc.t_cdc; begin; update t set id = -1 where id = 2; update t set id = 2 where id = 3;
                  update t set id = 3 where id = -1; commit",
    )
    .await;
    let last = "select string_agg(op || id || v, ' ' order by id) from
        (select distinct on (id) cdc_op::text as op, id, coalesce(v, '') as v from cdc.t_cdc order by id, cdc_id desc) x";
    assert_eq!(value(&client, last).await, "D-1 I2b I3a");
}

#[tokio::test]
async fn a_key_that_moves_among_many_that_stay_is_logged_before_them() {
    let count = "select string_agg(op || n, ' ' order by op) from (select cdc_op::text as op, count(*) as n from cdc.t_cdc group by 1) x";
    for mode in [CaptureMode::Reread, CaptureMode::Statement] {
        let ddl = "create table t (id int, part text, v text, primary key (id, part));";
        let (_db, client) = captured(ddl, mode).await;
        run(
            &client,
            "insert into t select g, 'p', 'a' from generate_series(1, 1000) g; delete from cdc.t_cdc",
        )
        .await;
        run(&client, "update t set v = 'b'").await;
        assert_eq!(value(&client, count).await, "U1000", "{mode}");
        run(
            &client,
            "delete from cdc.t_cdc; update t set v = 'c', part = case id when 500 then 'q' else part end",
        )
        .await;
        assert_eq!(value(&client, count).await, "D1 I1 U999", "{mode}");
        let first = "select cdc_op::text || id || part from cdc.t_cdc order by cdc_id limit 1";
        assert_eq!(value(&client, first).await, "D500p", "{mode}");
        run(&client, "update t set v = 'nobody' where id < 0").await;
        assert_eq!(value(&client, count).await, "D1 I1 U999", "{mode}");
        let wrong = "select count(*) from t left join cdc.t_cdc l on (l.id, l.part) = (t.id, t.part) and l.cdc_op in ('U', 'I')
            where l.v is distinct from t.v";
        assert_eq!(value(&client, wrong).await, "0", "{mode}");
        // Of one row alone.
        let all = "select string_agg(cdc_op::text || id || part || coalesce(v, ''), ' ' order by cdc_id) from cdc.t_cdc";
        run(
            &client,
            "delete from cdc.t_cdc; update t set v = 'd' where id = 7; update t set part = 'r' where id = 7",
        )
        .await;
        assert_eq!(value(&client, all).await, "U7pd D7p I7rd", "{mode}");
    }
}

/// PostgreSQL cannot hash or merge by it, so what joins by it would fail the application's statement.
#[tokio::test]
async fn a_key_may_have_an_equality_that_cannot_be_hashed() {
    let db = TestDb::create(Which::Source).await;
    let mut client = db.connect().await;
    run(
        &client,
        "create function same(int, int) returns boolean language internal immutable as 'int4eq';
         create operator === (leftarg = int, rightarg = int, function = same);
         create operator class own for type int using btree as operator 1 <, operator 2 <=, operator 3 ===, operator 4 >=,
           operator 5 >, function 1 btint4cmp(int, int);
         create table t (id int not null, v text); create unique index own on t (id own);",
    )
    .await;
    let mut config = config(&["public.t"]);
    config.table.push(TableOverride { key_index: Some("own".into()), ..over("public.t") });
    init(&mut client, &config).await;
    run(&client, "insert into t values (1, 'a'), (2, 'b'); update t set v = 'c'; update t set id = 3 where id = 1; delete from t where id = 2").await;
    assert_replays(&client, "t", "an equality of somebody's own").await;
}

#[tokio::test]
async fn keys_are_told_apart_by_their_bytes() {
    for partition in ["", "partition by hash (id)"] {
        let leaf = if partition.is_empty() {
            ""
        } else {
            "create table p partition of t for values with (modulus 1, remainder 0);"
        };
        let ddl = format!("create table t (id numeric primary key, v text) {partition}; {leaf}
            create function u() returns trigger language plpgsql as $$ begin
              if old.v = 'again' then insert into t values (old.id * 1.0, 'equal'); end if; return null; end $$;
            create trigger zz after delete on t for each row execute function u();");
        let (_db, client) = captured(&ddl, CaptureMode::Reread).await;
        run(
            &client,
            "insert into t values (1.0, 'a'), (2, 'again'), (3, 'c'); update t set id = 1.00 where id = 1",
        )
        .await;
        assert_eq!(ops(&client, "t").await, "I1.0 I2 I3 D1.0 I1.00");
        run(&client, "delete from t where id = 2; update t set id = 3.0, v = 'x' where id = 3; update t set id = id + 10; delete from t where id > 12").await;
        assert_replays(&client, "t", "bytes").await;
        // A target that compares by equality must end the same.
        let coarse = |key: &str| {
            let key = key.trim_matches(['(', ')']);
            if key.contains('.') {
                key.trim_end_matches('0').trim_end_matches('.').to_owned()
            } else {
                key.to_owned()
            }
        };
        let (replayed, now) = replay(&client, "cdc", "t", coarse).await;
        assert_eq!(replayed, now, "by equality {partition}");
    }
}

#[tokio::test]
async fn a_truncate_is_followed_by_what_triggers_put_back() {
    let ddl = format!(
        "{PLAIN} create function u() returns trigger language plpgsql as $$ begin
          insert into t values (1, 'refilled'); return null; end $$;
        create trigger \"0\" after truncate on t for each statement execute function u();"
    );
    let (_db, client) = captured(&ddl, CaptureMode::Reread).await;
    run(&client, "insert into t values (1, 'a'), (2, 'b'); truncate t").await;
    assert_replays(&client, "t", "truncate").await;
    assert_eq!(rows(&client, "select id from t").await.len(), 1);
}

#[tokio::test]
async fn partitions_are_captured_through_the_parent_and_directly() {
    let ddl = "create table t (id int, day date, v text, primary key (day, id)) partition by range (day);
        create table t1 partition of t for values from ('2020-01-01') to ('2021-01-01');
        create table t2 partition of t for values from ('2021-01-01') to ('2022-01-01') partition by list (id);
        create table t2a partition of t2 default;";
    let (_db, mut client) = captured(ddl, CaptureMode::Statement).await;
    let known = capture::load(&client, "cdc").await.unwrap();
    assert_eq!(known.len(), 1, "partitions come with their table");
    assert_eq!(
        (known[0].mode, &known[0].table.key),
        (CaptureMode::Row, &vec!["day".to_owned(), "id".to_owned()])
    );
    for write in [
        "insert into t values (1, '2020-05-05', 'a'), (2, '2021-05-05', 'b')",
        "insert into t2a values (3, '2021-06-06', 'direct')",
        "update t set day = day + 365 where id = 1",
        "create table t3 partition of t for values from ('2022-01-01') to ('2023-01-01')",
        "insert into t3 values (4, '2022-02-02', 'in a new one')",
        "insert into t values (5, '2020-02-02', 'c'), (6, '2020-02-03', 'd')",
        "truncate t1",
        "update t set v = v || '!'",
        "truncate t",
        "insert into t values (9, '2020-02-02', 'z')",
    ] {
        run(&client, write).await;
        assert_replays(&client, "t", write).await;
    }
    let report = init(&mut client, &config(&["public.*"])).await;
    assert_eq!(report.tables[0].action, Action::Unchanged, "the new partition has got its TRUNCATE trigger");
    run(&client, "insert into t3 values (4, '2022-02-02', 'x'); truncate t3").await;
    assert_replays(&client, "t", "truncate of the new partition").await;
    let known = capture::load(&client, "cdc").await.unwrap();
    capture::verify(&mut client, "cdc", &known).await.unwrap();
}

#[tokio::test]
async fn types_outside_the_catalog_are_logged_as_text_and_domains_as_their_base() {
    let ddl = "create type mood as enum ('sad', 'ok'); create domain positive as int check (value > 0);
        create domain small as positive; create domain list as int[]; create type pair as (a int, b text);
        create table t (id mood primary key, n numeric(10, 2), c char(5), b bit(3), d small, l list, ms mood[], ds positive[],
          p pair, ps pair[], a text[], bx box[], v varchar(3), ts timestamptz(3), iv int2vector, r int4range,
          g int generated always as (d * 2) stored, \"we\"\"ird $1 {{x}}\" text);";
    for mode in [CaptureMode::Reread, CaptureMode::Row] {
        let db = TestDb::create(Which::Source).await;
        let mut client = db.connect().await;
        run(&client, ddl).await;
        let mut config = config(&["public.*"]);
        config.table.push(TableOverride { mode: Some(mode), ..over("public.t") });
        init(&mut client, &config).await;
        let known = capture::load(&client, "cdc").await.unwrap();
        let columns: Vec<(&str, &str)> = known[0]
            .table
            .columns
            .iter()
            .map(|column| (column.declared.as_str(), column.base.as_str()))
            .collect();
        assert_eq!(
            columns,
            [
                ("public.mood", "text"),
                ("numeric(10,2)", "numeric"),
                ("character(5)", "bpchar"),
                ("bit(3)", "bit"),
                ("public.small", "int4"),
                ("public.list", "int4[]"),
                ("public.mood[]", "text[]"),
                ("public.positive[]", "int4[]"),
                ("public.pair", "text"),
                ("public.pair[]", "text[]"),
                ("text[]", "text[]"),
                ("box[]", "box[]"),
                ("character varying(3)", "varchar"),
                ("timestamp(3) with time zone", "timestamptz"),
                ("int2vector", "int2vector"),
                ("int4range", "int4range"),
                ("integer", "int4"),
                ("text", "text"),
            ]
        );
        let column = |i: usize| &known[0].table.columns[i];
        assert_eq!(column(0).enum_labels.as_deref(), Some(&["sad".to_owned(), "ok".to_owned()][..]));
        assert_eq!((column(11).delimiter, column(10).delimiter, column(6).delimiter), (';', ',', ','));
        assert!(column(16).generated && column(0).not_null && !column(1).not_null);
        run(&client, "insert into t values ('ok', 1.5, 'ab', '101', 4, '{1,2}', '{sad,NULL}', '{3}', '(1,x)', '{\"(1,y)\"}',
            '{a}', '{(1,1),(0,0)}', 'abc', '2020-01-01 00:00:00.123+00', '1 2', '[1,3)')").await;
        assert_replays(&client, "t", "types").await;
        run(&client, "update t set id = 'sad'; delete from t").await;
        assert_eq!(ops(&client, "t").await, "Iok Dok Isad Dsad");
    }
}

#[tokio::test]
async fn a_key_of_an_extension_type_is_looked_up_by_its_own_equality() {
    let db = TestDb::create(Which::Source).await;
    let mut client = db.connect().await;
    run(&client, "create schema ext; create extension citext schema ext; create table t (id ext.citext primary key, v text)").await;
    init(&mut client, &config(&["public.*"])).await;
    run(
        &client,
        "insert into t values ('A', 'x'); update t set v = 'y'; update t set id = 'a'; delete from t",
    )
    .await;
    assert_eq!(ops(&client, "t").await, "IA UA DA Ia Da");
}

/// Every catalog row of ours and of the tables, with the transaction that wrote it.
async fn catalog_xmins(client: &Client) -> Vec<Vec<String>> {
    let of = |catalog: &str| {
        format!(
            "select '{catalog}', c.oid::text, c.xmin::text from pg_catalog.{catalog} c where oid >= 16384"
        )
    };
    let mut all: Vec<String> =
        ["pg_class", "pg_trigger", "pg_proc", "pg_namespace", "pg_constraint", "pg_type"].map(of).into();
    all.push(
        "select 'attribute', attrelid || '.' || attnum, xmin::text from pg_attribute where attrelid >= 16384"
            .into(),
    );
    rows(client, &format!("{} order by 1, 2", all.join(" union all "))).await
}

const SHOP: &str = "create table orders (id bigint primary key, note text); create schema shop;
    create table shop.orders (a int, b text, primary key (b, a));
    create table days (day date primary key) partition by range (day);
    create table days1 partition of days default;";

#[tokio::test]
async fn a_second_init_changes_nothing() {
    for schema in ["cdc", "we\"ird"] {
        let db = TestDb::create(Which::Source).await;
        let mut client = db.connect().await;
        run(&client, SHOP).await;
        let mut config = config(&["*.*"]);
        config.capture.schema = schema.to_owned();
        let report = init(&mut client, &config).await;
        assert!(report.tables.iter().all(|table| table.action == Action::Installed && table.needs_snapshot));
        let before = catalog_xmins(&client).await;
        let registry = format!(
            "select t.xmin, t.* from {}.tables t order by relation",
            tripline::table::quote_ident(schema)
        );
        let registered = rows(&client, &registry).await;
        let report = init(&mut client, &config).await;
        assert!(report.tables.iter().all(|table| table.action == Action::Unchanged && !table.needs_snapshot));
        assert_eq!(report.sql, "");
        assert_eq!(catalog_xmins(&client).await, before);
        assert_eq!(rows(&client, &registry).await, registered);
        assert_eq!(capture::findings(&mut client, &config).await, []);
        run(&client, "insert into shop.orders values (1, 'x'); update shop.orders set a = 2").await;
        let removed = capture::uninstall(&mut client, schema).await.unwrap().removed;
        assert_eq!(
            removed.last().unwrap(),
            &format!("schema {}", if schema == "cdc" { "cdc" } else { "\"we\"\"ird\"" })
        );
        run(&client, "insert into shop.orders values (2, 'y')").await;
        assert_eq!(value(&client, "select count(*) from pg_trigger where not tgisinternal").await, "0");
    }
}

#[tokio::test]
async fn a_dry_run_prints_what_would_be_done_and_does_nothing() {
    let db = TestDb::create(Which::Source).await;
    let mut client = db.connect().await;
    run(&client, SHOP).await;
    let before = catalog_xmins(&client).await;
    let options = InitOptions { dry_run: true, skip_unusable: false };
    let report = capture::init(&mut client, &config(&["*.*"]), options).await.unwrap();
    assert_eq!(catalog_xmins(&client).await, before);
    // What it prints is what init does: psql could run it.
    run(&client, &report.sql).await;
    let report = init(&mut client, &config(&["*.*"])).await;
    assert!(report.tables.iter().all(|table| table.action == Action::Unchanged), "{report:?}");
}

#[tokio::test]
async fn tables_that_cannot_be_captured_are_refused_by_name_and_nothing_is_changed() {
    let cases = [
        ("create table t (id int)", "no primary key"),
        ("create table t (id int unique)", "no primary key"),
        ("create table t (id int primary key deferrable)", "deferrable"),
        ("create table t (id int primary key, cdc_op text)", "cdc_op"),
        ("create table t (id int primary key, \"a$tripline$\" text)", "$tripline"),
        (
            "create schema \"a$tripline_fits$\"; create extension citext schema \"a$tripline_fits$\";
             create table t (id \"a$tripline_fits$\".citext primary key)",
            "$tripline",
        ),
        (
            "create table t (id int primary key); create table zz (primary key (id)) inherits (t)",
            "inheritance",
        ),
        (
            "create foreign data wrapper w; create server s foreign data wrapper w; create foreign table t (id int) server s",
            "foreign",
        ),
    ];
    for (ddl, why) in cases {
        let db = TestDb::create(Which::Source).await;
        let mut client = db.connect().await;
        run(&client, ddl).await;
        run(&client, "create table good (id int primary key)").await;
        let before = catalog_xmins(&client).await;
        let config = config(&["public.*"]);
        let error = capture::init(&mut client, &config, InitOptions::default()).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, CaptureError::Refused { .. }), "{text}");
        assert!(text.contains("public.t") && text.contains(why) && text.contains("!public.t"), "{text}");
        assert_eq!(catalog_xmins(&client).await, before, "{ddl}");
        let found = capture::findings(&mut client, &config).await;
        assert!(
            found.iter().any(|f| f.id == "capture.refused" && f.severity == Severity::Error),
            "{found:?}"
        );
        let options = InitOptions { dry_run: false, skip_unusable: true };
        let report = capture::init(&mut client, &config, options).await.unwrap();
        assert!(report.refused.iter().any(|refusal| refusal.table.name == "t"));
        assert_eq!(report.tables.iter().map(|table| table.table.name.as_str()).collect::<Vec<_>>(), ["good"]);
    }
}

#[tokio::test]
async fn a_unique_index_can_be_chosen_as_the_key() {
    let db = TestDb::create(Which::Source).await;
    let mut client = db.connect().await;
    run(
        &client,
        "create table t (id text not null, n int not null, x int, v text);
         create unique index good on t (n, id) include (v); create unique index nullable on t (x);
         create unique index partial on t (id) where n > 0; create unique index expression on t (lower(id)); create index common on t (id)",
    )
    .await;
    let mut config = config(&["public.t"]);
    let suggestion =
        capture::init(&mut client, &config, InitOptions::default()).await.unwrap_err().to_string();
    assert!(suggestion.contains("key_index = \"good\""), "{suggestion}");
    for index in ["nullable", "partial", "expression", "common", "missing"] {
        config.table = vec![TableOverride { key_index: Some(index.into()), ..over("public.t") }];
        let error =
            capture::init(&mut client, &config, InitOptions::default()).await.unwrap_err().to_string();
        assert!(error.contains(index), "{error}");
    }
    config.table[0].key_index = Some("good".into());
    init(&mut client, &config).await;
    run(&client, "insert into t values ('a', 1, 1, 'v'); update t set id = 'b'; update t set v = 'w'").await;
    assert_eq!(ops(&client, "t").await, "Ia Da Ib Ub");
    let known = capture::load(&client, "cdc").await.unwrap();
    assert_eq!(known[0].table.key, ["n", "id"]);
    run(&client, "drop index good").await;
    assert!(capture::verify(&mut client, "cdc", &known).await.unwrap_err().to_string().contains("good"));
}

#[tokio::test]
async fn statement_mode_is_refused_beside_triggers_that_could_write_the_table() {
    let trigger = |level: &str| {
        format!(
            "{PLAIN} create function u() returns trigger language plpgsql as 'begin return null; end';
        create trigger mine after update on t for each {level} execute function u()"
        )
    };
    for ddl in [
        trigger("row"),
        trigger("statement"),
        "create table t (id int primary key, up int references t on delete cascade)".into(),
        // Both write it in one statement of p, each some of its rows, some of them twice.
        "create table p (id int primary key); create table t (id int primary key,
            a int references p on delete set null, b int references p on delete cascade)"
            .into(),
        "create table t (id numeric primary key)".into(),
    ] {
        let db = TestDb::create(Which::Source).await;
        let mut client = db.connect().await;
        run(&client, &ddl).await;
        let mut config = config(&["public.t"]);
        config.capture.mode = CaptureMode::Statement;
        let error =
            capture::init(&mut client, &config, InitOptions::default()).await.unwrap_err().to_string();
        assert!(error.contains("mode statement"), "{error}");
    }
}

#[tokio::test]
async fn a_pattern_that_matches_nothing_is_an_error() {
    let (_db, mut client) = captured(PLAIN, CaptureMode::Reread).await;
    let error = capture::init(&mut client, &config(&["public.*", "shop.*"]), InitOptions::default())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("shop.*"), "{error}");
    run(&client, "create table other (id int primary key)").await;
    let report = init(&mut client, &config(&["public.other"])).await;
    assert_eq!(report.kept, [TableName::new("public", "t")]);
}

#[tokio::test]
async fn init_follows_columns_and_keys() {
    let (_db, mut client) = captured(PLAIN, CaptureMode::Reread).await;
    let config = config(&["public.*"]);
    run(&client, UNWATCHED).await;
    run(&client, "insert into t values (1, 'a'); alter table t add column n int default 5; alter table t drop column v").await;
    let known = capture::load(&client, "cdc").await.unwrap();
    let error = capture::verify(&mut client, "cdc", &known).await.unwrap_err().to_string();
    assert!(
        error.contains("column v is gone")
            && error.contains("column n is new")
            && error.contains("tripline init"),
        "{error}"
    );
    let report = init(&mut client, &config).await;
    run(&client, UNWATCHED).await;
    let table = &report.tables[0];
    assert_eq!((table.action, table.version, table.needs_snapshot), (Action::Altered, 2, true));
    run(&client, "insert into t values (2); update t set n = 7").await;
    assert_eq!(
        value(
            &client,
            "select string_agg(cdc_op::text || id || coalesce(n, 0), ' ' order by cdc_id) from cdc.t_cdc"
        )
        .await,
        "I10 I25 U17 U27"
    );
    let known = capture::load(&client, "cdc").await.unwrap();
    assert_eq!(
        known[0].table.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(),
        ["id", "n"]
    );
    capture::verify(&mut client, "cdc", &known).await.unwrap();
    run(&client, "alter table t alter n type numeric").await;
    let error = capture::init(&mut client, &config, InitOptions::default()).await.unwrap_err().to_string();
    assert!(error.contains("logged as int4 and is numeric now"), "{error}");
    run(&client, "alter table \"cdc\".\"t_cdc\" alter column n type numeric").await;
    assert!(
        error.contains("alter table \"cdc\".\"t_cdc\" alter column \"n\" type pg_catalog.\"numeric\""),
        "{error}"
    );
    assert_eq!(init(&mut client, &config).await.tables[0].version, 3);
    run(
        &client,
        "alter table t drop constraint t_pkey; update t set n = id + 0.5; alter table t add primary key (n)",
    )
    .await;
    assert_eq!(init(&mut client, &config).await.tables[0].version, 4, "another key");
    run(&client, "truncate cdc.t_cdc; update t set n = 9 where n = 1.5").await;
    assert_eq!(
        value(&client, "select string_agg(cdc_op::text || n, ' ' order by cdc_id) from cdc.t_cdc").await,
        "D1.5 I9"
    );
}

#[tokio::test]
async fn verify_and_the_fingerprint_notice_what_capture_depends_on() {
    let (_db, mut client) = captured(PLAIN, CaptureMode::Reread).await;
    let config = config(&["public.*"]);
    let fingerprint = format!("select {}", capture::fingerprint_sql("cdc"));
    let of_log = format!("select {}", capture::log_fingerprint_sql("cdc"));
    // A change, the problem that it is, and what undoes it where init does not.
    for (change, id, undo) in [
        ("alter table t disable trigger \"00_tripline_cdc_update\"", "trigger.disabled", ""),
        ("alter table t enable replica trigger \"00_tripline_cdc_truncate\"", "trigger.disabled", ""),
        ("drop trigger \"00_tripline_cdc_delete\" on t", "objects", ""),
        ("alter function cdc.t_cdc_insert() security invoker", "objects", ""),
        (
            "create or replace function cdc.t_cdc_insert() returns trigger language plpgsql as 'begin return null; end'",
            "objects",
            "",
        ),
        ("alter sequence cdc.cdc_id_seq cache 10", "sequence", ""),
        ("alter table t add column extra int", "columns", ""),
        ("alter table t rename column extra to other", "columns", ""),
        ("alter table t alter column v type varchar(9)", "columns", "alter table t alter column v type text"),
        ("alter table cdc.t_cdc drop column other", "log.columns", ""),
        ("alter table t rename to t2", "table.renamed", "alter table t2 rename to t"),
        ("drop table cdc.t_cdc", "log.gone", ""),
        (
            "alter table t drop constraint t_pkey",
            "key",
            "alter table t add constraint t_pkey primary key (id)",
        ),
        ("create table heir () inherits (t)", "table.kind", "drop table heir; analyze t"),
        ("drop table t", "table.gone", PLAIN),
    ] {
        run(&client, UNWATCHED).await;
        let known = capture::load(&client, "cdc").await.unwrap();
        capture::verify(&mut client, "cdc", &known)
            .await
            .unwrap_or_else(|error| panic!("before {change}: {error}"));
        let before = value(&client, &fingerprint).await;
        run(&client, "insert into t values (1, 'a'); update t set v = 'b'; delete from t; analyze t").await;
        run(&client, "vacuum t").await;
        assert_eq!(
            value(&client, &fingerprint).await,
            before,
            "writing, analyze and vacuum, before {change}"
        );
        run(&client, change).await;
        let after = value(&client, &fingerprint).await;
        assert_ne!(after, before, "{change}");
        assert_eq!(capture::log_part(&after), value(&client, &of_log).await, "{change}");
        let is_of_log = change.contains("table cdc.t_cdc") || change.contains("sequence");
        assert_eq!(capture::log_part(&after) != capture::log_part(&before), is_of_log, "{change}");
        let error = capture::verify(&mut client, "cdc", &known).await.unwrap_err();
        let CaptureError::Broken { problems } = &error else { panic!("{error}") };
        let problem =
            problems.iter().find(|problem| problem.id == id).unwrap_or_else(|| panic!("{change}: {error}"));
        assert!(!problem.fix.is_empty());
        assert!(capture::findings(&mut client, &config).await.iter().any(|f| f.id == id), "{change}");
        run(&client, undo).await;
        init(&mut client, &config).await;
    }
}

#[tokio::test]
async fn an_application_role_needs_no_privilege_of_ours_and_gets_none() {
    let db = TestDb::create(Which::Source).await;
    let app = db.role("app").await;
    let mut client = db.connect().await;
    run(&client, PLAIN).await;
    run(&client, "create table p (id int primary key) partition by hash (id); create table p0 partition of p for values with (modulus 1, remainder 0)").await;
    init(&mut client, &config(&["public.*"])).await;
    run(&client, &format!("grant insert, update, delete, truncate, select on t, p, p0 to {app}; grant create on schema public to {app}; set role {app}")).await;
    run(&client, "insert into t values (1); update t set v = 'x'; delete from t; truncate t; insert into p values (1); truncate p0").await;
    run(&client, "create table mine (id int)").await;
    for forbidden in [
        "create trigger x after insert on mine referencing new table as cdc_new for each statement execute function cdc.t_cdc_insert()",
        "select * from cdc.t_cdc",
        "delete from cdc.t_cdc",
    ] {
        let error = client.batch_execute(forbidden).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "42501", "{forbidden}");
    }
    run(&client, "reset role").await;
    assert_eq!(
        value(&client, "select string_agg(cdc_op::text, '' order by cdc_id) from cdc.t_cdc").await,
        "IUDT"
    );
    assert_eq!(
        value(&client, "select string_agg(cdc_op::text, '' order by cdc_id) from cdc.p_cdc").await,
        "ID"
    );
}

#[tokio::test]
async fn rows_that_a_policy_hides_are_an_error_at_init_and_never_a_delete() {
    let db = TestDb::create(Which::Source).await;
    let owner = db.role("owner").await;
    let mut client = db.connect().await;
    run(&client, &format!("{PLAIN} alter table t owner to {owner}; alter table t enable row level security; alter table t force row level security;
        grant create on database {} to {owner}; set role {owner}", db.name)).await;
    let error = capture::init(&mut client, &config(&["public.*"]), InitOptions::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("row-level security"), "{error}");
    run(&client, "alter table t no force row level security").await;
    init(&mut client, &config(&["public.*"])).await;
    run(&client, "insert into t values (1, 'a'); alter table t force row level security; create policy own on t using (id > 1) with check (true)").await;
    let error = client.batch_execute("insert into t values (0, 'hidden')").await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert!(error.message().contains("tripline init"), "{error:?}");
    assert!(error.detail().unwrap().contains("row-level security"), "{error:?}");
}

/// The trap: a plan made for one row, or for an empty table, is kept for the session.
#[tokio::test]
async fn a_plan_made_for_one_row_stays_linear() {
    for (mode, partition) in [
        (CaptureMode::Reread, ""),
        (CaptureMode::Statement, ""),
        (CaptureMode::Reread, "partition by hash (id)"),
    ] {
        for key in ["int", "numeric"] {
            if mode == CaptureMode::Statement && key == "numeric" {
                continue;
            }
            let leaf = if partition.is_empty() {
                ""
            } else {
                "create table leaf partition of t for values with (modulus 1, remainder 0);"
            };
            let ddl = format!("create table t (id {key} primary key, v text) {partition}; {leaf}");
            let (_db, client) = captured(&ddl, mode).await;
            run(
                &client,
                "insert into t values (0, 'a'); update t set v = 'b'; update t set id = 1; delete from t",
            )
            .await;
            run(
                &client,
                "insert into t select g, 'v' from generate_series(1, 10000) g; begin; update t set v = 'w'",
            )
            .await;
            let scanned = "select sum(seq_tup_read), sum(idx_tup_fetch) from pg_stat_xact_user_tables where relname in ('t', 'leaf')";
            let read = rows(&client, scanned).await.swap_remove(0);
            let count = |i: usize| read[i].parse::<u64>().unwrap();
            assert!(count(0) <= 10_100, "{mode} {key} {partition}: read {} rows by scanning", count(0));
            assert!(count(1) <= 30_100, "{mode} {key} {partition}: {} rows by index", count(1));
            run(&client, "delete from t; commit").await;
            assert_replays(&client, "t", "a bulk update").await;
        }
    }
}
