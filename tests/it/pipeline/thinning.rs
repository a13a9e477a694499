//! Passes in which few keys change often: what later changes overtake never reaches the targets, unless they need it.

use super::harness::Pipeline;
use crate::db::run;

/// Windows and batches that the passes are many times as large as.
const SMALL: [(&str, &str); 3] =
    [("tail.window_rows", "100"), ("apply.batch_rows", "250"), ("mirror.batch_rows", "250")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_pass_of_few_keys_is_a_few_batches() {
    let schema = "create table hot (id int primary key, n int not null, note text); \
                  create table log (id int primary key, hot int not null)";
    let pipeline = Pipeline::create(&SMALL, schema).await;
    pipeline.init().await;
    let publisher = pipeline.start_ready("publish").await;
    // 6,000 changes of 20 keys, among them some that go and come, and rows that are written once.
    run(
        &pipeline.from,
        "do $$ begin
           insert into hot select g, 0, null from generate_series(1, 20) g;
           for i in 1..300 loop
             update hot set n = i, note = nullif('note ' || i, 'note 7');
             delete from hot where id = i % 20 and i % 3 = 0;
             insert into hot select g, i, 'again' from generate_series(1, 20) g on conflict do nothing;
             insert into log values (i, i % 20);
           end loop;
           delete from hot where id = 13;
         end $$",
    )
    .await;
    pipeline.wait_until("all is published", async || pipeline.source_is_drained().await).await;
    let applier = pipeline.start_ready("apply").await;
    pipeline.compare().await;
    for target in ["postgres", "clickhouse"] {
        let batches = applier.times_logged(&format!("applied target_name=\"{target}\""));
        assert!((1..=8).contains(&batches), "{batches} batches to {target}, of more than 24 that came");
    }
    pipeline.stop(publisher).await;
    pipeline.stop(applier).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_that_were_left_out_are_read_again_where_constraints_want_them() {
    let schema = "create table seat (id int primary key, place int not null unique)";
    let pipeline = Pipeline::create(&SMALL, schema).await;
    run(&pipeline.to, schema).await;
    pipeline.init().await;
    run(&pipeline.from, "insert into seat select g, g from generate_series(1, 10) g").await;
    let daemon = pipeline.start_ready("run").await;
    pipeline.compare().await;
    pipeline.stop(daemon).await;
    let publisher = pipeline.start_ready("publish").await;
    // Neighbours change places, one pair after the other: in the end everybody has another place, and every step is needed.
    run(
        &pipeline.from,
        "do $$ begin
           for round in 1..31 loop
             for i in 1..9 loop
               update seat set place = -place where id in (i, i + 1);
               update seat set place = -(select s.place from seat s where s.id = 2 * i + 1 - seat.id)
                 where id in (i, i + 1);
             end loop;
           end loop;
         end $$",
    )
    .await;
    pipeline.wait_until("all is published", async || pipeline.source_is_drained().await).await;
    let applier = pipeline.start_ready("apply").await;
    pipeline.compare().await;
    assert!(applier.has_logged("reading again"));
    assert_eq!(applier.times_logged("reading again"), 1, "once, for as long as it runs");
    pipeline.stop(publisher).await;
    pipeline.stop(applier).await;
}
