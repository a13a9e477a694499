//! The tail against a real server: passes under adversarial writers, and its promises one by one.

mod adversary;
pub(crate) mod halts;
mod idle;
mod late;
mod replica;
mod shapes;

use std::time::Duration;

use tokio_postgres::Client;
use tripline::capture::{self, InitOptions};
use tripline::config::Config;
use tripline::position::{Anchor, Identity, Position};
use tripline::tail::{Message, Tail, TailError, Window};
use tripline::wire::{Envelope, Row};

use crate::db::{TestDb, Which, run, value};
use crate::workload::Orphans;

/// Longest wait for a condition that must come true.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A captured database. Fields are dropped in this order.
pub(crate) struct Source {
    /// A session for the test itself.
    pub(crate) client: Client,
    orphans: Orphans,
    pub(crate) db: TestDb,
    pub(crate) config: Config,
}

/// Returns the url of a test's database.
fn url_of(db: &TestDb) -> String {
    let server = std::env::var("TRIPLINE_TEST_SOURCE_URL")
        .unwrap_or_else(|_| "postgresql://postgres@127.0.0.1:5435/postgres".into());
    let (address, _) = server.rsplit_once('/').expect("the test url ends with /database");
    format!("{address}/{}", db.name)
}

impl Source {
    /// Runs `ddl` in a database of its own and captures `public.*`.
    pub(crate) async fn create(ddl: &str, adjust: impl FnOnce(&mut Config)) -> Self {
        Self::capture(TestDb::create(Which::Source).await, ddl, adjust).await
    }

    /// Runs `ddl` in a database and captures `public.*`.
    pub(crate) async fn capture(db: TestDb, ddl: &str, adjust: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config { pipeline: "passes".into(), ..Config::default() };
        config.source.tables = vec!["public.*".into()];
        adjust(&mut config);
        let mut client = db.connect().await;
        run(&client, ddl).await;
        capture::init(&mut client, &config, InitOptions::default()).await.unwrap();
        Self { client, orphans: Orphans(url_of(&db)), db, config }
    }

    /// A database with `t (id int, v text)`.
    pub(crate) async fn simple() -> Self {
        Self::create("create table t (id int primary key, v text)", |_| ()).await
    }

    pub(crate) fn url(&self) -> &str {
        &self.orphans.0
    }

    pub(crate) async fn run(&self, sql: &str) {
        run(&self.client, sql).await;
    }

    /// A tail that has read nothing yet.
    pub(crate) async fn tail(&self) -> Tail {
        self.resume(Position::start(), None, &[]).await.unwrap()
    }

    pub(crate) async fn resume(
        &self,
        position: Position,
        known: Option<&Identity>,
        anchors: &[Anchor],
    ) -> Result<Tail, TailError> {
        Tail::connect(&self.config, self.url(), position, known, anchors).await
    }

    /// Returns how many rows of the log of `tail`'s tables its base snapshot does not show.
    async fn unread(&self, tail: &Tail) -> u64 {
        let base = &tail.position().base;
        let counts: Vec<String> = tail
            .tables()
            .iter()
            .map(|table| {
                let log = table.log_table.quoted();
                format!("select count(*) from {log} where not pg_visible_in_snapshot(cdc_txid, '{base}')")
            })
            .collect();
        let sql = format!("select sum(count) from ({}) x", counts.join(" union all "));
        value(&self.client, &sql).await.parse().unwrap()
    }

    /// Polls until the base snapshot shows every committed row of the log; returns the windows on the way.
    pub(crate) async fn drain(&self, tail: &mut Tail) -> Vec<Window> {
        let mut windows = Vec::new();
        let all_read = async {
            loop {
                windows.extend(tail.poll().await.unwrap());
                if tail.position().inside.is_none() && self.unread(tail).await == 0 {
                    break;
                }
            }
        };
        tokio::time::timeout(PATIENCE, all_read).await.expect("the tail reads everything");
        windows
    }
}

/// Returns the messages of windows as `op key`, for example `c {"id":1}`.
pub(crate) fn brief(windows: &[Window]) -> Vec<String> {
    let brief = |window: &Window, message: &Message| {
        let key = std::str::from_utf8(&window.bytes[message.key.clone()]).unwrap();
        format!("{} {key}", message.op.to_wire())
    };
    windows.iter().flat_map(|window| window.messages.iter().map(move |m| brief(window, m))).collect()
}

/// Returns the numbers of all messages, in the order in which they were handed out.
pub(crate) fn ids(windows: &[Window]) -> Vec<u64> {
    windows.iter().flat_map(|window| window.messages.iter().map(|message| message.cdc_id)).collect()
}

/// Returns what a message says of its row: the JSON object behind `after`, for a delete that of the key.
fn row_json<'a>(window: &'a Window, message: &Message) -> &'a [u8] {
    let envelope = &window.bytes[message.value.clone()];
    let read = Envelope::read(envelope).unwrap();
    assert_eq!((read.cdc_id, read.op), (message.cdc_id, message.op), "the envelope says the same as the log");
    &envelope[read.row]
}

/// Reads `id` and `v` of a row in JSON; `v` is missing in keys.
fn id_and_v(json: &[u8]) -> (i32, Option<String>) {
    let row = Row::parse(json).unwrap();
    let id = row.get("id", 0).unwrap().json().parse().unwrap();
    let v = row.get("v", 1).and_then(|v| v.as_str().unwrap().map(|v| v.into_owned()));
    (id, v)
}

/// Makes anchors of the last messages of a window, as the offset file keeps them.
pub(crate) fn anchors_of(window: &Window) -> Vec<Anchor> {
    let anchor = |message: &Message| Anchor {
        log_table: window.tables[message.table].log_table.clone(),
        cdc_id: message.cdc_id,
        txid: message.txid,
        at_micros: message.at_micros,
    };
    window.messages.iter().rev().take(5).map(anchor).collect()
}
