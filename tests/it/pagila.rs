//! A whole schema of an application, copied and followed under load, compared in both targets.

use crate::db::{run, value};
use crate::pipeline::harness::Pipeline;
use crate::verify::all_equal;

const TYPES: &str = include_str!("pagila/types.sql");
const SCHEMA: &str = include_str!("pagila/schema.sql");
const ROWS: &str = include_str!("pagila/rows.sql");
const LOAD: &str = include_str!("pagila/load.sql");
/// Sessions that write at the same time.
const WRITERS: u64 = 3;
const ROUNDS: u64 = 12;

fn seeded(sql: &str, seed: u64, n: u64) -> String {
    // setseed takes -1 to 1.
    let seed = (seed.wrapping_add(n) % 10_000) as f64 / 10_000.0;
    sql.replace("{seed}", &seed.to_string()).replace("{n}", &n.to_string())
}

/// Runs a script of several transactions; what two writers do to each other (deadlocks) is tried again.
async fn again_until_done(client: &tokio_postgres::Client, script: &str) {
    for _ in 0..50 {
        let Err(error) = client.batch_execute(script).await else { return };
        let code = error.code().unwrap_or_else(|| panic!("{error:?}")).code();
        // Deadlock, or a row that the other one has taken or moved to another partition meanwhile.
        assert!(["40P01", "40001", "23503", "23505"].contains(&code), "{error:?}");
        client.batch_execute("rollback").await.unwrap();
    }
    panic!("tried too often: {script}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_schema_is_copied_and_followed_under_load() {
    let seed = rand::random::<u64>();
    println!("seed {seed}");
    let settings = [
        ("source.tables", "public.*,people.*,stock.*"),
        ("source.snapshot", "initial"),
        ("tail.window_rows", "150"),
    ];
    let pipeline = Pipeline::create(&settings, &format!("{TYPES}{SCHEMA}{}", seeded(ROWS, seed, 0))).await;
    pipeline.configure("[[table]]\nname = 'stock.inventory'\nkey_index = 'inventory_inventory_id_key'");
    run(&pipeline.to, TYPES).await;
    let init = pipeline.fine("init").await;
    assert!(init.contains("unlogged") && !init.contains("film_list") && !init.contains("sales"), "{init}");
    let daemon = pipeline.start_ready("run").await;
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let client = pipeline.source.connect().await;
        writers.push(tokio::spawn(async move {
            for round in 0..ROUNDS {
                let script = seeded(LOAD, seed, round * WRITERS + writer);
                again_until_done(&client, &script).await;
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    pipeline.fine("snapshot --wait").await;
    let rows = all_equal(&pipeline).await;
    assert!(rows > 2_000, "{rows}");
    let moved = "select count(*) from payment where paid_at > '2026-06-01'";
    assert_ne!(value(&pipeline.to, moved).await, "0", "rows went from one partition to another");
    let full = "select count(*) from film where fulltext @@ 'round'::tsquery";
    assert_eq!(value(&pipeline.from, full).await, value(&pipeline.to, full).await);
    run(&pipeline.from, "truncate payment_2025; truncate film, rental cascade").await;
    all_equal(&pipeline).await;
    pipeline.stop(daemon).await;
}
