//! What the roles may do is enough for all that they are there for.

use tripline::capture::{self, CaptureError, InitOptions};

use super::{Roles, url};
use crate::db::{TestDb, UNWATCHED, Which, run, value};
use crate::pipeline::harness::Pipeline;

const SCHEMA: &str = "create table t (id int primary key, v text); insert into t values (1, 'a'), (2, 'b');
    create table p (id int primary key) partition by hash (id);
    create table p0 partition of p for values with (modulus 1, remainder 0); insert into p values (1);
    create table words (word text)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_roles_of_roles_sql_are_enough() {
    let mut pipeline = Pipeline::create(&[("source.snapshot", "initial")], SCHEMA).await;
    pipeline.configure("[[table]]\nname = \"public.words\"\nappend_only = true\n");
    let roles = Roles::of(&pipeline);
    roles.install(&mut pipeline).await;
    let daemon = pipeline.start_ready("run").await;
    run(
        &pipeline.from,
        "insert into t values (3, 'c'); update t set v = 'd' where id = 1; update t set id = 9 where id = 2;
         delete from t where id = 3; insert into p select generate_series(2, 9); truncate p; insert into p values (7);
         insert into words values ('x'), ('x')",
    )
    .await;
    assert_eq!(pipeline.compare().await, 5);
    let check = pipeline.command("check").await;
    assert!(check.code == Some(0), "{}", check.text);
    pipeline.fine("verify public.t public.p").await;
    pipeline.fine("snapshot public.t --wait").await;
    run(&pipeline.from, "truncate t; insert into t values (4, 'e')").await;
    pipeline.compare().await;
    pipeline.stop(daemon).await;
    pipeline.fine("offset show").await;
    let rewind = pipeline.command("offset rewind --to 0").await;
    assert_eq!(rewind.code, Some(1), "{}", rewind.text);
    pipeline.fine("offset reset --yes --clear-destination").await;
    let daemon = pipeline.start_ready("run").await;
    pipeline.compare().await;
    pipeline.stop(daemon).await;
    // Retention's part.
    run(&pipeline.from, &format!("set role {}", roles.cleaner)).await;
    run(&pipeline.from, "select pipeline, acknowledged from cdc.pipelines; select log_table from cdc.tables")
        .await;
    run(&pipeline.from, "delete from cdc.t_cdc where cdc_id < 3").await;
    for forbidden in [
        "delete from cdc.tables",
        "delete from cdc.pipelines",
        "select from t",
        "update cdc.t_cdc set v = ''",
    ] {
        let error = pipeline.from.batch_execute(forbidden).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "42501", "{forbidden}");
    }
    run(&pipeline.from, "reset role").await;
    // A table that is captured later needs no further grant in schema cdc.
    run(&pipeline.from, "create table later (id int primary key)").await;
    roles.grant(&pipeline.source, "source");
    pipeline.set("source.url", &url(&pipeline.source, &roles.installer));
    pipeline.set("destination.url", &pipeline.destination.url());
    pipeline.fine("init").await;
    for (role, right) in [(&roles.reader, "select"), (&roles.cleaner, "delete")] {
        let sql = format!("select has_table_privilege('{role}', 'cdc.later_cdc', '{right}')");
        assert_eq!(value(&pipeline.from, &sql).await, "t", "{right}");
    }
}

/// The owner's rights are asked for by name where PostgreSQL asks for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installer_is_told_what_it_lacks() {
    let mut pipeline = Pipeline::create(&[], SCHEMA).await;
    pipeline.set("source.tables", "public.t,public.p");
    let owner = pipeline.source.role("owner").await;
    run(
        &pipeline.from,
        &format!(
            "alter table t owner to {owner}; alter table p owner to {owner}; alter table p0 owner to {owner}"
        ),
    )
    .await;
    let roles = Roles::of(&pipeline);
    roles.grant(&pipeline.source, "source");
    run(&pipeline.to, &format!("create role {}", roles.applier)).await;
    let installer = &roles.installer;
    pipeline.set("source.url", &url(&pipeline.source, installer));
    let name = &pipeline.source.name;
    run(&pipeline.from, &format!("revoke create on database {name} from {installer}")).await;
    let says = async |pipeline: &Pipeline, line: &str, texts: &[&str]| {
        let ended = pipeline.command(line).await;
        // A table that cannot be captured is listed with others that cannot, for whatever reason.
        assert!(matches!(ended.code, Some(2 | 77)), "{}", ended.text);
        for text in texts {
            assert!(ended.text.contains(text), "{line}: {text:?} is not in:\n{}", ended.text);
        }
    };
    let grant = format!("grant create on database {name} to {installer}");
    says(&pipeline, "init", &[installer, &grant]).await;
    run(&pipeline.from, &grant).await;
    for right in ["select", "trigger"] {
        run(&pipeline.from, &format!("revoke {right} on t from {installer}")).await;
        says(&pipeline, "init", &["public.t: this role lacks", &right.to_uppercase()]).await;
        run(&pipeline.from, &format!("grant {right} on t to {installer}")).await;
    }
    pipeline.fine("init").await;
    run(&pipeline.from, "alter table t disable trigger \"00_tripline_cdc_update\"").await;
    let grant = format!("grant {owner} to {installer}");
    says(&pipeline, "init", &["must be owner", &grant]).await;
    says(&pipeline, "uninstall --yes", &["must be owner", &grant]).await;
    run(&pipeline.from, &grant).await;
    pipeline.fine("init").await;
    pipeline.fine("uninstall --yes").await;
    assert_eq!(value(&pipeline.from, "select to_regnamespace('cdc')").await, "∅");
}

/// Writers stay out between the triggers and the commit, although LOCK TABLE is denied to a role that may not write.
#[tokio::test]
async fn capture_is_installed_with_select_and_trigger_alone() {
    let db = TestDb::create(Which::Source).await;
    let role = db.role("installer").await;
    let admin = db.connect().await;
    run(&admin, SCHEMA).await;
    run(
        &admin,
        &format!(
            "grant create on database {} to {role}; grant select, trigger on all tables in schema public to {role}",
            db.name
        ),
    )
    .await;
    let mut client = db.connect().await;
    run(&client, &format!("set session authorization {role}")).await;
    let mut config = tripline::config::Config::default();
    config.source.tables = vec!["public.*".into()];
    config.table = vec![tripline::config::TableOverride {
        name: "public.words".into(),
        append_only: true,
        ..Default::default()
    }];
    run(&admin, "insert into words values ('before')").await;
    capture::init(&mut client, &config, InitOptions::default()).await.unwrap();
    run(&admin, "insert into t values (5, 'x'); insert into p values (5); truncate p0; insert into words values ('y')").await;
    let logged =
        |table: &str| format!("select string_agg(cdc_op::text, '' order by cdc_id) from cdc.{table}_cdc");
    assert_eq!(value(&admin, &logged("t")).await, "I");
    assert_eq!(value(&admin, &logged("p")).await, "IDD");
    assert_eq!(value(&admin, &logged("words")).await, "TII");
    let known = capture::load(&client, "cdc").await.unwrap();
    capture::verify(&mut client, "cdc", &known).await.unwrap();
    // A second one has nothing to do, and rows are logged anew only under a lock.
    let words = known.iter().find(|known| known.table.name.name == "words").unwrap();
    let error = capture::log_anew(&mut client, words).await.unwrap_err();
    assert!(matches!(error, CaptureError::NoLock { .. }), "{error}");
    let grant = format!("grant update on \"public\".\"words\" to \"{role}\"");
    assert!(error.to_string().contains(&grant), "{error}");
    run(&admin, &grant).await;
    capture::log_anew(&mut client, words).await.unwrap();
    assert_eq!(value(&admin, &logged("words")).await, "TIITII");
    run(&admin, UNWATCHED).await;
}
