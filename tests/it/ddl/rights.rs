//! Sources where the event triggers are not: a role that may not create them, a database that was restored from a dump.

use std::process::Command;

use tokio_postgres::Client;
use tripline::config::TableOverride;
use tripline::selection::Mask;
use tripline::table::CaptureMode;

use crate::db::{TestDb, Which, run, value};
use crate::pipeline::harness::Pipeline;
use crate::server::programs;

use super::flow::assert_equal;

/// A source that belongs to a role of no special rights, and the session of the application, which is another one.
async fn modest(pipeline: &mut Pipeline) -> Client {
    let (owner, app) = (pipeline.source.role("owner").await, pipeline.source.role("app").await);
    let grants = format!(
        "alter table t owner to {owner}; grant create on database {name} to {owner}; grant create on schema public to {owner};
         grant select, insert, update, delete on t to {app}",
        name = pipeline.source.name
    );
    run(&pipeline.from, &grants).await;
    pipeline.set("source.url", &pipeline.source.url().replacen("postgres@", &format!("{owner}@"), 1));
    run(&pipeline.from, &format!("set session authorization {owner}")).await;
    let app_session = pipeline.source.connect().await;
    run(&app_session, &format!("set session authorization {app}")).await;
    app_session
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_may_create_no_event_triggers_follows_ddl_with_init() {
    let mut pipeline = Pipeline::create(&[], "create table t (id int primary key, v text)").await;
    let app = modest(&mut pipeline).await;
    let said = pipeline.fine("init").await;
    assert!(said.contains("may not create event triggers") && said.contains("docs/ddl.md"), "{said}");
    let daemon = pipeline.start_ready("run").await;
    run(&app, "insert into t values (1, 'a')").await;
    assert_eq!(assert_equal(&pipeline, "rows").await, 1);
    pipeline.expect("tripline init");
    run(&pipeline.from, "alter table t rename column v to w").await;
    let error = app.batch_execute("insert into t values (2, 'b')").await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert!(error.message().contains("public.t") && error.message().contains("tripline init"), "{error:?}");
    assert_eq!(error.detail(), Some("column t.v does not exist"));
    pipeline.ends_with(daemon, 2, &["public.t", "the column v is gone", "tripline init"]).await;
    let check = pipeline.command("check").await;
    assert_eq!(check.code, Some(2), "{}", check.text);
    assert!(check.text.contains("the column v is gone"), "{}", check.text);
    let said = pipeline.fine("init").await;
    assert!(said.contains("altered"), "{said}");
    run(&app, "insert into t values (2, 'b')").await;
    pipeline.set("source.snapshot", "never");
    let daemon = pipeline.start_ready("run").await;
    assert_eq!(assert_equal(&pipeline, "the repair").await, 2);
    pipeline.stop(daemon).await;
}

/// Copies a database with `pg_dump` and `psql`; false where these programs are not.
fn dump_and_restore(from: &TestDb, to: &TestDb) -> bool {
    let folder = programs(Which::Source);
    if !folder.join("pg_dump").exists() || !folder.join("psql").exists() {
        println!("no pg_dump in {}", folder.display());
        return false;
    }
    let dump = Command::new(folder.join("pg_dump")).arg(from.url()).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), dump.stdout).unwrap();
    let psql = Command::new(folder.join("psql"))
        .args(["-qX", "-v", "ON_ERROR_STOP=1", "-f"])
        .arg(file.path())
        .arg(to.url())
        .output()
        .unwrap();
    assert!(psql.status.success(), "{}", String::from_utf8_lossy(&psql.stderr));
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_was_restored_from_a_dump_is_taken_up_anew_and_never_in_silence() {
    let mut pipeline = Pipeline::create(&[], "create table t (id int primary key, v text)").await;
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    run(&pipeline.from, "insert into t values (1, 'a')").await;
    assert_eq!(assert_equal(&pipeline, "rows").await, 1);
    pipeline.stop(daemon).await;
    let restored = TestDb::create(Which::Source).await;
    if !dump_and_restore(&pipeline.source, &restored) {
        return;
    }
    // The application works there at once.
    let client = restored.connect().await;
    run(&client, "insert into t values (2, 'b'); update t set v = 'c' where id = 1").await;
    run(&client, "alter table t add column w int; insert into t values (3, 'd', 4)").await;
    pipeline.set("source.url", &restored.url());
    for (command, says) in [
        ("publish", "point source.url at the right server"),
        ("init", "tripline uninstall, then tripline init"),
        ("check", "tripline uninstall, then tripline init"),
    ] {
        let ended = pipeline.command(command).await;
        assert!(
            ended.code == Some(2) && ended.text.contains(says),
            "{command}: {:?}\n{}",
            ended.code,
            ended.text
        );
    }
    // Which is the way out.
    pipeline.fine("uninstall --yes").await;
    assert_eq!(value(&client, "select to_regnamespace('cdc')").await, "∅");
    pipeline.init().await;
    let ended = pipeline.command("publish").await;
    assert!(ended.code == Some(2) && ended.text.contains("tripline offset reset"), "{}", ended.text);
    run(&client, "insert into t values (4, 'e', 5)").await;
    assert_eq!(value(&client, "select count(*) from cdc.t_cdc").await, "1");
    assert_eq!(value(&client, "select count(*) from cdc.tables").await, "1");
}

#[tokio::test]
async fn a_cast_of_the_types_owner_is_never_run_with_the_rights_of_captures_owner() {
    let parts = "partition by range (id); create table leaf partition of t for values from (0) to (1000)";
    for options in ["", parts] {
        let db = TestDb::create(Which::Source).await;
        let client = db.connect().await;
        let owner = db.role("owner").await;
        let schema = format!(
            "create extension citext; create table seen (who text); grant insert on seen to {owner};
             grant create on schema public to {owner}; set role {owner};
             create type mood as enum ('sad', 'ok'); create type pair as (a int, b text);
             create table t (id int, k citext, v mood, a mood[], p pair, m mood, h mood[], primary key (id, k)) {options};
             reset role; alter table seen add primary key (who);
             create schema other; create table other.there (id int primary key)"
        );
        run(&client, &schema).await;
        let mut config = super::source::config(CaptureMode::Reread);
        config.source.tables.push("!public.seen".into());
        super::source::init(&db, &config).await;
        let mut casts = String::new();
        for (i, from) in ["mood", "mood[]", "pair"].iter().enumerate() {
            casts.push_str(&format!(
                "create function shown_{i}({from}) returns text language sql as
                   'insert into public.seen values (current_user) returning ''evil''';
                 create cast ({from} as text) with function shown_{i}({from});"
            ));
        }
        run(&client, &format!("set role {owner}; {casts} reset role")).await;
        let writes = "insert into t values (1, 'a', 'ok', '{ok,null}', '(1,x)', 'sad', '{sad}'), (2, 'b', null, null, null, null, null);
            update t set k = upper(k); update t set v = 'sad', p = '(,)' where id = 1";
        run(&client, writes).await;
        let last = "select concat_ws('|', k, v, a, p, m, h) from cdc.t_cdc where id = 1 order by cdc_id desc limit 1";
        assert_eq!(value(&client, last).await, "A|sad|{ok,NULL}|(,)|sad|{sad}");
        let null = "select num_nulls(v, a, p, m, h) from cdc.t_cdc where id = 2 and cdc_op <> 'D' limit 1";
        assert_eq!(value(&client, null).await, "5");
        // Filled in by the event triggers, and with masks.
        run(&client, "alter table t add column w pair; update t set w = '(2,y)' where id = 1").await;
        assert_eq!(value(&client, "select w from cdc.t_cdc order by cdc_id desc limit 1").await, "(2,y)");
        super::source::assert_followed(&db, &config, "a column of that type").await;
        let seen = "select string_agg(who, ',') from seen";
        assert_eq!(value(&client, seen).await, "∅");
        let mut entry = TableOverride { name: "public.t".into(), ..TableOverride::default() };
        entry.mask.insert("m".into(), Mask::Hash);
        config.table = vec![entry];
        config.mask.salt = Some("salt".to_owned().into());
        super::source::init(&db, &config).await;
        run(&client, "update t set v = 'ok' where id = 1").await;
        let masked = "select concat_ws('|', v, length(m)) from cdc.t_cdc order by cdc_id desc limit 1";
        assert_eq!(value(&client, masked).await, "ok|64");
        assert_eq!(value(&client, seen).await, "∅", "masked");
    }
}
