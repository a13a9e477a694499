//! Alive, ready, and why not.

use super::http::{address, get, listen, scrape};
use super::schema::{DAEMON, check};
use crate::db::run;
use crate::pipeline::harness::Pipeline;
use crate::pipeline::proxy::{Proxy, host, through};

const SCHEMA: &str = "create table notes (id integer primary key, body text)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_is_not_ready_before_its_first_pass_is_read() {
    let mut pipeline = Pipeline::create(&[], SCHEMA).await;
    listen(&mut pipeline);
    pipeline.init().await;
    run(&pipeline.from, "insert into notes values (1, '')").await;
    let migration = pipeline.source.connect().await;
    run(&migration, "begin; lock table cdc.tables in access exclusive mode").await;
    let daemon = pipeline.start("publish");
    let address = address(&pipeline, &daemon).await;
    let starts = || get(&address, "/status").1.contains("\"step\":\"starting\"");
    pipeline.wait_until("it starts", async || starts()).await;
    assert_eq!(get(&address, "/healthz"), (200, "alive\n".to_owned()));
    let (code, text) = get(&address, "/readyz");
    assert_eq!((code, text.as_str()), (503, "publish: starting\n"));
    assert_eq!(get(&address, "/nothing").0, 404);

    run(&migration, "rollback").await;
    pipeline.wait_until("it is ready", async || get(&address, "/readyz").0 == 200).await;
    assert!(get(&address, "/readyz").1.starts_with("publish: "));
    assert!(daemon.has_logged("INFO ready"));
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_that_a_lock_holds_up_are_counted_and_said_once_a_minute() {
    let mut pipeline = Pipeline::create(&[("tail.lock_timeout_ms", "200")], SCHEMA).await;
    listen(&mut pipeline);
    pipeline.expect("was locked by somebody else");
    pipeline.init().await;
    let daemon = pipeline.start_ready("publish").await;
    let address = address(&pipeline, &daemon).await;
    let migration = pipeline.source.connect().await;
    let sql = "begin; lock table cdc.notes_cdc in access exclusive mode; insert into notes values (1, '')";
    run(&migration, sql).await;
    let locked = || scrape(&address).value("tripline_locked_passes_total").unwrap();
    pipeline.wait_until("passes are given up", async || locked() >= 4.0).await;
    let said = daemon.times_logged("was locked by somebody else");
    assert!((1..=2).contains(&said), "{said} times for {} passes", locked());
    run(&migration, "commit").await;
    let published = || scrape(&address).value("tripline_published_rows_total");
    pipeline.wait_until("the row is published", async || published() == Some(1.0)).await;
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_is_away_is_not_ready_and_its_error_is_said_once_a_minute() {
    let mut pipeline = Pipeline::create(&[], SCHEMA).await;
    listen(&mut pipeline);
    pipeline.init().await;
    let proxy = Proxy::start(&host(&pipeline.destination.url()));
    pipeline.set("destination.url", &through(&pipeline.destination.url(), &proxy));
    pipeline.expect("starting again");
    let daemon = pipeline.start_ready("run").await;
    let address = address(&pipeline, &daemon).await;
    check(DAEMON, &get(&address, "/status").1).unwrap();

    proxy.cut();
    run(&pipeline.from, "insert into notes values (1, '')").await;
    let series = "tripline_restarts_total{task=\"apply postgres\"}";
    pipeline.wait_until("it starts again", async || scrape(&address).value(series) >= Some(4.0)).await;
    let (code, text) = get(&address, "/readyz");
    assert!(code == 503 && text.contains("apply postgres: "), "{code} {text}");
    let (_, text) = get(&address, "/status");
    check(DAEMON, &text).unwrap();
    let status: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status["tasks"][0]["ready"], true, "{status}");
    assert!(status["tasks"][1]["error"].is_string(), "{status}");
    let log = daemon.log().lines();
    let warned = log.iter().filter(|line| line.contains(" WARN ") && line.contains("starting again"));
    let mut errors: Vec<&str> = warned.map(|line| line.split_once(" error=").unwrap().1).collect();
    errors.iter_mut().for_each(|error| *error = error.split_once(" wait=").unwrap().0);
    let all = errors.len();
    errors.sort_unstable();
    errors.dedup();
    assert_eq!(errors.len(), all, "the same again within a minute: {errors:?}");
    assert!(daemon.times_logged("starting again") > all, "the others are there with level debug");

    proxy.restore();
    pipeline.wait_until("it is ready", async || get(&address, "/readyz").0 == 200).await;
    assert_eq!(pipeline.compare().await, 1);
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_taken_is_refused_before_anything_starts() {
    let mut pipeline = Pipeline::create(&[], SCHEMA).await;
    pipeline.init().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    pipeline.set("http.listen", &address);
    pipeline.refuses("run", &[&address, "a port of its own"]).await;
    pipeline.set("http.listen", "localhost");
    pipeline.ends_with(pipeline.start("run"), 78, &["http.listen: an IP address and a port"]).await;
}
