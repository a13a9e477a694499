//! The offset file lost, damaged and started over.

use super::harness::Pipeline;
use super::load::{Load, SHOP, seed};
use crate::db::run;

/// A pipeline that has published and applied, with its daemon stopped.
async fn published(settings: &[(&str, &str)]) -> Pipeline {
    let pipeline = Pipeline::create(settings, SHOP).await;
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    let load = Load::start(&pipeline, 2, seed()).await;
    pipeline.wait_until("there is something", async || load.committed() > 50).await;
    load.finish().await;
    pipeline.compare().await;
    pipeline.stop(daemon).await;
    pipeline
}

/// Writes on, starts again, compares.
async fn goes_on(pipeline: &Pipeline) {
    run(&pipeline.from, "insert into customers select n, 'more' from generate_series(500, 600) n").await;
    let daemon = pipeline.start_ready("run").await;
    assert!(pipeline.compare().await > 100);
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_offset_file_is_refused_and_recovered_from_the_cuts_topic() {
    let pipeline = published(&[("tail.window_rows", "40")]).await;
    std::fs::remove_file(pipeline.offset_file()).unwrap();
    pipeline.refuses("run", &["is missing", "tripline offset recover"]).await;
    // Changes nothing without being told to.
    let asked = pipeline.command("offset recover").await;
    assert!(asked.code == Some(1) && !pipeline.offset_file().exists(), "{}", asked.text);
    // Nor is it taken for a first start.
    pipeline.init().await;
    assert!(!pipeline.offset_file().exists());

    pipeline.fine("offset recover --yes").await;
    goes_on(&pipeline).await;
    pipeline.topics.assert_exactly_once(&pipeline.from).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_offset_file_is_refused_and_recovered_from_the_cuts_topic() {
    let pipeline = published(&[]).await;
    let mut bytes = std::fs::read(pipeline.offset_file()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(pipeline.offset_file(), &bytes).unwrap();
    let file = pipeline.offset_file().display().to_string();
    pipeline.refuses("publish", &[&file, "tripline offset recover"]).await;
    for command in ["check", "offset show", "status"] {
        let ended = pipeline.command(command).await;
        assert!(ended.code == Some(2) && ended.text.contains(&file), "{command}: {}", ended.text);
    }
    pipeline.fine("offset recover --yes").await;
    goes_on(&pipeline).await;
    pipeline.topics.assert_exactly_once(&pipeline.from).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_with_everything_cleared_publishes_the_whole_log_again() {
    let pipeline = published(&[]).await;
    assert_eq!(pipeline.command("offset reset").await.code, Some(1));
    pipeline.fine("offset reset --yes --clear-destination --clear-topics").await;
    for table in ["customers", "orders"] {
        let left = crate::db::value(&pipeline.to, &format!("select count(*) from {table}")).await;
        assert_eq!(left, "0", "{table} was emptied");
    }
    let rows = "SELECT countIf(total_rows > 0) FROM system.tables WHERE database = currentDatabase()";
    assert_eq!(pipeline.mirror.read(rows).await, ["0"]);
    pipeline.init().await;
    goes_on(&pipeline).await;
    pipeline.topics.assert_exactly_once(&pipeline.from).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_that_clears_nothing_applies_the_log_again_over_what_is_there() {
    let pipeline = published(&[]).await;
    pipeline.fine("offset reset --yes").await;
    goes_on(&pipeline).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_are_gone_are_noticed_and_not_taken_for_empty_ones() {
    let pipeline = published(&[]).await;
    tokio::task::block_in_place(|| pipeline.topics.delete_all()).unwrap();
    pipeline.refuses("publish", &["does not exist", "tripline init"]).await;
    pipeline.init().await;
    pipeline.refuses("publish", &["the offset file names record", "tripline offset reset"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_is_moved_back_to_an_id_or_a_moment_and_what_came_since_is_published_again() {
    let pipeline = published(&[]).await;
    let log = "select count(*), max(cdc_id) from (select cdc_id from cdc.orders_cdc union all select cdc_id from cdc.customers_cdc) l";
    let before = crate::db::rows(&pipeline.from, log).await.swap_remove(0);
    let now = crate::db::value(&pipeline.from, "select to_json(clock_timestamp()) #>> '{}'").await;
    let daemon = pipeline.start_ready("run").await;
    run(&pipeline.from, "insert into customers select n, 'since' from generate_series(700, 720) n").await;
    pipeline.compare().await;
    // A transaction that is open all the while: its row is never taken for settled.
    let open = pipeline.source.connect().await;
    run(&open, "begin; insert into customers values (900, 'open')").await;
    run(&pipeline.from, "insert into customers values (901, 'behind it')").await;
    pipeline.compare().await;
    assert_eq!(pipeline.command(&format!("offset rewind --to {now} --yes")).await.code, Some(2), "it runs");
    pipeline.stop(daemon).await;

    let asked = pipeline.command(&format!("offset rewind --to {now}")).await;
    assert!(asked.code == Some(1) && asked.text.contains("rows           22 in the log"), "{}", asked.text);
    // Right before the first row since: a transaction of the load that was rolled back may have taken ids behind the last.
    let since = format!("select min(cdc_id) - 1 from cdc.customers_cdc where cdc_id > {}", before[1]);
    let offset = crate::db::value(&pipeline.from, &since).await;
    assert!(asked.text.contains(&format!("-> {offset}\n")), "{}", asked.text);
    // What is lost at the destination comes back with what is published again.
    run(&pipeline.to, "delete from customers where id >= 700").await;
    pipeline.fine(&format!("offset rewind --to {now} --yes")).await;
    run(&open, "commit").await;
    let daemon = pipeline.start_ready("run").await;
    pipeline.compare().await;
    pipeline.stop(daemon).await;

    run(&pipeline.to, "delete from customers; delete from orders").await;
    let all = pipeline.fine("offset rewind --to 0 --yes").await;
    let rows: u64 = before[0].parse::<u64>().unwrap() + 23;
    assert!(all.contains(&format!("rows           {rows} in the log")), "{all}");
    goes_on(&pipeline).await;
    for wrong in ["yesterday", "-1"] {
        assert_eq!(pipeline.command(&format!("offset rewind --to={wrong}")).await.code, Some(2));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_moved_back_inside_a_pass_begins_a_new_one_however_often_it_starts() {
    let settings = [("tail.window_rows", "500"), ("apply.batch_rows", "1000")];
    let mut pipeline = Pipeline::create(&settings, SHOP).await;
    pipeline.init().await;
    run(&pipeline.from, "insert into customers select n, 'many' from generate_series(1, 20000) n").await;
    let publisher = pipeline.start_armed("publish", "publish::after-commit=5*off->return");
    pipeline.died(publisher).await;
    let applier = pipeline.start_ready("apply").await;
    pipeline.fine("offset rewind --to 0 --yes").await;
    // It takes over and dies, twice, before the first part of the new pass.
    for _ in 0..2 {
        let publisher = pipeline.start_armed("publish", "publish::after-claim=return");
        pipeline.died(publisher).await;
    }
    goes_on_beside(&mut pipeline, applier).await;
}

/// Publishes beside an applier that runs, compares, and stops both.
async fn goes_on_beside(pipeline: &mut Pipeline, applier: super::daemon::Daemon) {
    let publisher = pipeline.start_ready("publish").await;
    run(&pipeline.from, "insert into customers select n, 'more' from generate_series(30500, 30600) n").await;
    assert!(pipeline.compare().await > 100);
    pipeline.stop(publisher).await;
    pipeline.stop(applier).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_of_another_pipeline_are_refused() {
    let mut pipeline = published(&[]).await;
    pipeline.set("kafka.topic_prefix", &pipeline.name.clone());
    let other = format!("{}x", pipeline.name);
    pipeline.set("pipeline", &other);
    for command in ["init", "publish"] {
        let ended = pipeline.command(command).await;
        assert!(ended.code == Some(2) && ended.text.contains("is written by pipeline"), "{}", ended.text);
    }
    pipeline.refuses("apply", &["is written by pipeline", "kafka.topic_prefix"]).await;
}
