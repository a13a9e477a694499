//! Passes under adversarial writers: nothing lost, twice or out of order, and after every pass the replica is what the
//! source was at T. `TRIPLINE_TEST_SEEDS` (for example `17` or `1-50`) and `TRIPLINE_TEST_SECONDS` (per run) say more.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Semaphore;
use tokio_postgres::{Client, SimpleQueryMessage};
use tripline::position::{Anchor, Identity, Snapshot};
use tripline::table::CaptureMode;
use tripline::tail::Tail;

use super::replica::{Faults, Replica, State};
use super::{PATIENCE, Source, anchors_of};
use crate::db::{TestDb, Which, rows, run};
use crate::workload::{Outcome, Workload, lasting, policies, seeds, tables, user_triggers};

const TABLES: [&str; 2] = ["a", "b"];
/// Share of repeatable read transactions.
const REPEATABLE_READ: f64 = 0.1;
/// Runs at a time, whatever the number of cores: each has 15 sessions.
static RUNS: Semaphore = Semaphore::const_new(2);

/// A session that reads the source's tables in the snapshot of a pass.
struct Witness(Client);

impl Witness {
    /// Opens a transaction and locks the tables, before T is taken: TRUNCATE is not MVCC, so one that commits between
    /// T and the reading would show tables that T did not.
    async fn prepare(&self) {
        run(
            &self.0,
            "rollback; begin isolation level repeatable read read only; lock table a, b in access share mode",
        )
        .await;
    }

    /// Reads the tables in the snapshot of `tail`'s open transaction.
    async fn state(&self, tail: &Tail) -> State {
        let exported = rows(tail.client(), "select pg_export_snapshot()").await.swap_remove(0).swap_remove(0);
        run(&self.0, &format!("set transaction snapshot '{exported}'")).await;
        let mut state = State::new();
        for table in TABLES {
            let answer = self.0.simple_query(&format!("select id, v from {table}")).await.unwrap();
            let row = |message: &SimpleQueryMessage| match message {
                SimpleQueryMessage::Row(row) => {
                    Some((row.get(0).unwrap().parse().unwrap(), row.get(1).map(str::to_owned)))
                }
                _ => None,
            };
            state.insert(table.into(), answer.iter().filter_map(row).collect());
        }
        self.dismiss().await;
        state
    }

    async fn dismiss(&self) {
        run(&self.0, "rollback").await;
    }
}

/// A run under way.
struct Run {
    source: Source,
    tail: Tail,
    identity: Identity,
    witness: Witness,
    replica: Replica,
    /// The last rows handed out, as the offset file keeps them.
    anchors: Vec<Anchor>,
    /// What the source was at T of the present pass.
    truth: Option<(Snapshot, State)>,
    rng: StdRng,
    passes: u64,
    restarts: u64,
    rescanned: u64,
}

impl Run {
    /// Reads one window, if there is one, perhaps with a crash before, in the middle or behind.
    async fn step(&mut self) {
        let between = self.tail.position().inside.is_none();
        if between {
            self.witness.prepare().await;
        }
        let Some(pass) = self.tail.open().await.unwrap() else {
            self.witness.dismiss().await;
            return;
        };
        if pass.is_first() {
            self.truth = Some((pass.until().clone(), self.witness.state(&self.tail).await));
            self.rescanned += self.replica.highest().saturating_sub(pass.cursor());
        }
        if self.rng.random_bool(0.01) {
            // Nothing was handed out yet.
            return self.restart().await;
        }
        let (first, until) = (pass.is_first(), pass.until().clone());
        let window = self.tail.read(pass).await.unwrap();
        // A window that is read and never published, because of a crash, must come again.
        if self.rng.random_bool(0.01) {
            return self.restart().await;
        }
        match window {
            Some(window) => {
                self.replica.publish(&window);
                if !window.messages.is_empty() {
                    self.anchors = anchors_of(&window);
                }
                if window.done {
                    self.compare(&until);
                }
            }
            None => {
                assert!(first, "only a whole pass is empty");
                self.compare(&until);
            }
        }
        if self.rng.random_bool(0.02) {
            self.restart().await;
        }
    }

    fn compare(&mut self, until: &Snapshot) {
        let (at, state) = self.truth.take().expect("the first window of a pass shows its truth");
        assert_eq!(&at, until, "a pass ends at the T with which it began");
        self.replica.compare(&at, &state);
        self.passes += 1;
    }

    /// Drops the tail and resumes from what was handed out.
    async fn restart(&mut self) {
        let position = self.replica.position.clone();
        self.tail = self.source.resume(position, Some(&self.identity), &self.anchors).await.unwrap();
        self.restarts += 1;
    }

    /// Tells whether the tail has read all that the writers left.
    async fn has_read_all(&self) -> bool {
        self.tail.position().inside.is_none()
            && self.replica.position.inside.is_none()
            && self.source.unread(&self.tail).await == 0
    }

    /// Returns the ids of all rows of the log.
    async fn log(&self) -> BTreeSet<u64> {
        let sql = "select cdc_id from cdc.a_cdc union all select cdc_id from cdc.b_cdc";
        rows(&self.source.client, sql).await.into_iter().map(|row| row[0].parse().unwrap()).collect()
    }
}

async fn run_case(mode: CaptureMode, user: bool, seed: u64) {
    let partitioned = mode == CaptureMode::Row;
    let window_rows = if seed % 2 == 1 { 25 } else { 5_000 };
    let mut ddl = tables(partitioned);
    let db = TestDb::create(Which::Source).await;
    let mut role = None;
    if user {
        let app = db.role("app").await;
        ddl.push_str(&user_triggers());
        ddl.push_str(&policies(&app));
        role = Some(app);
    }
    let source = Source::capture(db, &ddl, |config| {
        config.tail.window_rows = window_rows;
        if !partitioned {
            config.capture.mode = mode;
        }
    })
    .await;
    source
        .run("insert into a select g, 'first' from generate_series(1, 60) g on conflict do nothing; insert into b select * from a on conflict do nothing")
        .await;
    let tail = source.tail().await;
    let workload = Workload {
        url: source.url().to_owned(),
        seed,
        writers: 12,
        rest: Duration::ZERO,
        lasting: lasting(),
        repeatable_read: REPEATABLE_READ,
        bulk_rows: if window_rows > 1_000 { 6_000 } else { 100 },
        partitioned,
        ledger: false,
        hostile: user,
        role,
    };
    let mut run = Run {
        identity: tail.identity().clone(),
        witness: Witness(source.db.connect().await),
        replica: Replica::new(&TABLES),
        anchors: Vec::new(),
        truth: None,
        rng: StdRng::seed_from_u64(seed),
        passes: 0,
        restarts: 0,
        rescanned: 0,
        source,
        tail,
    };
    let mut outcome = Outcome::default();
    let mut writers = workload.start().await;
    let follow = async {
        while !writers.is_over(&mut outcome) || !run.has_read_all().await {
            run.step().await;
            if run.tail.position().inside.is_none() {
                // Now and then changes pile up.
                let pause = if run.rng.random_bool(0.01) { 200 } else { 2 };
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
        }
    };
    let ended = tokio::time::timeout(lasting() + PATIENCE, follow).await;
    run.replica.account(&run.log().await);
    let replica = &run.replica;
    println!(
        "{mode}{} seed {seed} window_rows {window_rows}: {outcome:?}, log rows {}, windows {}, passes {} all compared, \
         of several windows {}, restarts {}, late rows {}, ids re-scanned per pass {}",
        if user { "+user" } else { "" },
        replica.rows(),
        replica.windows,
        run.passes,
        replica.long_passes,
        run.restarts,
        replica.late,
        run.rescanned / run.passes.max(1),
    );
    assert_eq!(
        replica.faults,
        Faults::default(),
        "seed {seed}: {}",
        replica.first.as_deref().unwrap_or_default()
    );
    assert!(ended.is_ok(), "seed {seed}: the tail does not come to the end");
    assert!(outcome.commits > 0 && run.passes > 0, "seed {seed}: nothing happened");
}

async fn run_cases(mode: CaptureMode, user: bool) {
    for seed in seeds("1,2") {
        let _run = RUNS.acquire().await.unwrap();
        run_case(mode, user, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_are_exact_with_reread() {
    run_cases(CaptureMode::Reread, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_are_exact_with_reread_and_user_triggers() {
    run_cases(CaptureMode::Reread, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_are_exact_with_statement() {
    run_cases(CaptureMode::Statement, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_are_exact_with_row() {
    run_cases(CaptureMode::Row, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_are_exact_with_row_and_user_triggers() {
    run_cases(CaptureMode::Row, true).await;
}
