//! One history: a pipeline under the random workload, watched while it runs and checked when it is over.

use std::fmt;
use std::time::Duration;

use tokio_postgres::Client;
use tripline::config::Delivery;

use super::check::{self, States};
use super::observer::{Observer, Seen};
use crate::db::{rows, run};
use crate::pipeline::harness::Pipeline;
use crate::pipeline::stores;
use crate::workload::{LEDGER, Orphans, Outcome, Running, Workload, policies, tables, user_triggers};

/// librdkafka says so while the coordinator still ends the transaction of one that was killed, and asks again.
const FENCING: &str = "Failed to acquire transactional PID";
/// Writers stop long before this: only a test that hangs reaches it.
const AT_MOST: Duration = Duration::from_secs(3600);

/// A pipeline at work.
pub(super) struct Round {
    seed: u64,
    delivery: Delivery,
    work: Option<Work>,
    _orphans: Orphans,
    pub(super) pipeline: Pipeline,
}

/// Who writes and who looks.
struct Work {
    writers: Running,
    source: Observer,
    destination: Observer,
}

/// What was checked.
#[derive(Debug)]
pub(super) struct Checked {
    outcome: Outcome,
    messages: usize,
    /// Rows compared in three stores.
    compared: usize,
    /// States that rows took at the destination.
    states: usize,
    source: Seen,
    destination: Seen,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} messages checked, {} rows compared, {} applied states checked, {} looks at {} states ({} and {} at the source), {:?}",
            self.messages,
            self.compared,
            self.states,
            self.destination.looks,
            self.destination.states,
            self.source.looks,
            self.source.states,
            self.outcome
        )
    }
}

impl Round {
    /// Makes a pipeline of its own and starts the writers; no daemon yet.
    /// The tables are partitioned at the source when the seed divides by 4.
    pub(super) async fn start(seed: u64, delivery: Delivery, settings: &[(&str, &str)]) -> Self {
        let partitioned = seed.is_multiple_of(4);
        let mut settings = settings.to_vec();
        if delivery == Delivery::AtLeastOnce {
            settings.push(("kafka.delivery", "at_least_once"));
        }
        let schema = tables(partitioned) + LEDGER + &user_triggers();
        let pipeline = Pipeline::create(&settings, &schema).await;
        pipeline.expect(FENCING);
        let app = pipeline.source.role("app").await;
        run(&pipeline.from, &policies(&app)).await;
        run(&pipeline.to, &(tables(false) + LEDGER)).await;
        pipeline.init().await;
        run(&pipeline.to, include_str!("witness.sql")).await;
        for table in stores::tables(&pipeline.from).await {
            // The applier may have turned the others off.
            let sql = format!(
                "create trigger witness after insert or update on {table} for each row execute function witness.note(); \
                 alter table {table} enable always trigger witness"
            );
            run(&pipeline.to, &sql).await;
        }
        run(&pipeline.from, "insert into accounts select g, 0 from generate_series(1, 60) g").await;
        let workload = Workload {
            url: pipeline.source.url(),
            seed,
            writers: 4,
            // The pipeline of a debug build, killed all the time, has to keep up.
            rest: Duration::from_millis(200),
            lasting: AT_MOST,
            bulk_rows: 300,
            repeatable_read: 0.1,
            partitioned,
            ledger: true,
            hostile: true,
            role: Some(app),
        };
        let work = Work {
            writers: workload.start().await,
            source: Observer::start(pipeline.source.connect().await),
            destination: Observer::start(pipeline.destination.connect().await),
        };
        Self { seed, delivery, work: Some(work), _orphans: Orphans(pipeline.source.url()), pipeline }
    }

    /// Lets the writers end, waits until everything is applied by the daemons that run, and checks all of it.
    pub(super) async fn finish(&mut self) -> Checked {
        let Work { writers, source, destination } = self.work.take().expect("it ends once");
        let Self { pipeline, seed, .. } = self;
        let outcome = writers.finish().await;
        let compared = pipeline.compare().await;
        let (source, destination) = (source.finish().await, destination.finish().await);
        assert_eq!(source.broken, [""; 0], "seed {seed}: the workload itself broke what belongs together");
        assert!(
            destination.broken.is_empty(),
            "seed {seed}: {} of {} looks at the destination saw what no commit of the source left, first {}",
            destination.broken.len(),
            destination.looks,
            destination.broken[0]
        );
        let messages = pipeline.topics.assert_published(&pipeline.from, self.delivery).await;
        let states = applied(&pipeline.from, &pipeline.to).await;
        Checked { outcome, messages, compared, states, source, destination }
    }
}

/// Checks that no row at the destination ever went back; returns how many states were checked.
async fn applied(from: &Client, to: &Client) -> usize {
    let mut count = 0;
    for table in stores::tables(from).await {
        let columns = rows(
            from,
            &format!(
                "select string_agg(quote_ident(column_name), ', ' order by ordinal_position) \
                 from information_schema.columns where table_schema = 'public' and table_name = '{table}'"
            ),
        )
        .await
        .swap_remove(0)
        .swap_remove(0);
        let log = format!(
            "select id, row({columns})::text from cdc.{table}_cdc where cdc_op in ('I', 'U') order by cdc_id"
        );
        let noted = format!("select id, state from witness.applied where place = '{table}' order by at");
        let (log, noted) = (states(from, &log).await, states(to, &noted).await);
        check::applied(&log, &noted).unwrap_or_else(|wrong| panic!("{table}: {wrong}"));
        count += noted.values().map(Vec::len).sum::<usize>();
    }
    count
}

async fn states(client: &Client, sql: &str) -> States {
    let mut states = States::new();
    for row in rows(client, sql).await {
        let [id, state] = <[String; 2]>::try_from(row).unwrap();
        states.entry(id).or_default().push(state);
    }
    states
}
