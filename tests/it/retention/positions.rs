//! Positions that the log no longer reaches.

use super::{SCHEMA, emptied, published, removed_to};
use crate::db::{run, value};
use crate::pipeline::harness::Pipeline;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_behind_what_was_removed_is_refused_until_a_reset_makes_the_targets_equal() {
    let (mut pipeline, daemon) = published(&[("retention.keep_hours", "0")], 100).await;
    pipeline.stop(daemon).await;
    run(
        &pipeline.from,
        "insert into t select n, 'unpublished' from generate_series(101, 400) n; delete from t where id < 50",
    )
    .await;
    // Forgotten, so another pipeline's publisher removed what this one has not published.
    run(
        &pipeline.from,
        "delete from cdc.pipelines;
         with gone as (delete from cdc.t_cdc where cdc_id <= 300 returning cdc_id, cdc_txid, cdc_at)
         insert into cdc.retention (log_table, removed_to, removed_xid, removed_at, rows)
         select 't_cdc', max(cdc_id), (select cdc_txid from cdc.t_cdc order by cdc_txid desc limit 1), max(cdc_at), count(*) from gone
         on conflict (log_table) do update set removed_to = excluded.removed_to, removed_xid = excluded.removed_xid",
    )
    .await;
    let removed = removed_to(&pipeline).await;
    assert!(removed > 200, "{removed}");
    let says = ["is behind retention", &format!("cdc_id {removed}"), "tripline offset reset"];
    pipeline.refuses("run", &says).await;
    pipeline.refuses("run", &says).await;
    // Nothing would bring the rows that are gone from the log.
    for way in ["offset reset --dry-run", "offset reset --yes", "offset reset --yes --clear-destination"] {
        let ended = pipeline.command(way).await;
        assert_eq!(ended.code, Some(2), "{}", ended.text);
        assert!(ended.text.contains("the log is no longer whole"), "{}", ended.text);
    }
    pipeline.set("source.snapshot", "initial");
    pipeline.fine("offset reset --yes").await;
    let daemon = pipeline.start_ready("run").await;
    assert_eq!(pipeline.compare().await, 351);
    run(&pipeline.from, "insert into t values (1000, 'later')").await;
    assert_eq!(pipeline.compare().await, 352);
    pipeline.fine("verify").await;
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_behind_retention_publishes_what_is_left_and_copies_the_rest() {
    let settings = [("retention.keep_hours", "0"), ("source.snapshot", "initial")];
    let (pipeline, daemon) = published(&settings, 200).await;
    emptied(&pipeline).await;
    run(&pipeline.from, "update t set v = 'y' where id < 30; delete from t where id > 190").await;
    pipeline.caught_up().await;
    pipeline.stop(daemon).await;
    pipeline.fine("offset reset --yes --clear-destination").await;
    assert_eq!(value(&pipeline.to, "select count(*) from t").await, "0");
    // Nothing more is removed until it has read it: it is registered at the start.
    assert_eq!(value(&pipeline.from, "select acknowledged ->> 'offset' from cdc.pipelines").await, "0");
    let daemon = pipeline.start_ready("run").await;
    assert_eq!(pipeline.compare().await, 190);
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewind_goes_back_as_far_as_the_log_does() {
    let (pipeline, daemon) = published(&[("retention.keep_hours", "0")], 100).await;
    let before =
        value(&pipeline.from, "select to_json(clock_timestamp() - interval '1 hour') #>> '{}'").await;
    emptied(&pipeline).await;
    let now = value(&pipeline.from, "select to_json(clock_timestamp()) #>> '{}'").await;
    run(&pipeline.from, "insert into t select n, 'y' from generate_series(101, 105) n").await;
    pipeline.caught_up().await;
    pipeline.stop(daemon).await;
    let removed = removed_to(&pipeline).await;
    for to in ["1", &(removed - 1).to_string(), &before] {
        let ended = pipeline.command(&format!("offset rewind --to {to} --yes")).await;
        assert_eq!(ended.code, Some(2), "{}", ended.text);
        let says = [&format!(
            "cannot go back to {}",
            if to == before { to.to_owned() } else { format!("cdc_id {to}") }
        )];
        assert!(says.iter().all(|text| ended.text.contains(*text)), "{}", ended.text);
        assert!(ended.text.contains("tripline snapshot"), "{}", ended.text);
    }
    for to in [&removed.to_string(), &now] {
        pipeline.fine(&format!("offset rewind --to {to} --yes")).await;
        // What comes again stays until it has.
        let said: u64 = value(&pipeline.from, "select acknowledged ->> 'offset' from cdc.pipelines")
            .await
            .parse()
            .unwrap();
        assert!(said >= removed, "{said}");
        let daemon = pipeline.start_ready("run").await;
        assert_eq!(pipeline.compare().await, 105);
        pipeline.stop(daemon).await;
        if removed_to(&pipeline).await > removed {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_offset_file_is_brought_up_to_the_cuts_although_its_anchors_are_gone() {
    let (pipeline, daemon) = published(&[("retention.keep_hours", "0")], 50).await;
    let file = std::fs::read(pipeline.offset_file()).unwrap();
    run(&pipeline.from, "insert into t select n, 'y' from generate_series(51, 300) n").await;
    pipeline.caught_up().await;
    emptied(&pipeline).await;
    // The offset has settled behind the last cut, so what was removed lies above the cut's.
    pipeline.wait_until("it is said", async || removed_to(&pipeline).await >= 292).await;
    pipeline.stop(daemon).await;
    std::fs::write(pipeline.offset_file(), file).unwrap();
    let daemon = pipeline.start_ready("run").await;
    run(&pipeline.from, "update t set v = 'z' where id < 10").await;
    assert_eq!(pipeline.compare().await, 300);
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_refuses_what_it_could_only_report_falsely() {
    let pipeline = Pipeline::create(&[("retention.keep_hours", "0")], SCHEMA).await;
    pipeline.init().await;
    let publisher = pipeline.start_ready("publish").await;
    let applier = pipeline.start_ready("apply").await;
    run(&pipeline.from, "insert into t select n, 'x' from generate_series(1, 50) n").await;
    pipeline.caught_up().await;
    pipeline.stop(applier).await;
    // While no applier runs more is published than the log keeps.
    run(&pipeline.from, "update t set v = 'y'; insert into t select n, 'x' from generate_series(51, 200) n")
        .await;
    pipeline.wait_until("the log of it is removed", async || removed_to(&pipeline).await > 200).await;
    let ended = pipeline.command("verify").await;
    assert_eq!(ended.code, Some(2), "{}", ended.text);
    for target in ["postgres", "clickhouse"] {
        let says = format!("{target} has applied pass");
        assert!(ended.text.contains(&says) && !ended.text.contains("missing"), "{}", ended.text);
    }
    let applier = pipeline.start_ready("apply").await;
    pipeline.caught_up().await;
    // The log is emptied up to above the last cut's offset, and nothing of it is missed.
    emptied(&pipeline).await;
    pipeline.fine("verify").await;
    assert_eq!(pipeline.compare().await, 200);
    pipeline.stop(applier).await;
    pipeline.stop(publisher).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_without_a_key_is_logged_anew_before_its_log_is_published_from_the_start() {
    let settings = [("retention.keep_hours", "0"), ("source.snapshot", "initial")];
    let pipeline = Pipeline::create(&settings, "create table words (word text)").await;
    pipeline.configure("[[table]]\nname = \"public.words\"\nappend_only = true\n");
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    run(&pipeline.from, "insert into words select 'w' from generate_series(1, 50)").await;
    pipeline.caught_up().await;
    let left = "select count(*) from cdc.words_cdc";
    pipeline
        .wait_until("its log is removed", async || {
            value(&pipeline.from, left).await.parse::<u64>().unwrap() <= 8
        })
        .await;
    pipeline.stop(daemon).await;
    let ended = pipeline.command("offset reset --yes --clear-destination").await;
    assert_eq!(ended.code, Some(2), "{}", ended.text);
    assert!(ended.text.contains("public.words is append_only, and retention"), "{}", ended.text);
    pipeline.fine("snapshot public.words").await;
    pipeline.fine("offset reset --yes --clear-destination").await;
    let daemon = pipeline.start_ready("run").await;
    pipeline.caught_up().await;
    assert_eq!(value(&pipeline.to, "select count(*) from words").await, "50");
    pipeline.stop(daemon).await;
}
