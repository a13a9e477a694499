//! What `check` and `init` say.

use super::{age, logged, published};
use crate::db::{run, value};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_warns_of_a_large_log_and_of_pipelines_that_hold_it() {
    let (mut pipeline, daemon) = published(&[], 2_000).await;
    pipeline.stop(daemon).await;
    // It says how far it is when it starts.
    let daemon = pipeline.start_ready("publish").await;
    pipeline.stop(daemon).await;
    pipeline.fine("check").await;
    let bytes: u64 =
        value(&pipeline.from, "select pg_total_relation_size('cdc.t_cdc')").await.parse().unwrap();
    assert!(bytes < 1 << 20, "{bytes}");
    run(&pipeline.from, "insert into t select n, repeat('x', 500) from generate_series(3000, 6000) n").await;
    let bytes: u64 =
        value(&pipeline.from, "select pg_total_relation_size('cdc.t_cdc')").await.parse().unwrap();
    for (most, code, severity) in [(bytes * 10 / 9, 1, "warning"), (bytes - 1, 2, "error")] {
        pipeline.set("retention.max_log_bytes", &most.to_string());
        let check = pipeline.command("check").await;
        assert_eq!(check.code, Some(code), "{}", check.text);
        assert!(check.text.contains(&format!("{severity:<8} log.size")), "{}", check.text);
        assert!(check.text.contains(&format!("the log takes {bytes} bytes")), "{}", check.text);
    }
    pipeline.set("retention.max_log_bytes", "1000000000");
    // Somebody registered and never came back.
    run(
        &pipeline.from,
        "insert into cdc.pipelines values ('gone', '{\"offset\": 3, \"anchor\": null, \"pass\": 1}', now() - interval '2 hours')",
    )
    .await;
    let check = pipeline.command("check").await;
    assert_eq!(check.code, Some(0), "nothing waits for it yet: {}", check.text);
    run(&pipeline.from, "update cdc.t_cdc set cdc_at = now() - interval '25 hours'").await;
    let check = pipeline.command("check").await;
    assert_eq!(check.code, Some(1), "{}", check.text);
    let says = [
        "retention.held",
        "pipeline gone",
        "from cdc_id 3",
        "delete from \"cdc\".pipelines where pipeline = 'gone'",
    ];
    assert!(says.iter().all(|text| check.text.contains(text)), "{}", check.text);
    run(&pipeline.from, "update cdc.t_cdc set cdc_at = now() - interval '30 hours'").await;
    let check = pipeline.command("check").await;
    assert!(check.text.contains("retention.late"), "{}", check.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn init_brings_an_older_installation_up_to_date_and_the_daemon_says_that_it_has_to() {
    let (pipeline, daemon) = published(&[], 100).await;
    pipeline.stop(daemon).await;
    run(
        &pipeline.from,
        "drop table cdc.retention, cdc.gaps; drop function cdc.is_full(oid, bigint, bigint);
         comment on function cdc.on_drop() is 'older';
         alter table cdc.t_cdc reset (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold,
           autovacuum_vacuum_insert_scale_factor, autovacuum_vacuum_insert_threshold, autovacuum_analyze_scale_factor);
         alter table cdc.t_cdc set (autovacuum_analyze_threshold = 7);
         update cdc.pipelines set acknowledged = acknowledged - 'anchor' - 'pass' - 'part'",
    )
    .await;
    for command in ["status", "verify"] {
        pipeline.fine(command).await;
    }
    pipeline.expect("run `tripline init`");
    let daemon = pipeline.start_ready("run").await;
    let says = async || daemon.has_logged("nothing in schema cdc records how far log rows are removed");
    pipeline.wait_until("it says so", says).await;
    run(&pipeline.from, "insert into t values (101, 'later')").await;
    pipeline.compare().await;
    let said = pipeline.fine("init").await;
    assert!(said.contains("repaired") && !said.contains("missed"), "{said}");
    let options = value(
        &pipeline.from,
        "select array_to_string(reloptions, ' ') from pg_class where relname = 't_cdc'",
    )
    .await;
    for option in ["autovacuum_vacuum_scale_factor=0", "autovacuum_analyze_threshold=7"] {
        assert!(options.contains(option), "{options}");
    }
    assert!(pipeline.fine("init").await.contains("unchanged"));
    age(&pipeline).await;
    pipeline.wait_until("old log rows are removed", async || logged(&pipeline).await <= 10).await;
    pipeline.compare().await;
    pipeline.stop(daemon).await;
}
