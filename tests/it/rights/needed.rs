//! Each right of `sql/roles.sql` is needed: without it something fails and names role, right, object and the GRANT.

use tokio_postgres::Client;

use super::Roles;
use crate::db::{rows, run, value};
use crate::pipeline::daemon::Daemon;
use crate::pipeline::harness::Pipeline;

/// PUBLIC may use schema public by default, which would hide that our roles need it.
const SCHEMA: &str = "create table t (id int primary key, v text); insert into t values (1, 'a');
    revoke usage on schema public from public";

/// Every right that a role was given in a database, and on what.
async fn rights(client: &Client, role: &str) -> Vec<(String, String)> {
    let sql = format!(
        "select lower(x.privilege_type), format('%s %I.%I', case c.relkind when 'S' then 'sequence' else 'table' end, n.nspname, c.relname)
         from pg_class c join pg_namespace n on n.oid = c.relnamespace, aclexplode(c.relacl) x
         where x.grantee = '{role}'::regrole
         union all
         select lower(x.privilege_type), format('schema %I', n.nspname) from pg_namespace n, aclexplode(n.nspacl) x
         where x.grantee = '{role}'::regrole
         order by 2, 1"
    );
    rows(client, &sql).await.into_iter().map(|mut row| (row.swap_remove(0), row.swap_remove(0))).collect()
}

/// Expects that `said` names the role, the right and what it is a right on; returns the GRANT that it advises.
fn advice(said: &str, role: &str, right: &str, object: &str) -> String {
    let grant = format!("grant {right} on {object} to {role}");
    let whole = format!("the role {role} of the ");
    assert!(said.contains(&whole) && said.contains(&format!("{right} on {object}: run `{grant}`")), "{said}");
    grant
}

/// Waits until the daemon has ended, and returns what it said; `None` when `done` comes first.
async fn fails(
    pipeline: &Pipeline,
    mut daemon: Daemon,
    mut done: impl AsyncFnMut() -> bool,
) -> Option<String> {
    let mut over = false;
    pipeline
        .wait_until("the daemon ends or is through", async || {
            over = daemon.poll().is_some();
            over || done().await
        })
        .await;
    if over {
        let ended = daemon.ended();
        assert_eq!(ended.code, Some(77), "{}", ended.text);
        return Some(ended.text);
    }
    pipeline.stop(daemon).await;
    None
}

/// Runs what the reader is there for until something fails.
async fn read(pipeline: &Pipeline) -> Option<String> {
    let asked = pipeline.command("snapshot public.t").await;
    if asked.code != Some(0) {
        return Some(asked.text);
    }
    run(&pipeline.from, "update t set v = v || 'x'").await;
    let through = async || {
        let open = value(&pipeline.from, "select count(*) from cdc.snapshots where ended_at is null").await;
        open == "0"
    };
    if let Some(said) = fails(pipeline, pipeline.start("publish"), through).await {
        return Some(said);
    }
    // The patterns of other pipelines and the gaps are for who looks at what init would do.
    let check = pipeline.command("check").await;
    let denied = |table: &&str| check.text.contains(&format!("permission denied for table {table}"));
    let table = ["patterns", "gaps"].into_iter().find(denied)?;
    let fix = check.text.lines().find(|line| line.contains(&format!("cdc.{table} to")))?;
    let role = fix.rsplit(' ').next()?;
    Some(format!(
        "permission denied: the role {role} of the source: select on table cdc.{table}: run `{}`",
        fix.trim().strip_prefix("fix: ")?
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_any_right_of_the_cleaner_check_says_which_and_nothing_is_removed() {
    let settings = [("retention.keep_hours", "0"), ("source.snapshot", "initial")];
    let mut pipeline = Pipeline::create(&settings, SCHEMA).await;
    let roles = Roles::of(&pipeline);
    roles.install(&mut pipeline).await;
    pipeline.expect("no log rows are removed; publishing goes on");
    let rights = rights(&pipeline.from, &roles.cleaner).await;
    // The log table, the three registries, and what records how far; that too, for the tables that are captured later.
    assert!(rights.len() >= 9, "{rights:?}");
    for (right, object) in &rights {
        run(&pipeline.from, &format!("revoke {right} on {object} from {}", roles.cleaner)).await;
        let check = pipeline.command("check").await;
        assert_eq!(check.code, Some(1), "{right} on {object}: {}", check.text);
        assert!(check.text.contains("retention.right"), "{right} on {object}: {}", check.text);
        let grant = format!("grant {right} on {object} to {}", roles.cleaner);
        assert!(check.text.contains(&grant), "{grant}: {}", check.text);
        run(&pipeline.from, &grant).await;
    }
    pipeline.fine("check").await;
    let daemon = pipeline.start_ready("publish").await;
    run(&pipeline.from, "insert into t select n, 'x' from generate_series(10, 60) n").await;
    let left = "select count(*) from cdc.t_cdc";
    let emptied = async || value(&pipeline.from, left).await.parse::<u32>().unwrap() <= 8;
    pipeline.wait_until("the cleaner has removed rows", emptied).await;
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_any_right_of_the_reader_something_fails_and_says_which() {
    let mut pipeline = Pipeline::create(&[("source.snapshot", "initial")], SCHEMA).await;
    let roles = Roles::of(&pipeline);
    roles.install(&mut pipeline).await;
    let rights = rights(&pipeline.from, &roles.reader).await;
    assert!(rights.len() >= 14, "{rights:?}");
    assert_eq!(read(&pipeline).await, None, "with all rights");
    for (right, object) in rights {
        run(&pipeline.from, &format!("revoke {right} on {object} from {}", roles.reader)).await;
        let said = read(&pipeline).await.unwrap_or_else(|| panic!("nobody needs {right} on {object}"));
        run(&pipeline.from, &advice(&said, &roles.reader, &right, &object)).await;
    }
    assert_eq!(read(&pipeline).await, None, "with what was advised");
}

/// Runs what the applier is there for until something fails. `n`: a key that is new.
async fn apply(pipeline: &Pipeline, n: usize) -> Option<String> {
    // As for tables that the applier meets for the first time.
    run(&pipeline.to, "delete from tripline.tables").await;
    pipeline.fine("snapshot public.t").await;
    let writes =
        format!("delete from t where id < {n}; insert into t values ({n}, 'a'); update t set v = 'b'");
    run(&pipeline.from, &writes).await;
    let publisher = pipeline.start_ready("publish").await;
    let there = format!("select count(*) from t where id = {n} and v = 'b'");
    let copying = "select count(*) from cdc.snapshots where ended_at is null";
    let through = async || {
        value(&pipeline.from, copying).await == "0" && {
            let pass = value(&pipeline.from, "select max(pass) from cdc.snapshots").await;
            let applied = format!("{there} and (select max(pass) from tripline.cuts) >= {pass}");
            value(&pipeline.to, &applied).await == "1"
        }
    };
    let failed = fails(pipeline, pipeline.start("apply"), through).await;
    pipeline.stop(publisher).await;
    if failed.is_some() {
        return failed;
    }
    let reset = pipeline.command("offset reset --yes --clear-destination").await;
    (reset.code != Some(0)).then_some(reset.text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_any_right_of_the_applier_something_fails_and_says_which() {
    let mut pipeline = Pipeline::create(&[("source.snapshot", "initial")], SCHEMA).await;
    let roles = Roles::of(&pipeline);
    roles.install(&mut pipeline).await;
    run(&pipeline.to, "revoke usage on schema public from public").await;
    let rights = rights(&pipeline.to, &roles.applier).await;
    assert_eq!(rights.len(), 4 * 4 + 5 + 2, "{rights:?}");
    assert_eq!(apply(&pipeline, 10).await, None, "with all rights");
    for (n, (right, object)) in (11..).zip(rights) {
        run(&pipeline.to, &format!("revoke {right} on {object} from {}", roles.applier)).await;
        let said = apply(&pipeline, n).await.unwrap_or_else(|| panic!("nobody needs {right} on {object}"));
        run(&pipeline.to, &advice(&said, &roles.applier, &right, &object)).await;
    }
    assert_eq!(apply(&pipeline, 99).await, None, "with what was advised");
}
