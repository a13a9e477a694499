//! An applier dies while another one waits.

use super::nothing_is_lost;
use crate::pipeline::harness::Pipeline;
use crate::pipeline::load::{Load, SHOP, seed};

const APPLIED: &str = "applied target_name=\"postgres\"";
const WAITS: &str = "waiting as a standby";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_takes_over_from_an_applier_that_is_killed() {
    let pipeline = Pipeline::create(&[], SHOP).await;
    pipeline.init().await;
    let publisher = pipeline.start_ready("publish").await;
    let load = Load::start(&pipeline, 2, seed()).await;
    let mut active = pipeline.start_ready("apply").await;
    for _ in 0..3 {
        let standby = pipeline.start("apply");
        pipeline.wait_until(WAITS, async || standby.has_logged(WAITS)).await;
        let before = active.times_logged(APPLIED);
        pipeline
            .wait_until("the active one applies", async || active.times_logged(APPLIED) > before + 5)
            .await;
        assert!(!standby.has_logged(APPLIED), "both are active");
        active.kill9();
        pipeline.wait_until("the standby applies", async || standby.times_logged(APPLIED) > 5).await;
        active = standby;
    }
    load.finish().await;
    nothing_is_lost(&pipeline).await;
    pipeline.stop(active).await;
    pipeline.stop(publisher).await;
}
