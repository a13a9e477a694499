//! Restored backups, failovers, standbys and crashes, each with a server of its own.

use tokio_postgres::Client;
use tripline::capture::{self, InitOptions};
use tripline::config::Config;
use tripline::position::{Anchor, Identity, Position};
use tripline::tail::{Tail, TailError, Window};

use crate::db::{Which, run, value};
use crate::passes::{PATIENCE, anchors_of, brief};
use crate::server::Server;

const SHOP: &str = "shop";

/// A captured database `shop` with `t (id int, v text)` on a server of its own.
async fn captured(settings: &str) -> (Server, Config) {
    let server = Server::start(Which::Source, settings);
    run(&server.connect("postgres").await, "create database shop").await;
    let mut config = Config { pipeline: "failures".into(), ..Config::default() };
    config.source.tables = vec!["public.*".into()];
    let mut client = server.connect(SHOP).await;
    run(&client, "create table t (id int primary key, v text)").await;
    capture::init(&mut client, &config, InitOptions::default()).await.unwrap();
    (server, config)
}

/// Where a daemon stopped, as the offset file holds it.
struct Stopped {
    position: Position,
    identity: Identity,
    anchors: Vec<Anchor>,
}

impl Stopped {
    fn of(tail: &Tail, windows: &[Window]) -> Self {
        Self {
            position: tail.position().clone(),
            identity: tail.identity().clone(),
            anchors: windows.last().map(anchors_of).unwrap_or_default(),
        }
    }

    async fn resume(&self, server: &Server, config: &Config) -> Result<Tail, TailError> {
        Tail::connect(config, &server.url(SHOP), self.position.clone(), Some(&self.identity), &self.anchors)
            .await
    }

    async fn refused(&self, server: &Server, config: &Config, says: &[&str]) {
        let refused = self.resume(server, config).await.unwrap_err();
        assert!(matches!(refused, TailError::Identity { .. }), "{refused}");
        says.iter()
            .for_each(|text| assert!(refused.to_string().contains(text), "{text:?} is not in {refused}"));
    }
}

async fn start(server: &Server, config: &Config) -> Tail {
    Tail::connect(config, &server.url(SHOP), Position::start(), None, &[]).await.unwrap()
}

/// Polls until `rows` rows were read.
async fn read(tail: &mut Tail, rows: usize) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    let all = async {
        while windows.iter().map(|window| window.messages.len()).sum::<usize>() < rows {
            windows.extend(tail.poll().await.unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("the rows are read");
    windows
}

async fn write(client: &Client, from: u32, to: u32) {
    run(client, &format!("insert into t select n, 'x' from generate_series({from}, {to}) n")).await;
}

#[tokio::test]
async fn a_restored_backup_is_refused_however_far_it_has_moved_on() {
    let (server, config) = captured("").await;
    let mut tail = start(&server, &config).await;
    write(&server.connect(SHOP).await, 1, 3).await;
    read(&mut tail, 3).await;
    server.backup();
    write(&server.connect(SHOP).await, 4, 9).await;
    let mut tail = start(&server, &config).await;
    let windows = read(&mut tail, 9).await;
    let stopped = Stopped::of(&tail, &windows);
    let without_anchors = Stopped { anchors: Vec::new(), ..Stopped::of(&tail, &[]) };
    server.restore();
    let ways_out = ["tripline offset rewind --to", "tripline offset reset"];
    for stopped in [&stopped, &without_anchors] {
        stopped.refused(&server, &config, &ways_out).await;
        stopped.refused(&server, &config, &["older backup was restored", "lost commits"]).await;
    }
    // It is used, and its sequence and transactions pass what was published: the rows are others.
    let client = server.connect(SHOP).await;
    for n in 20..60 {
        write(&client, n, n).await;
    }
    stopped.refused(&server, &config, &["cdc_id", "that was published", "lost commits"]).await;
}

#[tokio::test]
async fn a_promoted_standby_that_lacks_a_late_row_is_refused_by_its_timeline() {
    // No checkpoint by itself: what pg_control says lags behind.
    let (primary, config) = captured("checkpoint_timeout = 1h").await;
    let (late, early) = (primary.connect(SHOP).await, primary.connect(SHOP).await);
    run(&late, "begin; insert into t values (1, 'late')").await;
    write(&early, 2, 2).await;
    let mut tail = start(&primary, &config).await;
    let windows = read(&mut tail, 1).await;
    let standby = primary.standby().await;
    standby.wait_for(SHOP, "select count(*)::text from t", "1").await;
    standby.wait_for("postgres", "select pg_is_in_recovery()::text", "true").await;
    // The daemon's reads land there.
    let stopped = Stopped::of(&tail, &windows);
    stopped.refused(&standby, &config, &["is a standby", "point source.url at the primary"]).await;
    // The standby hears nothing more. The late row commits and is published.
    standby.cut_off();
    run(&late, "commit").await;
    assert_eq!(brief(&read(&mut tail, 1).await), ["c {\"id\":1}"]);
    // The anchor is a row that both have.
    let stopped = Stopped { anchors: stopped.anchors, ..Stopped::of(&tail, &[]) };
    drop(tail);
    primary.stop();
    standby.promote();
    standby.wait_for("postgres", "select pg_is_in_recovery()::text", "false").await;
    let there = standby.connect(SHOP).await;
    println!(
        "pg_control: timeline {}",
        value(&there, "select timeline_id from pg_control_checkpoint()").await
    );
    assert_eq!(value(&there, "select count(*) from t where id = 1").await, "0", "the standby lacks it");
    stopped
        .refused(&standby, &config, &["from timeline 1 to 2", "standby was promoted", "offset rewind --to"])
        .await;
    // Nothing but the timeline tells, when enough has happened there.
    for n in 10..20 {
        write(&there, n, n).await;
    }
    let identity = Identity { timeline: 2, ..stopped.identity };
    Stopped { identity, ..stopped }.resume(&standby, &config).await.unwrap();
}

#[tokio::test]
async fn a_crash_takes_back_nothing_that_was_read() {
    // Nothing is flushed by itself, unless the log of the server comes to the end of a page, of 8,192 bytes, in the wrong moment.
    let settings = "synchronous_commit = off\nwal_writer_delay = 10s\ncheckpoint_timeout = 1h";
    let paddings = (0..8_192).step_by(1_024).map(|padding| (false, padding));
    let mut taken_back = false;
    for (require_flushed, padding) in [(true, 0)].into_iter().chain(paddings) {
        if taken_back {
            break;
        }
        let (server, mut config) = captured(settings).await;
        config.tail.require_flushed = require_flushed;
        run(&server.connect("postgres").await, "checkpoint").await;
        let pad = format!("select pg_logical_emit_message(false, '', repeat('x', {padding}))");
        run(&server.connect(SHOP).await, &pad).await;
        let mut tail = start(&server, &config).await;
        write(&server.connect(SHOP).await, 1, 3).await;
        let windows = read(&mut tail, 3).await;
        let stopped = Stopped::of(&tail, &windows);
        server.crash();
        let there = server.connect(SHOP).await;
        let left = value(&there, "select count(*) from cdc.t_cdc").await;
        if require_flushed {
            assert_eq!(left, "3", "what was read is on disk");
            let mut tail = stopped.resume(&server, &config).await.unwrap();
            write(&there, 4, 4).await;
            assert_eq!(brief(&read(&mut tail, 1).await), ["c {\"id\":4}"]);
        } else if left == "0" {
            stopped.refused(&server, &config, &["lost commits"]).await;
            // The same ids again.
            for n in 11..=13 {
                write(&there, n, n).await;
            }
            stopped.refused(&server, &config, &["lost commits"]).await;
            taken_back = true;
        }
    }
    assert!(taken_back, "a crash takes back what was read");
}
