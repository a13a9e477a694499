//! The PostgreSQL target against a real server: every test in its own database.

// Helpers of tests are tests too, which clippy's allow-unwrap-in-tests does not see.
#![allow(clippy::unwrap_used)]

mod appended;
mod basics;
mod conflicts;
mod passes;
mod positions;
mod tables;
mod values;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_postgres::{Client, NoTls};
use tripline::apply::PostgresTarget;
use tripline::config;
use tripline::consume::{Batch, Progress, Target, TargetError};
use tripline::event::{Change, Images, Op};
use tripline::position::Position;
use tripline::table::{Table, TableName, quote_ident};
use tripline::wire::{Cut, Envelope, Fields, Origin, TableEncoder};

/// Describes a table as the registry does.
const DESCRIBE: &str = "
select a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated <> '',
       case when n.nspname <> 'pg_catalog' then 'text'
            when e.oid is not null then e.typname || '[]' else b.typname end,
       coalesce(e.typdelim, ',')::text,
       case when b.typtype = 'e' then array(select enumlabel::text from pg_enum where enumtypid = b.oid
                                            order by enumsortorder) end
from pg_attribute a
join pg_type t on t.oid = a.atttypid
join pg_type b on b.oid = coalesce(nullif(t.typbasetype, 0), t.oid)
join pg_namespace n on n.oid = b.typnamespace
left join pg_type e on e.oid = b.typelem and e.typarray = b.oid
where a.attrelid = $1::text::regclass and a.attnum > 0 and not a.attisdropped
order by a.attnum";

fn server() -> String {
    std::env::var("TRIPLINE_TEST_DESTINATION_URL")
        .unwrap_or_else(|_| "postgresql://postgres@127.0.0.1:5436/postgres".into())
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .unwrap_or_else(|error| panic!("no PostgreSQL for tests (TRIPLINE_TEST_DESTINATION_URL): {error}"));
    tokio::spawn(connection);
    client
        .batch_execute("set search_path = pg_catalog; set bytea_output = hex; set timezone = utc")
        .await
        .unwrap();
    client
}

/// A database of one test, dropped with it.
struct Db {
    name: String,
    url: String,
    client: Client,
}

impl Db {
    async fn new(test: &str) -> Self {
        let name = format!("tripline_apply_{test}_{}", std::process::id());
        let admin = connect(&server()).await;
        admin.batch_execute(&format!("create database {}", quote_ident(&name))).await.unwrap();
        let (base, _) = server().rsplit_once('/').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        let url = format!("{base}/{name}");
        let client = connect(&url).await;
        Self { name, url, client }
    }

    async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    /// Returns the rows of a query, columns joined by `|`, NULL as `~`.
    async fn rows(&self, sql: &str) -> Vec<String> {
        use tokio_postgres::SimpleQueryMessage::Row;
        let answer = self.client.simple_query(sql).await.unwrap();
        let line = |row: &tokio_postgres::SimpleQueryRow| {
            let values: Vec<&str> = (0..row.len()).map(|i| row.get(i).unwrap_or("~")).collect();
            values.join("|")
        };
        answer.iter().filter_map(|m| if let Row(row) = m { Some(line(row)) } else { None }).collect()
    }

    /// Describes a table of this database; `key` are its key columns.
    async fn table(&self, name: &str, version: u32, key: &[&str]) -> Arc<Table> {
        let quoted = TableName::new("public", name).quoted();
        let rows = self.client.query(DESCRIBE, &[&quoted]).await.unwrap();
        let column = |row: &tokio_postgres::Row| tripline::table::Column {
            name: row.get(0),
            declared: row.get(1),
            not_null: row.get(2),
            generated: row.get(3),
            base: row.get(4),
            delimiter: row.get::<_, String>(5).chars().next().unwrap(),
            enum_labels: row.get(6),
            id: 0,
            initial: None,
        };
        let columns = rows.iter().map(column).collect();
        let key = key.iter().map(|key| (*key).to_owned()).collect();
        Arc::new(Table { name: TableName::new("public", name), version, columns, key, relation: 0 })
    }

    /// Creates a table, describes it, and leaves it.
    async fn create(&self, name: &str, columns: &str, key: &[&str]) -> Arc<Table> {
        self.run(&format!("create table {} ({columns})", TableName::new("public", name).quoted())).await;
        self.table(name, 1, key).await
    }

    fn target(&self) -> PostgresTarget {
        PostgresTarget::new(&self.url, "shop", &config::Apply::default())
    }

    /// A target that has resumed.
    async fn resumed(&self) -> PostgresTarget {
        let mut target = self.target();
        target.resume().await.unwrap();
        target
    }

    /// A resumed target of a role that may not set session_replication_role, and owns schema public.
    async fn as_plain_role(&self) -> (PostgresTarget, Role) {
        let role = Role(self.name.clone());
        let name = quote_ident(&self.name);
        self.run(&format!(
            "create role {name} login; grant create on database {name} to {name}; grant all on schema public to {name};
             grant all on all tables in schema public to {name}"
        ))
        .await;
        let url = self.url.replacen("postgres@", &format!("{}@", self.name), 1);
        let mut target = PostgresTarget::new(&url, "shop", &config::Apply::default());
        target.resume().await.unwrap();
        (target, role)
    }
}

/// Runs statements at the server from a destructor.
fn clean(sql: String) {
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { connect(&server()).await.batch_execute(&sql).await.unwrap() });
    };
    std::thread::spawn(work).join().unwrap();
}

impl Drop for Db {
    fn drop(&mut self) {
        clean(format!("drop database if exists {} with (force)", quote_ident(&self.name)));
    }
}

/// A role of one test. Its rights in the database go with that.
struct Role(String);

impl Drop for Role {
    fn drop(&mut self) {
        clean(format!("drop database if exists {0} with (force)", quote_ident(&self.0)));
        clean(format!("drop role {}", quote_ident(&self.0)));
    }
}

static IDS: AtomicU64 = AtomicU64::new(1);

/// Builds a change from a COPY line; `T` needs none.
fn change(table: &Arc<Table>, op: Op, line: &str) -> Change {
    let encoder = TableEncoder::new(table, "shop", "db");
    let fields: Vec<_> = Fields::new(line.as_bytes()).collect();
    let cdc_id = IDS.fetch_add(1, Ordering::Relaxed);
    let origin = Origin { cdc_id, txid: 1, pass: 1, at_micros: 0, now_millis: 0 };
    let (mut key, mut value) = (Vec::new(), Vec::new());
    encoder.key(op, &fields, cdc_id, &mut key).unwrap();
    encoder.value(op, &fields, origin, &mut value).unwrap();
    let Envelope { op, row, .. } = Envelope::read(&value).unwrap();
    Change::new(cdc_id, Arc::clone(table), op, Images::new(&key, &value[row]))
}

fn insert(table: &Arc<Table>, line: &str) -> Change {
    change(table, Op::Insert, line)
}

fn update(table: &Arc<Table>, line: &str) -> Change {
    change(table, Op::Update, line)
}

fn delete(table: &Arc<Table>, line: &str) -> Change {
    change(table, Op::Delete, line)
}

fn truncate(table: &Arc<Table>) -> Change {
    change(table, Op::Truncate, &vec!["\\N"; table.columns.len()].join("\t"))
}

/// A batch that moves topic `t` from `expected` to `next`.
fn batch_at(changes: Vec<Change>, expected: Option<i64>, next: i64) -> Batch {
    let cut = Cut {
        format: tripline::wire::CUT_FORMAT,
        pipeline: "shop".into(),
        epoch: 1,
        pass: 7,
        part: 0,
        done: true,
        restart: false,
        rows: changes.len() as u64,
        source_micros: 1_000_000,
        position: Position::start(),
        system: 1,
        timeline: 1,
        ranges: Vec::new(),
        chunk: None,
    };
    let progress = vec![Progress { topic: "t".into(), partition: 0, expected, next }];
    Batch { changes, cut, progress, bytes: 0, commit: true, covered: 0, sweeps: Vec::new(), thinned: false }
}

/// Applies changes behind whatever was applied before.
async fn apply(db: &Db, target: &mut PostgresTarget, changes: Vec<Change>) -> Result<(), TargetError> {
    let stored = db.rows("select next_offset from tripline.positions where topic = 't'").await;
    let expected = stored.first().map(|offset| offset.parse().unwrap());
    target.apply(&batch_at(changes, expected, expected.unwrap_or(0) + 1)).await
}

/// The whole chain of an error's messages.
fn chain(error: &TargetError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
