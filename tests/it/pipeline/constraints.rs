//! Constraints at the destination: whatever order the log has, the same constraints as at the source are met there, by
//! a role that may silence foreign keys and by one that may not.

use std::io::Write as _;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::daemon::Daemon;
use super::harness::Pipeline;
use super::load::seed;
use super::stores;
use crate::db::{run, value};
use crate::workload::lasting;

const SCHEMA: &str = include_str!("constraints.sql");
/// Batches that no larger pass fits into.
const SMALL: [(&str, &str); 2] = [("tail.window_rows", "7"), ("apply.batch_rows", "10")];
/// Rows to begin with; places stand so that a shift of all of them meets no value twice.
const ROWS: &str = "
insert into customers select g, 0, g from generate_series(1, 20) g;
insert into orders select g, 0, g, g, g % 20 + 1, g % 20 + 1 from generate_series(1, 20) g;
insert into lines select 10 * g + n, 0, g from generate_series(1, 20) g, generate_series(0, 2) n;
insert into tree select g, 0, nullif(g / 2, 0) from generate_series(1, 15) g;
insert into places select g, 0, g, g, int4range(g, g + 1) from generate_series(30, 1, -1) g;
insert into bosses select g, 0 from generate_series(1, 10) g;
insert into workers select g, 0, g % 10 + 1 from generate_series(1, 20) g;
insert into badges select g, 0, g from generate_series(1, 20) g;
insert into swapped select g, g, 0 from generate_series(1, 10) g;";
/// What an application does to them, each in one transaction.
const CASES: [&str; 24] = [
    "update customers set id = id + 100 where id <= 3",
    "update orders set customer = 5 where customer = 4; delete from customers where id = 4",
    "delete from customers where id = 6",
    "delete from customers where id = 7; insert into customers values (7, 7, 7); insert into orders values (7, 7, 7, 7)",
    "update customers set code = code + 100 where id in (8, 9)",
    "update customers set code = -1 where id = 10; update customers set code = 10 where id = 11; \
     update customers set code = 11 where id = 10",
    "update orders set u = -u where id in (11, 12); update orders set u = 23 + u where u < 0; \
     update customers set id = id + 100 where id in (11, 12)",
    "update orders set id = id + 100 where id in (13, 14); delete from customers where id = 14",
    "update tree set up = 4 where up = 3; delete from tree where id = 3",
    "update tree set id = id + 100 where id in (2, 5)",
    "delete from tree where id = 4; insert into tree values (4, 1, 102), (50, 1, 4), (49, 1, 50)",
    "insert into tails values (1, 0, 1), (2, 0, 2); insert into heads values (1, 0, 1), (2, 0, 2)",
    "delete from heads where id = 1; insert into heads values (1, 5, 2); update tails set head = 1; delete from heads where id = 2; \
     update heads set tail = 1; delete from tails where id = 2",
    "insert into rings values (1, 0, null); insert into stones values (1, 0, 1); update rings set stone = 1",
    "update rings set stone = null; delete from stones; delete from rings; insert into stones values (1, 1, null); \
     insert into rings values (1, 1, 1); update stones set ring = 1",
    "insert into workers values (100, 0, 100); insert into bosses values (100, 0); insert into badges values (100, 0, 100)",
    "update bosses set id = 101 where id = 1; update workers set boss = 101 where boss = 1",
    "delete from bosses where id = 2; insert into bosses values (2, 2)",
    "update places set pos = pos + 1",
    "update places set late = 31 - late",
    "update places set pos = -pos where id in (5, 6); update places set pos = 13 + pos where pos < 0",
    "update places set during = 'empty' where id = 8; update places set during = int4range(8, 9) where id = 9; \
     update places set during = int4range(9, 10) where id = 8; delete from places where id = 10; \
     insert into places values (40, 0, 11, 100, int4range(10, 11))",
    "update swapped set id = 11 - id",
    "truncate customers cascade; insert into customers values (1, 9, 1); insert into orders values (1, 9, 1, 1, 1, 1); \
     insert into lines values (1, 9, 1); truncate heads, tails, rings, stones, workers, badges, bosses; \
     insert into workers values (1, 0, 2); insert into bosses values (2, 0)",
];
/// Two customers change their codes with each other.
const SWAP: &str = "begin; update customers set code = -1003 where id = 1001; update customers set code = -1001 where id = 1002; \
                    update customers set code = -1002 where id = 1001; commit";
/// Brings what every foreign key says before the server again.
const VALIDATE: &str = "do $$ declare c record; begin
  for c in select conrelid::regclass as t, pg_get_constraintdef(oid) as says from pg_constraint
           where contype = 'f' and connamespace = 'public'::regnamespace loop
    execute format('alter table %s add constraint again %s', c.t, c.says);
    execute format('alter table %s drop constraint again', c.t);
  end loop; end $$";

/// What a pipeline runs with.
#[derive(Debug, Clone, Copy)]
struct Setup {
    /// The applier's role may set session_replication_role.
    replica: bool,
    /// Passes are larger than a batch.
    small: bool,
}

impl Setup {
    async fn start(self) -> (Pipeline, Daemon) {
        let settings = if self.small { &SMALL[..] } else { &[] };
        let mut pipeline = Pipeline::create(settings, SCHEMA).await;
        let key = "[[table]]\nname = \"public.swapped\"\nkey_index = \"swapped_k_key\"\n";
        let mut config = std::fs::OpenOptions::new().append(true).open(pipeline.config()).unwrap();
        config.write_all(key.as_bytes()).unwrap();
        run(&pipeline.to, SCHEMA).await;
        if !self.replica {
            let role = pipeline.destination.role("plain").await;
            let grants = format!(
                "grant create on database {} to {role}; grant all on all tables in schema public to {role}",
                pipeline.destination.name
            );
            run(&pipeline.to, &grants).await;
            let url = pipeline.destination.url().replacen("postgres@", &format!("{role}@"), 1);
            pipeline.set("destination.url", &url);
        }
        pipeline.init().await;
        run(&pipeline.from, ROWS).await;
        let daemon = pipeline.start_ready("run").await;
        pipeline.compare().await;
        (pipeline, daemon)
    }
}

/// Counts the batches that were applied change by change.
fn replays(daemon: &Daemon) -> usize {
    daemon.times_logged("applying a batch change by change")
}

async fn cases(setup: Setup) {
    let (pipeline, daemon) = setup.start().await;
    for (number, case) in CASES.iter().enumerate() {
        println!("{case}");
        let done = format!("begin; {case}; insert into done values ({number}); commit");
        run(&pipeline.from, &done).await;
        let there = format!("select exists (select from done where id = {number})");
        pipeline.wait_until(case, async || value(&pipeline.to, &there).await == "t").await;
        stores::compare(&pipeline.from, &pipeline.to, None).await;
    }
    pipeline.compare().await;
    run(&pipeline.to, VALIDATE).await;
    assert!(replays(&daemon) > 0, "nothing stood in the way: {setup:?}");
    let forbidden = daemon.has_logged("the role may not set session_replication_role");
    assert_eq!(forbidden, !setup.replica);
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn constraints_of_every_kind_are_met() {
    cases(Setup { replica: true, small: false }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn constraints_of_every_kind_are_met_where_foreign_keys_cannot_be_turned_off() {
    cases(Setup { replica: false, small: false }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn constraints_of_every_kind_are_met_by_passes_larger_than_a_batch() {
    cases(Setup { replica: true, small: true }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn constraints_are_met_by_passes_larger_than_a_batch_where_foreign_keys_cannot_be_turned_off() {
    cases(Setup { replica: false, small: true }).await;
}

/// Returns a statement; constraints refuse some of them.
fn statement(rng: &mut StdRng) -> String {
    let (k, other, n) = (rng.random_range(1..=20), rng.random_range(1..=20), rng.random_range(1..1_000_000));
    let table = *["customers", "orders", "tree", "bosses", "workers", "lines", "places"].choose(rng).unwrap();
    match rng.random_range(0..24) {
        0 | 1 => format!("insert into customers values ({k}, {n}, {other}) on conflict do nothing"),
        2 | 3 => format!(
            "insert into orders select {other}, {n}, {k}, min(id), max(id), min(code) from customers having count(*) > 0 \
             on conflict do nothing"
        ),
        4 => format!(
            "insert into lines select {n}, 0, id from orders where id between {k} and {k} + 3 on conflict do nothing"
        ),
        5 => format!("update {table} set n = {n} where id between {k} and {k} + 3"),
        6 => format!("delete from {table} where id = {k}"),
        7 => format!(
            "update {table} set id = {other} where id = {k} and not exists (select from {table} where id = {other})"
        ),
        8 => format!(
            "update orders set customer = (select max(id) from customers where id <> {k}) where customer = {k}; delete from customers where id = {k}"
        ),
        9 => format!(
            "update customers set code = -1 where id = {k}; \
             update customers set code = (select {k} + 100) where id = {other}; update customers set code = {n} where code = -1"
        ),
        10 => format!(
            "update orders set u = -u where id in ({k}, {other}); update orders set u = {k} + {other} + u where u < 0"
        ),
        11 => format!(
            "insert into tree select {k}, {n}, max(id) from tree where id < {k} on conflict (id) do update set n = {n}"
        ),
        12 => format!(
            "update tree set up = {other} where up = {k} and id > {other}; delete from tree where id = {k}"
        ),
        13 => format!(
            "insert into tails values ({k}, {n}, {k}) on conflict do nothing; insert into heads values ({k}, {n}, {k}) on conflict do nothing"
        ),
        14 => format!("update tails set head = null where head = {k}; delete from heads where id = {k}"),
        15 => format!(
            "insert into workers values ({other}, {n}, {k}) on conflict (id) do update set boss = {k}; \
             insert into bosses values ({k}, {n}) on conflict do nothing; insert into badges values ({n}, {k}, {other})"
        ),
        16 => format!(
            "update bosses set id = {k} + 100 where id = {k}; update workers set boss = {k} + 100 where boss = {k}"
        ),
        17 => format!(
            "delete from bosses where id = {k}; insert into bosses values ({k}, {n}) on conflict do nothing"
        ),
        18 => "update places set late = 1000 - late".into(),
        19 => format!(
            "insert into places values ({k}, {n}, {n}, {n}, int4range({k}, {k} + 1)) on conflict (id) do nothing"
        ),
        20 => format!(
            "with p as (select id, pos from places where id in ({k}, {other})) \
             update places set pos = null where id in (select id from p)"
        ),
        21 => format!(
            "update places set pos = {k} where id = {other}; update places set pos = {n} where pos = {k}"
        ),
        22 => format!(
            "delete from places where id = {k}; insert into places values ({k}, {n}, {other}, {n}, int4range({k}, {k} + 1))"
        ),
        _ => match rng.random_range(0..12) {
            0 => "truncate customers cascade".into(),
            1 => "truncate bosses, workers, badges".into(),
            2 => "truncate tree".into(),
            _ => "update swapped set id = 11 - id".into(),
        },
    }
}

/// Waits until everything is applied. A role that may not turn foreign keys off meets its limit where a value moves to a row
/// that was there before, from one whose delete would take along what waits itself: it halts, and the way out that it names
/// has to be one, from where it stands.
async fn arrive(pipeline: &mut Pipeline, daemon: &mut Daemon) -> usize {
    let mut halts = 0;
    while pipeline.command("status").await.code != Some(0) {
        if daemon.poll().is_none() {
            continue;
        }
        assert!(halts == 0, "halted again");
        halts += 1;
        let url = pipeline.destination.url();
        pipeline.set("destination.url", &url);
        let halted = std::mem::replace(daemon, pipeline.start("run"));
        let ended = halted.ended();
        assert!(ended.text.contains("let it set session_replication_role"), "{}", ended.text);
    }
    halts
}

async fn mix(setup: Setup) {
    let (mut pipeline, mut daemon) = setup.start().await;
    let seed = seed();
    let until = Instant::now() + lasting();
    let writers = (0..3).map(async |writer| {
        let client = pipeline.source.connect().await;
        let mut rng = StdRng::seed_from_u64(seed.wrapping_add(writer));
        let [mut committed, mut refused] = [0, 0];
        while Instant::now() < until {
            let statements: Vec<String> = (0..rng.random_range(1..8)).map(|_| statement(&mut rng)).collect();
            let all = statements.join("; ");
            let defer = if rng.random() { "set constraints all deferred; " } else { "" };
            match client.batch_execute(&format!("begin; {defer}{all}; commit")).await {
                Ok(()) => committed += 1,
                Err(error) => {
                    refused += 1;
                    let code = error.code().unwrap_or_else(|| panic!("{error:?}")).code().to_owned();
                    // A deadlock, or a TRUNCATE of what has pending triggers.
                    assert!(
                        code.starts_with("23") || ["40P01", "55006"].contains(&code.as_str()),
                        "{all}\n{error:?}"
                    );
                    run(&client, "rollback").await;
                }
            }
        }
        [committed, refused]
    });
    let done = futures_util::future::join_all(writers).await;
    // What surely stands in the way, however little of the mix came through.
    let halts = arrive(&mut pipeline, &mut daemon).await;
    assert!(halts == 0 || !setup.replica);
    run(&pipeline.from, "insert into customers values (1001, 0, -1001), (1002, 0, -1002)").await;
    pipeline.compare().await;
    run(&pipeline.from, SWAP).await;
    let compared = pipeline.compare().await;
    run(&pipeline.to, VALIDATE).await;
    let logged = value(&pipeline.from, "select last_value from cdc.cdc_id_seq").await;
    let [patient, parts] =
        ["once more, with changes that wait", "a part of a pass waits"].map(|text| daemon.times_logged(text));
    println!(
        "seed {seed} {setup:?}: committed and refused {done:?}, {logged} ids, {compared} rows compared, {} replays, \
         {patient} with changes that wait, {parts} parts that wait, {halts} halts",
        replays(&daemon)
    );
    assert!(replays(&daemon) > 0, "nothing stood in the way");
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn constraints_are_met_by_a_random_mix() {
    mix(Setup { replica: true, small: false }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn constraints_are_met_by_a_random_mix_where_foreign_keys_cannot_be_turned_off() {
    mix(Setup { replica: false, small: true }).await;
}
