//! Columns that are left out or masked, and rows that a filter leaves out: what the log holds, what is refused.

use std::collections::BTreeMap;

use tokio_postgres::Client;
use tripline::capture::{self, Action, CaptureError, InitOptions, InitReport};
use tripline::config::{Config, TableOverride};
use tripline::selection::Mask;
use tripline::table::CaptureMode;

use crate::db::{TestDb, Which, rows, run, value};

const MODES: [CaptureMode; 3] = [CaptureMode::Reread, CaptureMode::Statement, CaptureMode::Row];
const SALT: &str = "p\\e'pper";

fn mask(pairs: &[(&str, Mask)]) -> BTreeMap<String, Mask> {
    pairs.iter().map(|(name, mask)| ((*name).to_owned(), mask.clone())).collect()
}

fn config(entry: TableOverride) -> Config {
    let mut config = Config::default();
    config.source.tables = vec!["public.t".into()];
    config.mask.salt = Some(SALT.to_owned().into());
    config.table = vec![TableOverride { name: "public.t".into(), ..entry }];
    config
}

async fn init(client: &mut Client, config: &Config) -> InitReport {
    let done = capture::init(client, config, InitOptions::default()).await;
    done.unwrap_or_else(|error| panic!("{error} {error:?}"))
}

/// The log as text, without ids and times.
async fn log(client: &Client) -> Vec<String> {
    let sql = "select concat_ws(' ', cdc_op, to_jsonb(l) - 'cdc_id' - 'cdc_txid' - 'cdc_at' - 'cdc_op') from cdc.t_cdc l
               order by cdc_id";
    rows(client, sql).await.into_iter().map(|mut row| row.swap_remove(0)).collect()
}

#[tokio::test]
async fn what_is_left_out_or_masked_is_not_in_the_log() {
    for mode in MODES {
        let db = TestDb::create(Which::Source).await;
        let mut client = db.connect().await;
        run(
            &client,
            "create type mood as enum ('sad', 'ok');
             create table t (email text primary key, name varchar(40), born timestamptz, mood mood, pin int, card text)",
        )
        .await;
        let entry = TableOverride {
            mode: Some(mode),
            exclude: vec!["card".into()],
            mask: mask(&[
                ("email", Mask::Hash),
                ("born", Mask::Hash),
                ("name", Mask::Truncate(1)),
                ("mood", Mask::Value("ok".into())),
                ("pin", Mask::Value("-1".into())),
            ]),
            ..TableOverride::default()
        };
        init(&mut client, &config(entry)).await;
        // What the application's session is set to makes no difference.
        run(
            &client,
            "insert into t values (E's3cret\\\\1', 'Éva s3cret', '2020-01-01 00:00+00', 'sad', 7, 's3cret');
             set standard_conforming_strings = off; set timezone = 'Asia/Tokyo'; set datestyle = 'SQL';
             update t set card = 's3cret again'; set standard_conforming_strings = on;
             insert into t (email) values ('s3cret 2'); update t set email = 's3cret 3' where email = 's3cret 2';
             delete from t where email = 's3cret 3'",
        )
        .await;
        let hash = |text: &str| format!("encode(sha256(convert_to({SALT:?} || '{text}', 'UTF8')), 'hex')");
        let hash = async |text: &str| {
            value(&client, &format!("select {}", hash(text).replace('"', "$$").replace("\\\\", "\\"))).await
        };
        let (one, two, three) = (hash("s3cret\\1").await, hash("s3cret 2").await, hash("s3cret 3").await);
        let born = hash("2020-01-01 00:00:00+00").await;
        let row = |op: &str, email: &str, name: &str, born: &str| {
            format!(
                "{op} {{\"pin\": -1, \"born\": {born}, \"mood\": \"ok\", \"name\": {name}, \"email\": \"{email}\"}}"
            )
        };
        let gone = |email: &str| {
            format!(
                "D {{\"pin\": null, \"born\": null, \"mood\": null, \"name\": null, \"email\": \"{email}\"}}"
            )
        };
        let born = format!("\"{born}\"");
        let expected = [
            row("I", &one, "\"É\"", &born),
            row("U", &one, "\"É\"", &born),
            row("I", &two, "null", "null"),
            gone(&two),
            row("I", &three, "null", "null"),
            gone(&three),
        ];
        assert_eq!(log(&client).await, expected, "{mode}");
        let truncated = format!("truncate t; {}", "insert into t (email) values ('s3cret 4')");
        run(&client, &truncated).await;
        let all = log(&client).await.join("\n");
        assert!(!all.contains("s3cret"), "{mode}: {all}");
        let known = capture::load(&client, "cdc").await.unwrap();
        let columns: Vec<String> =
            known[0].table.columns.iter().map(|c| format!("{} {}", c.name, c.declared)).collect();
        assert_eq!(columns.join(", "), "email text, name text, born text, mood public.mood, pin integer");
        // What a snapshot or a comparison reads is what the log holds.
        let exact = tripline::session::exact_text_sql("session");
        let now = format!("{exact} select to_jsonb(r)::text from {} r", known[0].relation());
        let logged =
            "select (to_jsonb(l) - 'cdc_id' - 'cdc_txid' - 'cdc_at' - 'cdc_op')::text from cdc.t_cdc l
                      order by cdc_id desc limit 1";
        assert_eq!(value(&client, &now).await, value(&client, logged).await, "{mode}");
    }
}

/// What a target holds after the log, and what the source holds within the filter.
async fn replay(client: &Client, filter: &str) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let mut state = BTreeMap::new();
    for row in rows(client, "select cdc_op, id, concat(v, kept, found) from cdc.t_cdc order by cdc_id").await
    {
        match row[0].as_str() {
            "D" => drop(state.remove(&row[1])),
            "T" => state.clear(),
            _ => drop(state.insert(row[1].clone(), row[2].clone())),
        }
    }
    let sql = format!("select id, concat(v, kept, found) from t where {filter}");
    let now = rows(client, &sql).await.into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    (state, now)
}

#[tokio::test]
async fn rows_outside_the_filter_are_not_logged_and_those_that_leave_it_are_deleted() {
    // Columns named as what a trigger function has of its own.
    let filter = "kept and not found -- \\ ' comment";
    let plain = "create table t (id int primary key, v text, kept bool, found bool default false, new int, old int, tg_op int)";
    let partitioned = "create table t (id int primary key, v text, kept bool, found bool default false, new int, old int,
         tg_op int) partition by range (id); create table p1 partition of t for values from (0) to (5);
         create table p2 (tg_op int, old int, kept bool, new int, found bool default false, v text, id int not null);
         alter table t attach partition p2 for values from (5) to (100)";
    for (mode, ddl) in MODES.map(|mode| (mode, plain)).into_iter().chain([(CaptureMode::Row, partitioned)]) {
        let db = TestDb::create(Which::Source).await;
        let mut client = db.connect().await;
        run(&client, ddl).await;
        let entry =
            TableOverride { mode: Some(mode), filter: Some(filter.into()), ..TableOverride::default() };
        init(&mut client, &config(entry)).await;
        let steps = [
            ("insert into t values (1, 'a', true), (2, 'b', false), (3, 'c', null)", "I1"),
            ("update t set v = 'x'", "U1"),
            ("update t set kept = not kept where id < 3", "D1 I2"),
            ("update t set kept = true", "I1 I3 U2"),
            ("update t set id = id + 10, kept = id <> 2", "D1 D2 D3 I11 I13"),
            ("update t set id = 2 where id = 12; delete from t where id = 2", ""),
            ("update t set found = true where id = 13; delete from t where id = 11", "D11 D13"),
            ("truncate t; insert into t values (1, 'a', false); delete from t", "T"),
        ];
        for (step, expected) in steps {
            let before = value(&client, "select coalesce(max(cdc_id), 0) from cdc.t_cdc").await;
            run(&client, step).await;
            let sql = format!(
                "select coalesce(string_agg(o, ' ' order by o), '')
                 from (select cdc_op::text || coalesce(id::text, '') as o from cdc.t_cdc where cdc_id > {before}) x"
            );
            let mut logged = value(&client, &sql).await;
            if ddl == partitioned {
                // A row that goes to another partition is deleted and inserted; TRUNCATE deletes them partition by partition.
                logged = logged.replace(" T", "").replace("T", "");
                assert_eq!(logged, expected.replace("T", ""), "{mode} {step}");
            } else {
                assert_eq!(logged, expected, "{mode} {step}");
            }
            let (held, now) = replay(&client, "kept and not found").await;
            assert_eq!(held, now, "{mode} {step}");
        }
    }
}

#[tokio::test]
async fn a_filter_holds_whatever_triggers_of_the_application_do() {
    for (mode, partition) in [(CaptureMode::Reread, ""), (CaptureMode::Row, "partition by hash (id)")] {
        let leaf = match partition {
            "" => "",
            _ => "create table p partition of t for values with (modulus 1, remainder 0);",
        };
        let db = TestDb::create(Which::Source).await;
        let mut client = db.connect().await;
        let ddl = format!(
            "create table t (id int primary key, v text, kept bool, found bool) {partition}; {leaf}
             create function u() returns trigger language plpgsql as $$ begin
               if pg_trigger_depth() < 3 then
                 update t set kept = not kept, v = v || '+' where id in (new.id, new.id + 1, new.id - 2);
                 if new.id % 5 = 0 then delete from t where id = new.id + 3; end if;
                 if new.id % 4 = 0 then update t set id = id + 100 where id = new.id and id < 100; end if;
               end if; return null; end $$;
             create trigger \"000\" after insert or update on t for each row execute function u();"
        );
        run(&client, &ddl).await;
        let entry =
            TableOverride { mode: Some(mode), filter: Some("kept".into()), ..TableOverride::default() };
        init(&mut client, &config(entry)).await;
        for step in [
            "insert into t select g, 'v', g % 2 = 0 from generate_series(1, 40) g",
            "update t set kept = not kept where id % 3 = 0",
            "update t set v = 'w' where id < 20",
            "delete from t where id % 7 = 0",
            "insert into t values (8, 'x', true), (9, 'y', false) on conflict (id) do update set kept = excluded.kept",
        ] {
            run(&client, step).await;
            let (held, now) = replay(&client, "kept").await;
            assert_eq!(held, now, "{mode} {step}");
            assert!(!now.is_empty());
        }
    }
}

#[tokio::test]
async fn selections_that_cannot_be_are_refused_by_name() {
    let db = TestDb::create(Which::Source).await;
    let mut client = db.connect().await;
    run(
        &client,
        "create table other (x int); create domain small as int check (value < 10);
         create table t (id int primary key, a text, b varchar(2), d small, at timestamptz)",
    )
    .await;
    let none = TableOverride::default;
    let only = |names: &[&str]| Some(names.iter().map(|&name| name.to_owned()).collect::<Vec<String>>());
    let filter = |text: &str| TableOverride { filter: Some(text.into()), ..none() };
    let masked = |name: &str, by: Mask| TableOverride { mask: mask(&[(name, by)]), ..none() };
    for (entry, why) in [
        (TableOverride { columns: only(&["id", "nope"]), ..none() }, "it has no column nope"),
        (TableOverride { columns: only(&["a"]), ..none() }, "its key column id is not captured"),
        (TableOverride { exclude: vec!["id".into()], ..none() }, "its key column id is not captured"),
        (
            TableOverride { exclude: vec!["a".into()], ..masked("a", Mask::Hash) },
            "a is masked and not captured",
        ),
        (masked("id", Mask::Value("1".into())), "key column id is masked so that different rows"),
        (masked("id", Mask::Truncate(3)), "key column id is masked so that different rows"),
        (masked("at", Mask::Truncate(3)), "its column at is no text that could be cut"),
        (masked("b", Mask::Value("long".into())), "column b is none of type character varying(2)"),
        (masked("d", Mask::Value("11".into())), "column d is none of type public.small (value for domain"),
        (masked("at", Mask::Value("soon".into())), "column at is none of type timestamp with time zone"),
        (masked("a", Mask::Value("$tripline$".into())), "contains $tripline"),
        (filter("a ="), "its filter cannot be used (syntax error"),
        (filter("c > 1"), "its filter cannot be used (column \"c\" does not exist"),
        (filter("a"), "its filter cannot be used (argument of WHERE must be type boolean"),
        (filter("at > now()"), "must be marked IMMUTABLE"),
        (filter("exists (select from public.other)"), "cannot use subquery"),
    ] {
        let error = capture::init(&mut client, &config(entry), InitOptions::default()).await.unwrap_err();
        let CaptureError::Refused { refusals } = &error else { panic!("{why}: {error} {error:?}") };
        assert_eq!(refusals.len(), 1);
        let text = refusals[0].to_string();
        assert!(text.starts_with("public.t: ") && text.contains(why), "{why}: {text}");
        assert!(text.contains("in [[table]] name = \"public.t\""), "no way out in {text}");
    }
    let mut unsalted = config(masked("a", Mask::Hash));
    unsalted.mask.salt = None;
    let error = capture::init(&mut client, &unsalted, InitOptions::default()).await.unwrap_err().to_string();
    assert!(error.contains("public.t: it has a hash") && error.contains("mask.salt_file"), "{error}");
    assert_eq!(value(&client, "select count(*) from pg_namespace where nspname = 'cdc'").await, "0");
}

#[tokio::test]
async fn init_follows_another_selection_and_says_what_is_stale() {
    let db = TestDb::create(Which::Source).await;
    let mut client = db.connect().await;
    run(&client, "create table t (id int primary key, a text, c text, b text)").await;
    let mut config = config(TableOverride {
        exclude: vec!["b".into()],
        mask: mask(&[("a", Mask::Hash)]),
        ..TableOverride::default()
    });
    let dry = InitOptions { dry_run: true, ..InitOptions::default() };
    let planned = capture::init(&mut client, &config, dry).await.unwrap();
    assert!(!planned.sql.contains(SALT) && planned.sql.contains("mask.salt goes into"), "{}", planned.sql);
    init(&mut client, &config).await;
    let again = init(&mut client, &config).await;
    assert!(again.tables[0].action == Action::Unchanged && again.sql.is_empty(), "{again:?}");
    let known = capture::load(&client, "cdc").await.unwrap();
    capture::verify(&mut client, "cdc", &known).await.unwrap();

    // An excluded column may change as it likes.
    run(&client, "alter table t alter column b type int using length(b)").await;
    let known = capture::load(&client, "cdc").await.unwrap();
    capture::verify(&mut client, "cdc", &known).await.unwrap();

    // The salt is nobody's but the owner's.
    let role = db.role("app").await;
    run(&client, &format!("grant usage on schema cdc to {role}")).await;
    let seen = value(&client, "select count(*) from pg_proc where prosrc like '%pepper%'").await;
    assert_eq!(seen, "0");
    let denied = client.batch_execute(&format!("set role {role}; select salt from cdc.salt")).await;
    assert!(denied.unwrap_err().as_db_error().unwrap().message().contains("permission denied"));
    run(&client, "reset role").await;

    type Change = fn(&mut TableOverride);
    let changes: [(Change, u32); 4] = [
        (|entry| entry.filter = Some("id > 1".into()), 1),
        (|entry| entry.filter = None, 1),
        (|entry| drop(entry.mask.insert("c".into(), Mask::Value("x".into()))), 1),
        (|entry| entry.exclude.clear(), 2),
    ];
    for (change, version) in changes {
        change(&mut config.table[0]);
        let report = init(&mut client, &config).await;
        let table = &report.tables[0];
        assert!(table.action == Action::Altered && table.needs_snapshot, "{table:?}");
        assert_eq!(table.version, version);
        assert!(table.notes.iter().any(|note| note.contains("tripline snapshot public.t")), "{table:?}");
    }
    config.mask.salt = Some("another".to_owned().into());
    let report = init(&mut client, &config).await;
    assert!(report.tables[0].notes[0].contains("mask.salt changed"), "{report:?}");
    assert_eq!(value(&client, "select salt from cdc.salt").await, "another");
    run(&client, "insert into t values (5, 'a', 'secret', 1)").await;
    let logged = "select a || ' ' || c from cdc.t_cdc order by cdc_id desc limit 1";
    let expected = "select encode(sha256('anothera'), 'hex') || ' x'";
    assert_eq!(value(&client, logged).await, value(&client, expected).await);

    run(&client, "delete from cdc.salt; alter table t set (fillfactor = 90)").await;
    let known = capture::load(&client, "cdc").await.unwrap();
    let error = capture::verify(&mut client, "cdc", &known).await.unwrap_err().to_string();
    assert!(error.contains("the salt of hashes is not in cdc.salt"), "{error}");
    capture::uninstall(&mut client, "cdc").await.unwrap();
}
