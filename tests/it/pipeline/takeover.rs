//! A publisher that is taken for dead comes back, where Kafka does not fence it (`delivery = "at_least_once"`).

use super::harness::Pipeline;
use crate::db::run;

/// Fails when a row at the destination goes back, for a moment even: the trigger fires in the applier's session too.
const NEVER_BACK: &str = "
create table t (id int primary key, v int not null);
create function forward() returns trigger language plpgsql as $$ begin
    if new.v < old.v then raise 'row % went back from % to %', old.id, old.v, new.v; end if;
    return new;
end $$;
create trigger forward before update on t for each row execute function forward();
alter table t enable always trigger forward;";

/// Statements that each change every row, so that a pass holds every row many times.
fn updates(from: i32) -> String {
    (from..from + 40).map(|v| format!("update t set v = {v};")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_former_publisher_still_writes_does_not_count() {
    let settings = [("kafka.delivery", "at_least_once"), ("tail.window_rows", "20")];
    let mut pipeline =
        Pipeline::create(&settings, "create table t (id int primary key, v int not null)").await;
    for text in ["has taken over", "starting again", "another publisher"] {
        pipeline.expect(text);
    }
    run(&pipeline.to, NEVER_BACK).await;
    pipeline.init().await;
    run(&pipeline.from, "insert into t select n, 0 from generate_series(1, 50) n").await;
    let applier = pipeline.start_ready("apply").await;
    for round in 1..=3 {
        let v = round * 1_000;
        let mut former = pipeline.start_ready("publish").await;
        run(&pipeline.from, &updates(v)).await;
        pipeline.wait_until("it publishes", async || former.times_logged("published") > 3).await;
        former.signal("-STOP");
        // The server no longer hears of it; its successor works on another machine, from an older file.
        pipeline.end_publishers_sessions().await;
        pipeline.move_offsets();
        let successor = pipeline.start_ready("publish").await;
        run(&pipeline.from, &updates(v + 100)).await;
        pipeline.caught_up().await;
        let before = former.times_logged("published");
        former.signal("-CONT");
        pipeline
            .wait_until("the former one goes on", async || {
                former.poll().is_some()
                    || former.times_logged("published") > before
                    || former.has_logged("waiting as a standby")
            })
            .await;
        former.kill9();
        successor.kill9();
        let third = pipeline.start_ready("publish").await;
        run(&pipeline.from, &updates(v + 200)).await;
        pipeline.compare().await;
        pipeline.stop(third).await;
    }
    pipeline.stop(applier).await;
}
