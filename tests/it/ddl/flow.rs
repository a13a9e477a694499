//! DDL while writers run: the targets follow, in order with the data.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tripline::table::quote_ident;

use crate::db::{rows, run, value};
use crate::pipeline::harness::Pipeline;
use crate::pipeline::load::seed;

/// The application: writers that know `id` and `n` of the table `t`.
pub(super) struct Writers {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<usize>>,
}

impl Writers {
    pub(super) async fn start(pipeline: &Pipeline, count: u64, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for number in 0..count {
            let client = pipeline.source.connect().await;
            let random = StdRng::seed_from_u64(seed.wrapping_add(number));
            tasks.push(tokio::spawn(write(client, random, Arc::clone(&stop))));
        }
        Self { stop, tasks }
    }

    /// Ends the writers, none of which has seen an error that is not its own; returns how many transactions they committed.
    pub(super) async fn finish(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let mut committed = 0;
        for task in self.tasks {
            committed += task.await.unwrap();
        }
        committed
    }
}

async fn write(client: Client, mut random: StdRng, stop: Arc<AtomicBool>) -> usize {
    let mut committed = 0;
    while !stop.load(Ordering::Relaxed) {
        let statements: String = (0..random.random_range(1..4)).map(|_| statement(&mut random)).collect();
        let end = if random.random_ratio(1, 8) { "rollback" } else { "commit" };
        match client.batch_execute(&format!("begin; {statements} {end}")).await {
            Ok(()) => committed += 1,
            Err(error) => {
                let code = error.code().map(|code| code.code().to_owned());
                let own = matches!(code.as_deref(), Some("40P01" | "23505"));
                assert!(own, "a statement of the application failed: {error:?}\n{statements}");
                client.batch_execute("rollback").await.unwrap();
            }
        }
        tokio::task::yield_now().await;
    }
    committed
}

fn statement(random: &mut StdRng) -> String {
    let (id, other) = (random.random_range(1..=60), random.random_range(1..=60));
    let n = random.random_range(0..30_000);
    match random.random_range(0..8) {
        0..=3 => format!("insert into t (id, n) values ({id}, {n}) on conflict (id) do update set n = {n};"),
        4 => format!("update t set n = n / 2 where id between {id} and {id} + 5;"),
        5 => format!("update t set id = {id} + 60 where id = {other};"),
        _ => format!("delete from t where id in ({id}, {other} + 60);"),
    }
}

/// Waits until everything is applied and compares all captured tables, column by column by name, in both targets.
pub(super) async fn assert_equal(pipeline: &Pipeline, what: &str) -> usize {
    pipeline.caught_up().await;
    let mut compared = 0;
    let captured = "select schema_name, table_name, relation from cdc.tables order by 1, 2";
    for table in rows(&pipeline.from, captured).await {
        let columns = format!(
            "select attname from pg_attribute where attrelid = {} and attnum > 0 and not attisdropped order by 1",
            table[2]
        );
        let columns: Vec<String> =
            rows(&pipeline.from, &columns).await.iter().map(|row| quote_ident(&row[0])).collect();
        let name = format!("{}.{}", quote_ident(&table[0]), quote_ident(&table[1]));
        let sql = format!("select row({})::text from {name}", columns.join(", "));
        let (mut here, mut there) = (rows(&pipeline.from, &sql).await, rows(&pipeline.to, &sql).await);
        here.sort();
        there.sort();
        assert_eq!(here, there, "{name} after {what}");
        compared += here.len();
    }
    let verified = pipeline.command("verify").await;
    assert_eq!(verified.code, Some(0), "verify after {what}:\n{}", verified.text);
    compared
}

pub(super) const SCHEMA: &str = "create type mood as enum ('sad', 'ok');
    create table t (id int primary key, n int, v varchar(10) default 'v', p numeric(10,2) default 1.5, m mood default 'ok')";

/// Statements for one session, each list entry one transaction, with writers beside them.
const SCENARIOS: &[&str] = &[
    "alter table t add column a int",
    "begin; alter table t add column b text not null default 'it''s'; update t set b = 'new' where id % 2 = 0; commit",
    "update t set a = id",
    "alter table t rename column a to c",
    "begin; alter table t drop column c; alter table t add column c text default 'x'; update t set c = 'y' where id % 3 = 0; commit",
    "alter table t alter column n type bigint",
    "alter table t alter column v type varchar(20)",
    "alter table t alter column v type text",
    "alter table t alter column p type numeric(14,4)",
    "begin; alter table t rename column b to tmp; update t set tmp = 'between'; alter table t rename column tmp to b;
     update t set b = 'behind' where id % 2 = 1; commit",
    "begin; alter table t rename column b to x; alter table t rename column c to b; alter table t rename column x to c; commit",
    "begin; alter table t add column gone int default 3; update t set gone = 4; rollback",
    "alter type mood add value 'great'",
    "update t set m = 'great' where id % 5 = 0",
    "alter table t add column r double precision default random()",
    "alter table t add column i int generated by default as identity",
    "alter table t alter column c type text using upper(c)",
    "alter table t drop column r, drop column i, add column z jsonb default '{\"a\": [1, null]}'",
    "create table more (id int primary key, v text); insert into more select n, 'x' from generate_series(1, 20) n",
    "begin; drop table more; create table more (id int primary key, w text); insert into more values (1, 'again'); commit",
    "create table filled as select n as id, 'x' as v from generate_series(1, 30) n; alter table filled add primary key (id)",
    "alter table filled rename to renamed; insert into renamed values (99, 'behind')",
    "drop table renamed",
];

/// Runs a scenario until it commits: now and then PostgreSQL chooses it of two transactions that wait for each other.
async fn commit(client: &Client, scenario: &str) {
    while let Err(error) = client.batch_execute(scenario).await {
        assert_eq!(error.code(), Some(&SqlState::T_R_DEADLOCK_DETECTED), "{scenario}: {error:?}");
        run(client, "rollback").await;
    }
}

/// Runs all scenarios with writers beside them; `kills` kills the daemon behind every fourth one.
async fn through(settings: &[(&str, &str)], kills: bool) {
    let pipeline = Pipeline::create(settings, SCHEMA).await;
    pipeline.init().await;
    let mut daemon = pipeline.start_ready("run").await;
    let writers = Writers::start(&pipeline, 2, seed()).await;
    let ddl = pipeline.source.connect().await;
    for (number, scenario) in SCENARIOS.iter().enumerate() {
        commit(&ddl, scenario).await;
        let broken = value(&ddl, "select string_agg(broken, ',') from cdc.tables").await;
        assert_eq!(broken, "∅", "{scenario}");
        if kills && number % 4 == 3 {
            daemon.kill9();
            daemon = pipeline.start("run");
        }
    }
    let committed = writers.finish().await;
    let compared = assert_equal(&pipeline, "all of it").await;
    println!("{committed} transactions, {compared} rows compared");
    // A second `init` finds everything as it should be.
    assert!(pipeline.fine("init").await.contains("unchanged"));
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ddl_reaches_both_targets_in_order_with_the_data() {
    through(&[], false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ddl_inside_long_passes_survives_kills() {
    through(&[("tail.window_rows", "7")], true).await;
}
