//! Histories of a pipeline that nobody disturbs.

use tripline::config::Delivery;

use super::round::Round;
use crate::workload::{lasting, seeds};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_random_history_arrives_once_in_order_and_whole() {
    for seed in seeds("1,4") {
        println!("TRIPLINE_TEST_SEEDS={seed}");
        // Small windows: many parts to a pass.
        let window = if seed % 2 == 1 { "100" } else { "5000" };
        let mut round = Round::start(seed, Delivery::ExactlyOnce, &[("tail.window_rows", window)]).await;
        let daemon = round.pipeline.start_ready("run").await;
        // How long it lasts is the test.
        tokio::time::sleep(lasting()).await;
        let checked = round.finish().await;
        println!("seed {seed} window_rows {window}: {checked}");
        round.pipeline.stop(daemon).await;
    }
}
