//! `tripline status`: its JSON, and the table that is shown again and again.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use super::schema::{STATUS, check};
use crate::db::{run, value};
use crate::pipeline::daemon;
use crate::pipeline::harness::Pipeline;

const SCHEMA: &str = "create table notes (id integer primary key, body text)";

/// The line of JSON that `status --json` prints, whatever its exit code.
async fn json(pipeline: &Pipeline) -> String {
    let ended = pipeline.command("status --json").await;
    ended.text.lines().next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_json_is_as_its_schema_says_in_every_state() {
    let mut pipeline = Pipeline::create(&[], SCHEMA).await;
    pipeline.init().await;
    let fresh = json(&pipeline).await;
    check(STATUS, &fresh).unwrap();
    assert!(fresh.contains("\"publisher\":null"), "{fresh}");

    run(&pipeline.from, "insert into notes select n, '' from generate_series(1, 10) n").await;
    pipeline.fine("snapshot --all").await;
    let waiting = json(&pipeline).await;
    check(STATUS, &waiting).unwrap();
    assert!(waiting.contains("notes") && waiting.contains("\"rows_behind\":10"), "{waiting}");

    // It would wait for whatever transaction is open anywhere in the cluster.
    pipeline.fine("snapshot public.notes --cancel").await;
    let daemon = pipeline.start_ready("run").await;
    pipeline.caught_up().await;
    let caught_up = json(&pipeline).await;
    check(STATUS, &caught_up).unwrap();
    assert!(caught_up.contains("\"state\":\"consistent\""), "{caught_up}");
    pipeline.stop(daemon).await;

    pipeline.set("destination.url", "postgresql://postgres@127.0.0.1:1/none");
    pipeline.set("source.url", "postgresql://postgres@127.0.0.1:1/none");
    let away = json(&pipeline).await;
    check(STATUS, &away).unwrap();
    assert_eq!(away.matches("\"error\"").count(), 2, "{away}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prepared_transaction_counts_as_an_open_one() {
    let pipeline = Pipeline::create(&[], SCHEMA).await;
    pipeline.init().await;
    let name = &pipeline.name;
    let prepare = format!("begin; insert into notes values (1, ''); prepare transaction '{name}'");
    run(&pipeline.from, &prepare).await;
    let age = format!(
        "select extract(epoch from clock_timestamp() - prepared)::float8 from pg_prepared_xacts where gid = '{name}'"
    );
    let age = async || value(&pipeline.from, &age).await.parse::<f64>().unwrap();
    pipeline.wait_until("it has been there for a while", async || age().await > 1.0).await;
    // No session has it: others may be older, but not by chance at every look.
    let at_least = age().await;
    let status: serde_json::Value = serde_json::from_str(&json(&pipeline).await).unwrap();
    let shown = status["source"]["ok"]["oldest_transaction_seconds"].as_f64().unwrap();
    run(&pipeline.from, &format!("rollback prepared '{name}'")).await;
    assert!(shown >= at_least, "{shown} < {at_least}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watched_status_is_shown_again_and_again_until_it_is_stopped() {
    let pipeline = Pipeline::create(&[], SCHEMA).await;
    pipeline.init().await;
    for (line, header) in
        [("status --watch --interval 0.1", "pipeline "), ("status --watch --interval 0.1 --json", "{")]
    {
        let mut command: Command = daemon::command(&pipeline.config(), line, &pipeline.settings());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null());
        let (lines, code) = tokio::task::block_in_place(|| {
            let mut child = child.spawn().unwrap();
            let mut lines = Vec::new();
            let mut texts = BufReader::new(child.stdout.take().unwrap()).lines();
            while lines.iter().filter(|line: &&String| line.starts_with(header)).count() < 3 {
                lines.push(texts.next().expect("it goes on").unwrap());
            }
            let pid = child.id().to_string();
            assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
            texts.for_each(drop);
            (lines, child.wait().unwrap().code())
        });
        assert_eq!(code, Some(0), "{lines:?}");
        assert!(!lines.iter().any(|line| line.contains('\x1b')), "no terminal, no escapes: {lines:?}");
        if line.ends_with("--json") {
            lines.iter().for_each(|line| check(STATUS, line).unwrap());
        } else {
            // A block, an empty line, the next block.
            let second = lines.iter().skip(1).position(|line| line.starts_with(header)).unwrap();
            assert_eq!(lines[second], "", "{lines:?}");
        }
    }
    let refused = pipeline.command("status --interval 1").await;
    assert_eq!(refused.code, Some(2), "{}", refused.text);
}
