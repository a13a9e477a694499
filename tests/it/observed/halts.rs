//! What goes wrong has its own message, metric and exit status.

use std::os::unix::fs::PermissionsExt;

use super::http::{address, listen, scrape};
use super::systemd::Manager;
use crate::db::run;
use crate::pipeline::harness::Pipeline;
use crate::pipeline::proxy::{Proxy, host, through};

const SCHEMA: &str = "create table notes (id integer primary key, body text)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_everybody_may_read_is_refused_with_its_own_exit_status() {
    let mut pipeline = Pipeline::create(&[], SCHEMA).await;
    pipeline.init().await;
    let secret = pipeline.offsets().join("url");
    std::fs::write(&secret, pipeline.source.url()).unwrap();
    let mode = |mode| std::fs::set_permissions(&secret, PermissionsExt::from_mode(mode)).unwrap();
    pipeline.set("source.url_file", secret.to_str().unwrap());
    mode(0o644);
    for half in ["run", "publish", "apply"] {
        pipeline.ends_with(pipeline.start(half), 78, &["every user of this machine", "chmod 0640"]).await;
    }
    mode(0o640);
    let daemon = pipeline.start_ready("run").await;
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_halts_tells_the_service_manager_why() {
    let pipeline = Pipeline::create(&[], SCHEMA).await;
    pipeline.init().await;
    std::fs::remove_file(pipeline.offset_file()).unwrap();
    let manager = Manager::start();
    let daemon = pipeline.start_with("publish", &manager.environment());
    pipeline.ends_with(daemon, 2, &["tripline init"]).await;
    pipeline
        .wait_until("it has said why", async || manager.count("STATUS=halted: there is no offset file") == 1)
        .await;
    assert_eq!(manager.count("READY=1"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_that_pass_are_counted_by_what_they_are_about() {
    let mut pipeline = Pipeline::create(&[], SCHEMA).await;
    pipeline.init().await;
    let proxy = Proxy::start(&host(&pipeline.destination.url()));
    pipeline.set("destination.url", &through(&pipeline.destination.url(), &proxy));
    listen(&mut pipeline);
    pipeline.expect("starting again");
    let daemon = pipeline.start_ready("run").await;
    let address = address(&pipeline, &daemon).await;
    let errors = |task: &str, kind: &str| {
        let series = format!("tripline_errors_total{{task=\"{task}\",kind=\"{kind}\"}}");
        scrape(&address).value(&series).unwrap()
    };
    for kind in ["away", "disk", "trust", "rights", "configuration", "other"] {
        assert_eq!(errors("apply postgres", kind), 0.0, "{kind}");
    }
    proxy.cut();
    run(&pipeline.from, "insert into notes values (1, '')").await;
    pipeline.wait_until("errors are counted", async || errors("apply postgres", "away") >= 2.0).await;
    assert_eq!(errors("apply postgres", "other"), 0.0, "{}", pipeline.logged());
    assert_eq!(errors("apply clickhouse", "away"), 0.0, "{}", pipeline.logged());
    proxy.restore();
    pipeline
        .wait_until("it works again", async || {
            scrape(&address).value("tripline_ready{task=\"apply postgres\"}") == Some(1.0)
        })
        .await;
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_of_the_source_that_jumps_is_said_and_counted_and_harms_nothing() {
    // In this database alone the clock is set. The real one keeps running under another name.
    let back = "begin; alter function pg_catalog.clock_timestamp() rename to real_clock_timestamp;
        create function pg_catalog.clock_timestamp() returns timestamptz language sql volatile
            as 'select pg_catalog.real_clock_timestamp() - interval ''1 hour'''; commit";
    let forward = "begin; drop function pg_catalog.clock_timestamp();
        alter function pg_catalog.real_clock_timestamp() rename to clock_timestamp; commit";
    let mut pipeline = Pipeline::create(&[], SCHEMA).await;
    listen(&mut pipeline);
    pipeline.expect("the source's clock has jumped");
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    let address = address(&pipeline, &daemon).await;
    let value = |series: &str| scrape(&address).value(series).unwrap();
    for (jump, said, nth) in [(back, "seconds=-3", 1), (forward, "seconds=3", 2)] {
        run(&pipeline.from, &format!("insert into notes values ({nth}, 'before')")).await;
        run(&pipeline.from, jump).await;
        run(&pipeline.from, &format!("insert into notes values ({nth} + 100, 'behind')")).await;
        pipeline
            .wait_until("it is counted", async || value("tripline_clock_jumps_total") == f64::from(nth))
            .await;
        assert!(daemon.has_logged(said));
        pipeline.caught_up().await;
        for stage in ["source", "postgres", "clickhouse"] {
            let series = format!("tripline_seconds_behind{{stage=\"{stage}\"}}");
            pipeline.wait_until("lag is right again", async || value(&series) < 60.0).await;
        }
    }
    assert_eq!(pipeline.compare().await, 4);
    pipeline.stop(daemon).await;
}
