//! Adversarial writers: what applications do to a source at their worst, from one seed.
//!
//! Two tables, `public.a` and `public.b` (`id int` key, `v text`), plain or partitioned, and those of [`ledger`], whose
//! rows belong together. Statements that fail for a reason of the game (deadlock, serialization, unique key, …) are
//! counted; any other error fails the test.

mod hostile;
mod ledger;

use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, NoTls};
use tripline::table::{quote_ident, quote_literal};

pub(crate) use hostile::{policies, user_triggers};
pub(crate) use ledger::LEDGER;

/// Keys that the writers fight for: 1 to this.
const KEYS: i32 = 60;
/// How far a key change moves a row: into the other partition where there are two.
const MOVE: i32 = 1_000;
/// Bulk statements use the keys from here on.
const BULK: i32 = 2_000;
/// What makes text worth quoting.
const SUFFIXES: [&str; 8] = ["", "", "", "\t", "\\N", "\"q\"", "é\nß", "'"];

/// The tables, before anything is captured; with `partitioned` each has two partitions.
pub(crate) fn tables(partitioned: bool) -> String {
    let table = |t: &str| match partitioned {
        false => format!("create table {t} (id int primary key, v text);"),
        true => format!(
            "create table {t} (id int primary key, v text) partition by range (id);
             create table {t}_low partition of {t} for values from (minvalue) to ({MOVE});
             create table {t}_high partition of {t} for values from ({MOVE}) to (maxvalue);"
        ),
    };
    table("a") + &table("b")
}

/// Rolls back what prepared transactions of this database are left: it cannot be dropped before.
async fn forget_prepared(client: &Client) {
    let others = "select pg_terminate_backend(pid, 10000) from pg_stat_activity \
         where datname = current_database() and pid <> pg_backend_pid()";
    client.batch_execute(others).await.unwrap();
    let left = "select gid from pg_prepared_xacts where database = current_database()";
    for row in client.query(left, &[]).await.unwrap() {
        let gid = quote_literal(row.get(0));
        client.batch_execute(&format!("rollback prepared {gid}")).await.unwrap();
    }
}

/// Rolls back prepared transactions that a failed test leaves in the database of this URL, so that it can be dropped.
pub(crate) struct Orphans(pub(crate) String);

impl Drop for Orphans {
    fn drop(&mut self) {
        let url = self.0.clone();
        // A runtime of its own: the test's may be unwinding, and cannot be waited for from inside.
        let cleaned = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { forget_prepared(&connect(&url).await).await });
        });
        assert!(cleaned.join().is_ok() || std::thread::panicking(), "prepared transactions are left");
    }
}

/// Returns the seeds to run, from `TRIPLINE_TEST_SEEDS`: a list of numbers and ranges.
pub(crate) fn seeds(default: &str) -> Vec<u64> {
    let text = std::env::var("TRIPLINE_TEST_SEEDS").unwrap_or_else(|_| default.into());
    let number = |text: &str| text.trim().parse::<u64>().expect("TRIPLINE_TEST_SEEDS: numbers and ranges");
    let range = |part: &str| match part.split_once('-') {
        Some((first, last)) => number(first)..=number(last),
        None => number(part)..=number(part),
    };
    text.split(',').flat_map(range).collect()
}

/// Returns how long a run lasts, from `TRIPLINE_TEST_SECONDS`.
pub(crate) fn lasting() -> Duration {
    let seconds = std::env::var("TRIPLINE_TEST_SECONDS").unwrap_or_else(|_| "4".into());
    Duration::from_secs_f64(seconds.parse().expect("TRIPLINE_TEST_SECONDS: a number"))
}

/// What the writers do.
#[derive(Debug, Clone)]
pub(crate) struct Workload {
    /// The database.
    pub(crate) url: String,
    /// Decides every choice; the interleaving remains the machine's.
    pub(crate) seed: u64,
    /// Concurrent writers.
    pub(crate) writers: u64,
    /// How long each rests between two transactions.
    pub(crate) rest: Duration,
    /// How long they begin new transactions.
    pub(crate) lasting: Duration,
    /// Rows of a bulk statement.
    pub(crate) bulk_rows: i32,
    /// Share of the transactions that are repeatable read, 0 to 1.
    pub(crate) repeatable_read: f64,
    /// The tables are partitioned: some statements go to a partition directly.
    pub(crate) partitioned: bool,
    /// Half of the statements go to the tables of [`LEDGER`].
    pub(crate) ledger: bool,
    /// [`user_triggers`] are there, with the functions that a part of the statements calls.
    pub(crate) hostile: bool,
    /// Every other writer has this role, to which [`policies`] apply.
    pub(crate) role: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) commits: u64,
    pub(crate) aborts: u64,
    pub(crate) prepared: u64,
    pub(crate) deadlocks: u64,
    pub(crate) errors: u64,
}

impl AddAssign for Outcome {
    fn add_assign(&mut self, other: Self) {
        self.commits += other.commits;
        self.aborts += other.aborts;
        self.prepared += other.prepared;
        self.deadlocks += other.deadlocks;
        self.errors += other.errors;
    }
}

/// Writers at work; dropping it stops them.
#[derive(Debug)]
pub(crate) struct Running {
    writers: JoinSet<Outcome>,
    stop: Arc<AtomicBool>,
}

impl Running {
    /// Tells whether all writers have ended.
    pub(crate) fn is_over(&mut self, total: &mut Outcome) -> bool {
        while let Some(ended) = self.writers.try_join_next() {
            *total += ended.expect("a writer met only the errors of the game");
        }
        self.writers.is_empty()
    }

    /// Lets the writers end the transactions that they are in.
    pub(crate) async fn finish(mut self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        let mut total = Outcome::default();
        while let Some(ended) = self.writers.join_next().await {
            total += ended.expect("a writer met only the errors of the game");
        }
        total
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

impl Workload {
    /// Starts the writers.
    pub(crate) async fn start(&self) -> Running {
        let resolver = Arc::new(connect(&self.url).await);
        let version = "select current_setting('server_version_num')::int >= 150000";
        let merges = resolver.query_one(version, &[]).await.unwrap().get(0);
        let (mut writers, stop) = (JoinSet::new(), Arc::new(AtomicBool::new(false)));
        for number in 0..self.writers {
            let writer = Writer {
                client: self.writer(number).await,
                merges,
                resolver: Arc::clone(&resolver),
                rng: StdRng::seed_from_u64(self.seed.wrapping_mul(1_000).wrapping_add(number)),
                number,
                transaction: 0,
                workload: self.clone(),
                stop: Arc::clone(&stop),
            };
            writers.spawn(writer.run(Instant::now() + self.lasting));
        }
        Running { writers, stop }
    }

    /// Opens a writer's session.
    async fn writer(&self, number: u64) -> Client {
        let client = connect(&self.url).await;
        // Deadlocks are part of the game: found early, there are more of them.
        client.batch_execute("set deadlock_timeout = '50ms'").await.unwrap();
        if let Some(role) = self.role.as_ref().filter(|_| number % 2 == 1) {
            client.batch_execute(&format!("set role {}", quote_ident(role))).await.unwrap();
        }
        client
    }
}

/// How a transaction ended.
enum End {
    Commit,
    Abort,
    Prepared,
}

struct Writer {
    client: Client,
    /// Ends prepared transactions: a session of its own.
    resolver: Arc<Client>,
    rng: StdRng,
    number: u64,
    transaction: u64,
    workload: Workload,
    /// The server knows MERGE.
    merges: bool,
    stop: Arc<AtomicBool>,
}

impl Writer {
    async fn run(mut self, until: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        while Instant::now() < until && !self.stop.load(Ordering::Relaxed) {
            self.transaction += 1;
            tokio::time::sleep(self.workload.rest).await;
            match self.transact().await {
                Ok(End::Commit) => outcome.commits += 1,
                Ok(End::Abort) => outcome.aborts += 1,
                Ok(End::Prepared) => outcome.prepared += 1,
                Err(error) => {
                    outcome.errors += 1;
                    outcome.deadlocks += u64::from(error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED));
                    assert!(is_expected(&error), "a writer's statement failed: {error:?}");
                    self.client.batch_execute("rollback").await.unwrap();
                }
            }
        }
        outcome
    }

    async fn transact(&mut self) -> Result<End, Error> {
        let repeatable = self.rng.random_bool(self.workload.repeatable_read);
        let isolation = if repeatable { "repeatable read" } else { "read committed" };
        let commit = if self.rng.random_bool(0.2) { "off" } else { "on" };
        self.client
            .batch_execute(&format!(
                "begin isolation level {isolation}; set local synchronous_commit = {commit}"
            ))
            .await?;
        for _ in 0..*[1, 1, 1, 2, 3, 5].choose(&mut self.rng).unwrap() {
            let statement = self.statement(repeatable);
            let savepoint = self.rng.random_bool(0.15);
            if savepoint {
                self.client.batch_execute("savepoint s").await?;
            }
            self.client.batch_execute(&statement).await?;
            if savepoint && self.rng.random_bool(0.7) {
                self.client.batch_execute("rollback to savepoint s").await?;
            }
            let pause = match self.rng.random::<f64>() {
                y if y < 0.003 => 1.2,
                y if y < 0.1 => self.rng.random::<f64>() * 0.03,
                _ => continue,
            };
            tokio::time::sleep(Duration::from_secs_f64(pause)).await;
        }
        match self.rng.random::<f64>() {
            y if y < 0.15 => self.client.batch_execute("rollback").await.map(|()| End::Abort),
            y if y < 0.18 => self.two_phases().await.map(|()| End::Prepared),
            _ => self.client.batch_execute("commit").await.map(|()| End::Commit),
        }
    }

    async fn two_phases(&mut self) -> Result<(), Error> {
        // The names of prepared transactions are the cluster's: the session's own number keeps them apart.
        let pid: i32 = self.client.query_one("select pg_backend_pid()", &[]).await?.get(0);
        let gid = quote_literal(&format!("{pid}.{}.{}", self.number, self.transaction));
        self.client.batch_execute(&format!("prepare transaction {gid}")).await?;
        tokio::time::sleep(Duration::from_secs_f64(self.rng.random::<f64>() * 0.2)).await;
        let verb = if self.rng.random_bool(0.7) { "commit" } else { "rollback" };
        self.resolver.batch_execute(&format!("{verb} prepared {gid}")).await
    }

    fn value(&mut self) -> String {
        if self.rng.random_bool(0.03) {
            return "null".into();
        }
        let suffix = SUFFIXES.choose(&mut self.rng).unwrap();
        quote_literal(&format!("w{}.{}.{}{suffix}", self.number, self.transaction, self.rng.random::<u32>()))
    }

    /// Returns the next statement.
    fn statement(&mut self, repeatable: bool) -> String {
        // Few do what hits every row, or they would do little else.
        let heavy = self.number < 2 && self.rng.random_bool(0.02);
        if self.workload.ledger && self.rng.random() {
            let value = self.value();
            return match heavy {
                true => ledger::heavy(&mut self.rng, self.workload.bulk_rows),
                false => ledger::unit(&mut self.rng, &value),
            };
        }
        if heavy {
            return self.heavy(repeatable);
        }
        let (t, other) = if self.rng.random() { ("a", "b") } else { ("b", "a") };
        let k = self.rng.random_range(1..=KEYS);
        let v = self.value();
        let leaf = if self.workload.partitioned && self.rng.random_bool(0.2) { "_low" } else { "" };
        if self.workload.hostile && self.rng.random_bool(0.3) {
            return hostile::statement(&mut self.rng, [t, other], [k, KEYS], &v, self.merges);
        }
        let last = k + [0, 0, 3].choose(&mut self.rng).unwrap();
        match self.rng.random::<f64>() {
            x if x < 0.40 => format!(
                "insert into {t}{leaf} values ({k}, {v}) on conflict (id) do update set v = excluded.v"
            ),
            x if x < 0.66 => format!("update {t}{leaf} set v = {v} where id between {k} and {last}"),
            x if x < 0.78 => format!("delete from {t}{leaf} where id between {k} and {last}"),
            x if x < 0.87 => moved(t, k, last, MOVE),
            x if x < 0.96 => moved(t, k + MOVE, last + MOVE, -MOVE),
            _ => format!(
                "with d as (delete from {t} where id between {k} and {last} returning id, v) \
                 insert into {other} select id, v from d on conflict (id) do update set v = excluded.v"
            ),
        }
    }

    fn heavy(&mut self, repeatable: bool) -> String {
        let t = ["a", "b"].choose(&mut self.rng).unwrap();
        let (v, last) = (self.value(), BULK + self.workload.bulk_rows - 1);
        match self.rng.random_range(0..6) {
            0 | 1 => format!(
                "insert into {t} select g, {v} from generate_series({BULK}, {last}) g \
                 on conflict (id) do update set v = excluded.v"
            ),
            2 => format!("update {t} set v = {v} where id >= {BULK} or id % 10 = 0"),
            3 | 4 => format!("delete from {t} where id >= {BULK}"),
            // Where a partition's rows cannot all be seen, the table is copied anew, also when all of it is truncated, and the
            // replica is right only behind that.
            _ if self.workload.partitioned && repeatable => format!("delete from {t}"),
            _ => {
                let leaf = match (self.workload.partitioned, self.rng.random_range(0..3)) {
                    (true, 0) => "_low",
                    (true, 1) => "_high",
                    _ => "",
                };
                format!("set local lock_timeout = '200ms'; truncate {t}{leaf}")
            }
        }
    }
}

/// Changes the keys of rows, of those whose new key is free.
fn moved(t: &str, first: i32, last: i32, by: i32) -> String {
    format!(
        "update {t} set id = id + {by} where id between {first} and {last} \
         and not exists (select from {t} x where x.id = {t}.id + {by})"
    )
}

/// Tells whether an error is one that concurrent writers must expect.
fn is_expected(error: &Error) -> bool {
    let expected = [
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::UNIQUE_VIOLATION,
        SqlState::FOREIGN_KEY_VIOLATION,
        SqlState::LOCK_NOT_AVAILABLE,
        // A row that a trigger of the same statement has changed already.
        SqlState::TRIGGERED_DATA_CHANGE_VIOLATION,
        SqlState::CARDINALITY_VIOLATION,
        // As many prepared transactions as the server allows.
        SqlState::OUT_OF_MEMORY,
    ];
    // What a policy forbids; a right that is missing would be a mistake of the test's.
    let forbidden =
        error.as_db_error().is_some_and(|error| error.message().contains("row-level security policy"));
    forbidden || error.code().is_some_and(|code| expected.contains(code))
}
