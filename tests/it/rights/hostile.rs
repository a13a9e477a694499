//! A role that may write its own table tries to have our functions run its code as their owner.

use tokio_postgres::Client;
use tripline::capture::{self, InitOptions};
use tripline::config::{Config, TableOverride};
use tripline::selection::Mask;
use tripline::table::CaptureMode;

use crate::db::{TestDb, Which, rows, run, value};

/// Everything that a name in one of our functions could mean instead. Each notes whom it ran as.
const TRAPS: &str = include_str!("traps.sql");

/// Puts the traps in front of everything, permanent ones and those of the session.
async fn lay(client: &Client, role: &str) {
    run(client, &format!("set session authorization {role}")).await;
    run(client, TRAPS).await;
}

const WRITES: [&str; 8] = [
    "insert into public.t values (1, 'a', 'k1'), (2, 'b', 'k2')",
    "insert into public.t values (3, 'c', 'k3') on conflict (id) do update set v = 'd'",
    "update public.t set v = 'e' where id operator(pg_catalog.=) 1",
    "update public.t set v = 'f'",
    "update public.t set id = id operator(pg_catalog.+) 100",
    "delete from public.t where id operator(pg_catalog.=) 101",
    "with d as (delete from public.t where id operator(pg_catalog.=) 102 returning *) insert into public.t select 7, v, k from d",
    "truncate public.t",
];

async fn nobody_else_ran_it(mode: CaptureMode, options: &str, owns: bool) {
    let db = TestDb::create(Which::Source).await;
    let role = db.role("app").await;
    let mut admin = db.connect().await;
    let owner = if owns { format!("alter table t owner to {role};") } else { String::new() };
    run(
        &admin,
        &format!(
            "create table seen (who text, what text); grant insert on seen to public;
             create table t (id int primary key, v text, k text) {options}; {owner}
             grant select, insert, update, delete, truncate on t to {role};
             create schema evil authorization {role}; grant temporary on database {} to {role}",
            db.name
        ),
    )
    .await;
    let mut config = Config::default();
    config.source.tables = vec!["public.t".into()];
    config.capture.mode = mode;
    let mut entry = TableOverride { name: "public.t".into(), ..TableOverride::default() };
    entry.mask.insert("k".into(), Mask::Hash);
    entry.filter = Some("v <> 'hidden' and id >= 0".into());
    config.table = vec![entry];
    config.mask.salt = Some("salt".to_owned().into());
    capture::init(&mut admin, &config, InitOptions::default()).await.unwrap();
    let client = db.connect().await;
    lay(&client, &role).await;
    // The traps work: a function of another role that names nothing in full falls into them.
    run(
        &admin,
        "create function public.careless(n int) returns boolean language plpgsql security definer as
           $$begin return md5('x') = 'y' and n = 1; end$$",
    )
    .await;
    run(&client, "select public.careless(1)").await;
    let fell = format!("select string_agg(what, ',' order by what) from seen where who <> '{role}'");
    assert_eq!(value(&admin, &fell).await, "domain text,md5,text =");
    run(&admin, "delete from seen; drop function public.careless(int)").await;
    for write in WRITES {
        run(&client, write).await;
    }
    if owns {
        // And with what the owner of a table may do to it.
        run(
            &client,
            "create domain evil.checked as int check (evil.noted('check') operator(pg_catalog.>) 0);
             alter table public.t add column c evil.checked default 1;
             alter table public.t add column d int default evil.noted('default');
             create policy p on public.t using (evil.noted('policy') operator(pg_catalog.>) 0);
             alter table public.t enable row level security",
        )
        .await;
        capture::init(&mut admin, &config, InitOptions::default()).await.unwrap();
        for write in WRITES {
            let write = write
                .replace(
                    "public.t values (1, 'a', 'k1'), (2, 'b', 'k2')",
                    "public.t (id, v, k) values (1, 'a', 'k1'), (2, 'b', 'k2')",
                )
                .replace("public.t values (3, 'c', 'k3')", "public.t (id, v, k) values (3, 'c', 'k3')");
            run(&client, &write).await;
        }
    }
    let others = rows(&admin, &format!("select distinct who, what from seen where who <> '{role}'")).await;
    assert!(others.is_empty(), "{mode} {options}: ran as somebody else: {others:?}");
    let logged: u32 = value(&admin, "select count(*) from cdc.t_cdc").await.parse().unwrap();
    assert!(logged >= 12, "{mode} {options}: {logged} log rows");
}

#[tokio::test]
async fn a_role_that_may_write_its_table_cannot_run_code_as_the_owner_of_capture() {
    let parts = "partition by range (id); create table leaf partition of t for values from (0) to (1000)";
    for (mode, options) in
        [(CaptureMode::Reread, ""), (CaptureMode::Statement, ""), (CaptureMode::Reread, parts)]
    {
        nobody_else_ran_it(mode, options, false).await;
    }
    nobody_else_ran_it(CaptureMode::Reread, "", true).await;
}
