//! A reader that looks, all through a run, whether what belongs together in the source is together.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) looks: usize,
    /// Different states among them.
    pub(super) states: usize,
    /// States that no commit of the source left.
    pub(super) broken: Vec<String>,
}

/// A reader at work.
pub(super) struct Observer {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Seen>,
}

impl Observer {
    /// Starts to look at the tables of [`crate::workload::LEDGER`].
    pub(super) fn start(client: Client) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(observe(client, Arc::clone(&stop)));
        Self { stop, task }
    }

    pub(super) async fn finish(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

async fn observe(client: Client, stop: Arc<AtomicBool>) -> Seen {
    let (mut seen, mut states) = (Seen::default(), HashSet::new());
    while !stop.load(Ordering::Relaxed) {
        if let Some((broken, state)) = look(&client).await {
            seen.looks += 1;
            seen.broken.extend(broken);
            states.insert(state);
        }
        tokio::time::sleep(PAUSE).await;
    }
    seen.states = states.len();
    seen
}

/// Looks once, in one snapshot; returns what is broken and a mark of the state. `None` when a TRUNCATE, which locks the
/// tables in another order, came in its way.
async fn look(client: &Client) -> Option<(Option<String>, String)> {
    let answer = match client.simple_query(include_str!("invariants.sql")).await {
        Err(error) if error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED) => return None,
        answer => answer.unwrap(),
    };
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let [balances, orphans, out_of_step, state] = [0, 1, 2, 3].map(|i| row.unwrap().get(i).unwrap());
    let broken = [balances, orphans, out_of_step].iter().any(|count| *count != "0");
    let text = format!("balances {balances}, orphans {orphans}, out of step {out_of_step}");
    Some((broken.then_some(text), state.to_owned()))
}

mod tests {
    use super::look;
    use crate::db::{TestDb, Which, run};
    use crate::workload::LEDGER;

    #[tokio::test]
    async fn what_is_out_of_step_is_seen() {
        let db = TestDb::create(Which::Destination).await;
        let client = db.connect().await;
        run(&client, LEDGER).await;
        let whole = "insert into accounts values (1, 5), (2, -5); insert into lefts values (1, 7), (2, 8);
            insert into rights values (1, 7), (2, 8); insert into parents values (1); insert into children values (1, '', 1)";
        let broken = async || look(&client).await.unwrap().0;
        assert_eq!(broken().await, None);
        run(&client, whole).await;
        assert_eq!(broken().await, None);
        // As an applier does: a foreign key is not in its way.
        run(&client, "set session_replication_role = replica").await;
        let halves = [
            ("update accounts set balance = 4 where id = 1", "balances -1, orphans 0, out of step 0"),
            ("delete from accounts where id = 2", "balances 5, orphans 0, out of step 0"),
            ("delete from parents", "balances 0, orphans 1, out of step 0"),
            ("update lefts set n = 9 where id = 1", "balances 0, orphans 0, out of step 1"),
            ("delete from lefts", "balances 0, orphans 0, out of step 2"),
            ("truncate rights", "balances 0, orphans 0, out of step 2"),
        ];
        for (half, says) in halves {
            run(&client, &format!("begin; {half}")).await;
            assert_eq!(broken().await.as_deref(), Some(says), "{half}");
            run(&client, "rollback").await;
        }
    }
}
