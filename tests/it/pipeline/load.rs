//! Several writers at once, as an application would be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::harness::{MARKER, Pipeline};

/// Two tables, one referring to the other.
pub(crate) const SHOP: &str = "
create table customers (id bigint primary key, name text, balance numeric(12,2) not null default 0);
create table orders (id bigint primary key, customer bigint not null references customers, body text);";
/// Keys that the writers choose from: few, so that they meet.
const KEYS: i64 = 60;

/// Writers at work.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    /// Transactions that were committed.
    committed: Arc<AtomicUsize>,
    writers: Vec<JoinHandle<()>>,
}

/// Returns the seed of a test and prints it: `TRIPLINE_TEST_SEED` chooses it.
pub(crate) fn seed() -> u64 {
    let chosen = std::env::var("TRIPLINE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = chosen.unwrap_or_else(rand::random);
    println!("TRIPLINE_TEST_SEED={seed}");
    seed
}

impl Load {
    /// Starts `writers` writers into the tables of [`SHOP`].
    pub(crate) async fn start(pipeline: &Pipeline, writers: u64, seed: u64) -> Self {
        let (stop, committed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = Vec::new();
        for number in 0..writers {
            let client = pipeline.source.connect().await;
            let random = StdRng::seed_from_u64(seed.wrapping_add(number));
            tasks.push(tokio::spawn(write(client, random, Arc::clone(&stop), Arc::clone(&committed))));
        }
        Self { stop, committed, writers: tasks }
    }

    pub(crate) fn committed(&self) -> usize {
        self.committed.load(Ordering::Relaxed)
    }

    /// Ends the writers; returns how many transactions they committed.
    pub(crate) async fn finish(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for writer in self.writers {
            writer.await.unwrap();
        }
        self.committed.load(Ordering::Relaxed)
    }
}

async fn write(client: Client, mut random: StdRng, stop: Arc<AtomicBool>, committed: Arc<AtomicUsize>) {
    while !stop.load(Ordering::Relaxed) {
        let statements: String = (0..random.random_range(1..6)).map(|_| statement(&mut random)).collect();
        let end = if random.random_ratio(1, 8) { "rollback" } else { "commit" };
        // Deadlocks and foreign keys end some of them: no change is made then.
        match client.batch_execute(&format!("begin; {statements} {end}")).await {
            Ok(()) => committed.fetch_add(usize::from(end == "commit"), Ordering::Relaxed),
            Err(_) if client.is_closed() => return,
            // A server that goes away may answer before the connection ends.
            Err(_) if client.batch_execute("rollback").await.is_err() => return,
            Err(_) => 0,
        };
        tokio::task::yield_now().await;
    }
}

fn statement(random: &mut StdRng) -> String {
    let (id, other) = (random.random_range(1..=KEYS), random.random_range(1..=KEYS));
    let value = random.random_range(0..1_000_000);
    match random.random_range(0..10) {
        0..=2 => format!(
            "insert into customers values ({id}, '{MARKER} {value}', {value} / 100.0) \
             on conflict (id) do update set balance = excluded.balance;"
        ),
        3..=5 => format!(
            "insert into orders select {other}, id, '{MARKER} {value}' from customers where id = {id} \
             on conflict (id) do update set customer = excluded.customer, body = null;"
        ),
        6 => format!("update orders set body = '{MARKER} {value}' where id between {id} and {id} + 5;"),
        7 => format!(
            "update orders set id = {id} + {KEYS} where id = {other} and not exists (select from orders where id = {id} + {KEYS});"
        ),
        8 => format!("delete from orders where id in ({id}, {other} + {KEYS});"),
        _ => format!(
            "delete from customers where id = {id} and not exists (select from orders where customer = {id});"
        ),
    }
}
