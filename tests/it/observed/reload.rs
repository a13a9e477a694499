//! SIGHUP: the configuration is read again for the log level alone.

use std::os::unix::fs::PermissionsExt;

use crate::db::run;
use crate::pipeline::daemon::Daemon;
use crate::pipeline::harness::Pipeline;

const SCHEMA: &str = "create table notes (id integer primary key, body text)";
const SAID: &str = "read the configuration again";
const REFUSED: &str = "the configuration cannot be used";

/// Writes the level into the file, where `init` has found another one, and what else is given behind it.
fn configure(pipeline: &Pipeline, good: &str, level: &str, more: &str) {
    let text = good.replace("level = \"info,tripline=debug\"", &format!("level = \"{level}\""));
    std::fs::write(pipeline.config(), format!("{text}{more}")).unwrap();
}

/// Sends SIGHUP and waits until a line with this text stands in the log once more.
async fn hang_up(pipeline: &Pipeline, daemon: &Daemon, says: &str) {
    let before = daemon.times_logged(says);
    daemon.signal("-HUP");
    pipeline.wait_until(says, async || daemon.times_logged(says) > before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_changes_the_log_level_and_a_wrong_file_changes_nothing() {
    let pipeline = Pipeline::create(&[], SCHEMA).await;
    pipeline.expect(REFUSED);
    pipeline.init().await;
    let good = std::fs::read_to_string(pipeline.config()).unwrap();
    configure(&pipeline, &good, "info", "");
    let daemon = pipeline.start_ready("run").await;
    run(&pipeline.from, "insert into notes values (1, '')").await;
    pipeline.caught_up().await;
    assert!(!daemon.has_logged(" DEBUG "));

    // Another setting that would matter: only the level is taken.
    configure(&pipeline, &good, "info,tripline=debug", "[tail]\nwindow_rows = 1\n");
    hang_up(&pipeline, &daemon, SAID).await;
    assert!(daemon.has_logged("level=info,tripline=debug former=info"));
    run(&pipeline.from, "insert into notes select n, '' from generate_series(2, 11) n").await;
    pipeline.wait_until("it is talkative", async || daemon.has_logged("rows=10")).await;

    let secret = pipeline.offsets().join("secret");
    std::fs::write(&secret, pipeline.source.url()).unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o644)).unwrap();
    let exposed = format!("[mask]\nsalt_file = \"{}\"\n", secret.display());
    for (wrong, why) in
        [("nonsense", "line"), ("[tail]\nwindow_rowz = 1\n", "window_rowz"), (&exposed, "chmod 0640")]
    {
        configure(&pipeline, &good, "error", wrong);
        hang_up(&pipeline, &daemon, REFUSED).await;
        assert!(daemon.has_logged(why), "{wrong}");
    }
    std::fs::remove_file(pipeline.config()).unwrap();
    hang_up(&pipeline, &daemon, REFUSED).await;
    std::fs::write(pipeline.config(), &good).unwrap();
    run(&pipeline.from, "insert into notes select n, '' from generate_series(12, 18) n").await;
    pipeline.wait_until("it goes on, as talkative", async || daemon.has_logged("rows=7")).await;

    // A quiet level is announced while it can still be heard, a talkative one once it can.
    configure(&pipeline, &good, "error", "");
    hang_up(&pipeline, &daemon, SAID).await;
    run(&pipeline.from, "insert into notes select n, '' from generate_series(19, 31) n").await;
    assert_eq!(pipeline.compare().await, 31);
    assert!(!daemon.has_logged("rows=13"));
    configure(&pipeline, &good, "info", "");
    hang_up(&pipeline, &daemon, SAID).await;
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_environment_names_the_level_the_file_does_not_change_it() {
    let pipeline = Pipeline::create(&[], SCHEMA).await;
    pipeline.init().await;
    let daemon = pipeline.start_with("publish", &[("RUST_LOG", "info".to_owned())]);
    pipeline.wait_until("it is ready", async || daemon.has_logged("INFO ready")).await;
    hang_up(&pipeline, &daemon, SAID).await;
    assert!(daemon.has_logged("level=info (RUST_LOG)"));
    run(&pipeline.from, "insert into notes values (1, '')").await;
    pipeline.wait_until("it is published", async || pipeline.source_is_drained().await).await;
    assert!(!daemon.has_logged(" DEBUG "));
    pipeline.stop(daemon).await;
}
