//! The kill matrix: publisher and applier die at every failpoint and at random moments, and the history stays whole.

use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};
use tripline::config::Delivery;
use tripline::failpoint::POINTS;

use super::round::Round;
use crate::pipeline::daemon::Daemon;
use crate::pipeline::harness::Pipeline;
use crate::pipeline::load::seed;
use crate::workload::{lasting, seeds};

const HALVES: [&str; 2] = ["publish", "apply"];
/// Longest wait for a failpoint at random.
const PATIENCE: Duration = Duration::from_secs(10);
/// How a process ends that dies at a failpoint.
const SIGABRT: i32 = 6;

/// Where a kill makes a part, or a batch, come again.
const REPEATING: [&str; 9] = [
    "publish::after-claim",
    "publish::after-produce",
    "publish::before-acks",
    "publish::after-acks",
    "publish::after-cut",
    "publish::after-commit",
    "apply::before-commit",
    "apply::after-commit",
    "apply::after-part",
];

/// Returns the failpoints of one half.
fn points(half: &str) -> Vec<&'static str> {
    let of_apply = |point: &str| point.starts_with("apply::") || point.starts_with("mirror::");
    POINTS.iter().copied().filter(|point| of_apply(point) == (half == "apply")).collect()
}

/// Returns how many times a daemon passes a point before it dies there.
fn passes(point: &str, rng: &mut StdRng) -> u32 {
    let most = match point {
        // Once in a daemon's life.
        "publish::after-claim" | "publish::after-schemas" => 0,
        // Only where a pass is larger than a batch.
        "apply::after-part" => 0,
        "publish::after-produce" => 200,
        "apply::between-statements" => 30,
        _ => 3,
    };
    rng.random_range(0..=most)
}

fn armed(pipeline: &Pipeline, half: &str, point: &str, rng: &mut StdRng) -> Daemon {
    let passes = passes(point, rng);
    pipeline.start_armed(half, &format!("{point}={passes}*off->return"))
}

/// Tells whether a daemon has died, which it may only do at its failpoint.
fn has_died(daemon: &mut Daemon, point: &str) -> bool {
    let Some(status) = daemon.poll() else { return false };
    assert_eq!(status.signal(), Some(SIGABRT), "{point} ended otherwise: {status}");
    true
}

/// Lets one half die at each of the points that are its own, in some order; then it stays.
async fn die_everywhere(pipeline: &Pipeline, half: &str, chosen: &[&str], seed: u64) -> Daemon {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut points = points(half);
    points.retain(|point| chosen.contains(point));
    points.shuffle(&mut rng);
    for point in points {
        let mut daemon = armed(pipeline, half, point, &mut rng);
        pipeline.wait_until(&format!("{half} dies at {point}"), async || has_died(&mut daemon, point)).await;
        let ended = daemon.ended();
        assert!(
            ended.text.contains(&format!("point=\"{point}\"")),
            "{point} is not the last: {}",
            ended.text
        );
    }
    pipeline.start(half)
}

/// Lets one half die at random points and at random moments for a while; then it stays. Returns how often it died.
async fn die_at_random(pipeline: &Pipeline, half: &str, seed: u64) -> (Daemon, [usize; 2]) {
    let mut rng = StdRng::seed_from_u64(seed);
    let points = points(half);
    let (mut at_points, mut at_moments) = (0, 0);
    let until = Instant::now() + lasting();
    while Instant::now() < until {
        if rng.random_ratio(1, 4) {
            let daemon = pipeline.start(half);
            let begun = rng.random_ratio(2, 3);
            // The moment is the test: it may be in the start, a pass, a commit.
            let moment = Duration::from_millis(rng.random_range(0..1500));
            if begun {
                pipeline.wait_until("it works", async || daemon.has_logged("INFO ready")).await;
            }
            tokio::time::sleep(moment).await;
            daemon.kill9();
            at_moments += 1;
            continue;
        }
        let point = points.choose(&mut rng).unwrap();
        let mut daemon = armed(pipeline, half, point, &mut rng);
        // The other half may be dead too often for this one to get there.
        let end = Instant::now() + PATIENCE;
        while !has_died(&mut daemon, point) && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        match has_died(&mut daemon, point) {
            true => at_points += 1,
            false => at_moments += 1,
        }
        daemon.kill9();
    }
    (pipeline.start(half), [at_points, at_moments])
}

/// All kills in one pipeline: what is left behind by one is what the next start finds.
async fn every_point(delivery: Delivery, points: &[&str]) {
    let seed = seed();
    // Passes of several parts, and of several batches.
    let settings = [("tail.window_rows", "200"), ("apply.batch_rows", "100")];
    let mut round = Round::start(seed, delivery, &settings).await;
    let pipeline = &round.pipeline;
    let [publish, apply] = HALVES.map(|half| die_everywhere(pipeline, half, points, seed));
    let (publisher, applier) = tokio::join!(publish, apply);
    let checked = round.finish().await;
    println!("seed {seed} {delivery:?}: {} kills survived, {checked}", points.len());
    for daemon in [publisher, applier] {
        round.pipeline.stop(daemon).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_at_every_failpoint_leave_every_change_once_and_the_stores_equal() {
    every_point(Delivery::ExactlyOnce, &POINTS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_with_at_least_once_never_take_the_destination_back() {
    every_point(Delivery::AtLeastOnce, &REPEATING).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_kills_leave_the_history_whole() {
    for seed in seeds("2") {
        println!("TRIPLINE_TEST_SEEDS={seed}");
        let delivery = if seed % 3 == 0 { Delivery::AtLeastOnce } else { Delivery::ExactlyOnce };
        let window = ["100", "300", "1000", "5000"][usize::try_from(seed % 4).unwrap()];
        let mut round = Round::start(seed, delivery, &[("tail.window_rows", window)]).await;
        let pipeline = &round.pipeline;
        let [publish, apply] = HALVES.map(|half| die_at_random(pipeline, half, seed));
        let ((publisher, publish), (applier, apply)) = tokio::join!(publish, apply);
        let checked = round.finish().await;
        let [at_points, at_moments] = [0, 1].map(|i| publish[i] + apply[i]);
        println!(
            "seed {seed} {delivery:?} window_rows {window}: {at_points} kills at failpoints and {at_moments} at random \
             moments survived, {checked}"
        );
        for daemon in [publisher, applier] {
            round.pipeline.stop(daemon).await;
        }
    }
}
