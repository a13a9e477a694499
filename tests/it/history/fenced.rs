//! A publisher that was taken for dead comes back to life.

use tripline::config::Delivery;

use super::round::Round;
use crate::db::value;
use crate::pipeline::load::seed;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_former_publisher_that_wakes_up_before_its_commit_is_fenced_and_the_topics_stay_exact() {
    let mut round = Round::start(seed(), Delivery::ExactlyOnce, &[]).await;
    let pipeline = &mut round.pipeline;
    // What it says when it wakes up depends on where it fell asleep: asking Kafka, asking the source, or neither.
    for text in ["librdkafka", "the commit is not confirmed yet", "starting again"] {
        pipeline.expect(text);
    }
    let applier = pipeline.start_ready("apply").await;
    // It falls asleep when everything of a part is acknowledged, its cut too, and only the commit is left.
    let mut former = pipeline.start_armed("publish", "publish::before-commit=3*off->sleep(4000)");
    pipeline.wait_until("it has published", async || former.times_logged("published") >= 2).await;
    let logged =
        async || value(&pipeline.from, "select cdc_id from cdc.accounts_cdc order by 1 desc limit 1").await;
    let before = logged().await;
    pipeline.wait_until("there is more to publish", async || logged().await != before).await;
    former.signal("-STOP");
    pipeline.end_publishers_sessions().await;

    // Its file is copied to another machine, say.
    let copy = pipeline.offsets().with_file_name("copy");
    std::fs::create_dir(&copy).unwrap();
    std::fs::copy(pipeline.offset_file(), copy.join(format!("{}.json", pipeline.name))).unwrap();
    pipeline.set("offset.dir", &copy.display().to_string());
    let latter = pipeline.start_ready("publish").await;
    pipeline.wait_until("the latter publishes", async || latter.times_logged("published") > 3).await;
    // On a busy machine it was stopped before it got there: it then finds its lock gone and waits as a standby.
    former.signal("-CONT");
    pipeline
        .wait_until("it ends or waits", async || {
            former.poll().is_some() || former.has_logged("waiting as a standby")
        })
        .await;
    match former.poll().is_some() {
        true => pipeline.ends_with(former, 2, &["another publisher of pipeline", "has taken over"]).await,
        false => pipeline.stop(former).await,
    }

    println!("{}", round.finish().await);
    for daemon in [latter, applier] {
        round.pipeline.stop(daemon).await;
    }
}
