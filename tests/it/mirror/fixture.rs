//! A database for each test, batches made as the publisher makes them, and a store in memory.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use clickhouse::Client;
use tripline::config::{self, OutOfRange};
use tripline::consume::{Batch, Positions, Progress, Target, TargetError};
use tripline::event::{Change, Images, Op};
use tripline::mirror::{ClickHouseTarget, Policies, ProgressStore};
use tripline::position::Position;
use tripline::table::{Column, Table, TableName};
use tripline::wire::{Cut, Envelope, Fields, Origin, TableEncoder};

/// A database of its own.
#[derive(Clone)]
pub(crate) struct Database {
    pub(crate) url: String,
    pub(crate) name: String,
    client: Client,
}

impl Database {
    pub(crate) async fn try_read(&self, sql: &str) -> Result<String, clickhouse::error::Error> {
        let bytes = self.client.query_raw(sql).fetch_bytes("TabSeparated")?.collect().await?;
        Ok(String::from_utf8(bytes.into()).unwrap())
    }

    pub(crate) async fn read(&self, sql: &str) -> String {
        self.try_read(sql).await.unwrap()
    }

    pub(crate) async fn run(&self, sql: &str) {
        self.client.query_raw(sql).execute().await.unwrap();
    }

    pub(crate) fn config(&self) -> config::ClickHouse {
        config::ClickHouse { url: self.url.clone(), database: self.name.clone(), ..Default::default() }
    }
}

/// Runs a test with a database that is dropped afterwards, also when the test fails.
pub(crate) async fn with_database<F>(test: impl FnOnce(Database) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let url = std::env::var("TRIPLINE_TEST_CLICKHOUSE_URL").unwrap_or("http://127.0.0.1:8123".into());
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("it-mirror {}-{number}", std::process::id());
    let client = Client::default().with_url(&url);
    if let Err(error) = client.query_raw("SELECT 1").fetch_one::<u8>().await {
        panic!("no ClickHouse at {url} ({error}): run scripts/services.sh up");
    }
    let quoted = format!("`{name}`");
    client.query_raw(&format!("DROP DATABASE IF EXISTS {quoted} SYNC")).execute().await.unwrap();
    let database =
        Database { url: url.clone(), name: name.clone(), client: client.clone().with_database(&name) };
    let outcome = tokio::spawn(test(database)).await;
    client.query_raw(&format!("DROP DATABASE IF EXISTS {quoted} SYNC")).execute().await.unwrap();
    if let Err(failed) = outcome {
        std::panic::resume_unwind(failed.into_panic());
    }
}

/// Progress in memory, shared with the test.
#[derive(Clone, Default)]
pub(crate) struct MemoryStore(Arc<Mutex<Positions>>);

impl ProgressStore for MemoryStore {
    async fn load(&mut self) -> Result<Positions, TargetError> {
        Ok(self.0.lock().unwrap().clone())
    }

    async fn save(&mut self, progress: &[Progress]) -> Result<(), TargetError> {
        let mut positions = self.0.lock().unwrap();
        for step in progress {
            positions.insert((step.topic.clone(), step.partition), step.next);
        }
        Ok(())
    }
}

/// A target and the batches for it.
pub(crate) struct Fixture {
    pub(crate) target: ClickHouseTarget<MemoryStore>,
    next: i64,
}

const CUTS: &str = "shop.tripline.cuts";

impl Fixture {
    /// Starts a target; its progress is empty.
    pub(crate) async fn new(db: &Database) -> Self {
        Self::through(db, &db.url).await
    }

    /// Starts a target that reaches the server by another address.
    pub(crate) async fn through(db: &Database, url: &str) -> Self {
        let config = config::ClickHouse { url: url.into(), ..db.config() };
        let mut target = ClickHouseTarget::new(&config, MemoryStore::default());
        assert!(target.resume().await.unwrap().positions.is_empty());
        Self { target, next: 0 }
    }

    /// Starts a target that keeps values outside their types' ranges as the policy says.
    pub(crate) async fn keeping(db: &Database, policy: OutOfRange) -> Self {
        let mut config = config::Config::default();
        config.mirror.out_of_range = policy;
        let Self { target, next } = Self::new(db).await;
        Self { target: target.with_policies(Policies::new(&config)), next }
    }

    /// What the store holds once the last batch is applied.
    pub(crate) fn expected_positions(&self) -> Positions {
        [((CUTS.to_owned(), 0), self.next)].into()
    }

    pub(crate) fn batch(&mut self, table: &Arc<Table>, changes: &[(u64, Op, &str)]) -> Batch {
        let changes: Vec<_> = changes.iter().map(|&(cdc_id, op, line)| (table, cdc_id, op, line)).collect();
        self.batch_of(&changes)
    }

    pub(crate) fn batch_of(&mut self, changes: &[(&Arc<Table>, u64, Op, &str)]) -> Batch {
        let changes: Vec<Change> = changes.iter().map(|&(t, id, op, line)| change(t, id, op, line)).collect();
        let expected = (self.next > 0).then_some(self.next);
        self.next += 1;
        let cut = Cut {
            format: tripline::wire::CUT_FORMAT,
            pipeline: "shop".into(),
            epoch: 1,
            pass: self.next as u64,
            part: 0,
            done: true,
            restart: false,
            rows: changes.len() as u64,
            source_micros: 0,
            position: Position::start(),
            system: 1,
            timeline: 1,
            ranges: Vec::new(),
            chunk: None,
        };
        let progress = vec![Progress { topic: CUTS.into(), partition: 0, expected, next: self.next }];
        let bytes = changes.iter().map(|change| change.bytes()).sum();
        Batch { bytes, changes, cut, progress, commit: true, covered: 0, sweeps: Vec::new(), thinned: false }
    }

    /// Returns what the store holds.
    pub(crate) async fn target_positions(&mut self) -> Positions {
        self.target.resume().await.unwrap().positions
    }

    /// Prepares and applies a batch of one table's changes: `cdc_id`, operation, COPY line.
    pub(crate) async fn apply(
        &mut self,
        table: &Arc<Table>,
        changes: &[(u64, Op, &str)],
    ) -> Result<(), TargetError> {
        let batch = self.batch(table, changes);
        self.target.prepare(table).await?;
        self.target.apply(&batch).await
    }
}

fn change(table: &Arc<Table>, cdc_id: u64, op: Op, line: &str) -> Change {
    let encoder = TableEncoder::new(table, "shop", "shop");
    let fields: Vec<_> = Fields::new(line.as_bytes()).collect();
    let (mut key, mut value) = (Vec::new(), Vec::new());
    let origin = Origin { cdc_id, txid: 1, pass: 1, at_micros: 0, now_millis: 0 };
    encoder.key(op, &fields, cdc_id, &mut key).unwrap();
    encoder.value(op, &fields, origin, &mut value).unwrap();
    let Envelope { op, row, .. } = Envelope::read(&value).unwrap();
    Change::new(cdc_id, Arc::clone(table), op, Images::new(&key, &value[row]))
}

/// Makes a table from `schema.name` and columns of the form `name declared base !` (not null) or `?`.
pub(crate) fn table(name: &str, version: u32, key: &[&str], columns: &str) -> Arc<Table> {
    let (schema, name) = name.split_once('.').unwrap();
    let columns = columns.split(", ").map(|column| {
        let mut words: Vec<&str> = column.split(' ').collect();
        let (null, base) = (words.pop().unwrap(), words.pop().unwrap());
        Column {
            name: words[0].into(),
            declared: words[1..].join(" "),
            base: base.into(),
            delimiter: ',',
            not_null: null == "!",
            enum_labels: words[1].starts_with("public.").then(|| vec!["a".into()]),
            generated: false,
            id: 0,
            initial: None,
        }
    });
    let key = key.iter().map(|&name| name.to_owned()).collect();
    Arc::new(Table {
        name: TableName::new(schema, name),
        version,
        columns: columns.collect(),
        key,
        relation: 0,
    })
}

pub(crate) fn orders() -> Arc<Table> {
    table("public.orders", 1, &["id"], "id bigint int8 !, name text text !, total numeric(12,2) numeric ?")
}
