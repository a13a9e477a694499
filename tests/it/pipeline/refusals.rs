//! Changes that a target cannot take.

use super::harness::{MARKER, Pipeline};
use crate::db::{run, value};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_does_not_fit_halts_the_applier_and_goes_in_once_it_does() {
    let pipeline = Pipeline::create(&[], "create table orders (id bigint primary key, body text)").await;
    pipeline.init().await;
    run(&pipeline.to, "alter table orders add constraint short check (length(body) <= 5)").await;
    let (publisher, applier) = (pipeline.start_ready("publish").await, pipeline.start_ready("apply").await);
    run(&pipeline.from, "insert into orders values (1, 'short')").await;
    pipeline.compare().await;
    let positions =
        "select string_agg(p::text, ' ' order by p::text collate \"C\") from tripline.positions p";
    let before = value(&pipeline.to, positions).await;

    let long = format!(
        "begin; insert into orders values (2, 'fits'); insert into orders values (3, '{MARKER}'); commit"
    );
    run(&pipeline.from, &long).await;
    let cdc_id = value(&pipeline.from, "select cdc_id from cdc.orders_cdc where id = 3").await;
    let names = ["public.orders".to_owned(), cdc_id];
    let names = names.each_ref().map(String::as_str);
    pipeline.ends_with(applier, 2, &names).await;
    pipeline.refuses("apply", &names).await;
    assert_eq!(value(&pipeline.to, positions).await, before, "no position moved");
    assert_eq!(value(&pipeline.to, "select count(*) from orders").await, "1", "nothing of the pass is there");

    run(&pipeline.to, "alter table orders drop constraint short").await;
    let applier = pipeline.start_ready("apply").await;
    assert_eq!(pipeline.compare().await, 3);
    pipeline.stop(publisher).await;
    pipeline.stop(applier).await;
}
