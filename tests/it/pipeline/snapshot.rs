//! Existing rows: copied by themselves at the first start, on request at any time, beside the changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::harness::{MARKER, Pipeline};
use super::load::seed;
use crate::db::{rows, run, value};

/// Keys of every kind that has its own way of being compared.
const TABLES: &str = "
create extension citext;
create type mood as enum ('sad', 'ok', 'happy');
create domain code as text check (value <> '');
create table items (id bigint primary key, v text, n int);
create table pairs (a int, b text collate \"C\", v int, primary key (a, b));
create table words (w text primary key, v int);
create table loud (w citext, m mood, v int, primary key (w, m));
create table ids (id uuid primary key, v int);
create table prices (p numeric primary key, v int);
create table moments (at timestamptz, c code, v float8, primary key (at, c));
create table keys_alone (a int, b int, primary key (a, b));
create table newest (id int not null, seq int not null, v int);
create unique index newest_key on newest (id desc, seq);
create table nothing (id int primary key);
create table parted (id int, v text, primary key (id)) partition by range (id);
create table parted_low partition of parted for values from (minvalue) to (500);
create table parted_high partition of parted for values from (500) to (maxvalue);";
const ROWS: &str = "
insert into items select g, 's3cr3t-r0w-v4lue ' || g, g from generate_series(1, 12000) g;
insert into pairs select g % 7, chr(65 + g % 50) || g, g from generate_series(1, 400) g;
insert into words select (array['é', 'e', 'E', 'z', 'Z', '', ' ', 'a\tb', 'a\\', 'ß'])[1 + g % 10] || md5(g::text), g
  from generate_series(1, 400) g;
insert into loud select (case g % 2 when 0 then 'A' else 'b' end) || g, (enum_range(null::mood))[1 + g % 3], g from generate_series(1, 400) g;
insert into ids select md5(g::text)::uuid, g from generate_series(1, 400) g;
insert into prices select g / 7.0, g from generate_series(-200, 200) g;
insert into prices values ('NaN', 0), (1e100, 1);
insert into moments select timestamptz '2020-01-01' - g * interval '7 hours 3 microseconds', 'c' || g, g / 3.0 from generate_series(1, 400) g;
insert into moments values ('1970-01-01', 'x', 'NaN'), ('2100-01-01', 'x', '-0');
insert into keys_alone select g % 20, g from generate_series(1, 400) g;
insert into newest select g % 13, g, g from generate_series(1, 400) g;
insert into parted select g, 'v' || g from generate_series(1, 1000) g;";

async fn pipeline(settings: &[(&str, &str)]) -> Pipeline {
    let mut pipeline = Pipeline::create(&[("source.snapshot", "initial")], TABLES).await;
    for (key, value) in settings {
        pipeline.set(key, value);
    }
    pipeline.configure("[[table]]\nname = \"public.newest\"\nkey_index = \"newest_key\"\n");
    run(&pipeline.from, ROWS).await;
    run(&pipeline.to, "create extension citext; create domain code as text").await;
    pipeline
}

/// Changes `items` until the stop: rows of chunks that are being read, behind and ahead.
async fn disturb(
    pipeline: &Pipeline,
    seed: u64,
    stop: Arc<AtomicBool>,
) -> Vec<tokio::task::JoinHandle<usize>> {
    let mut writers = Vec::new();
    for number in 0..2 {
        let client = pipeline.source.connect().await;
        let mut random = StdRng::seed_from_u64(seed.wrapping_add(number));
        let stop = Arc::clone(&stop);
        writers.push(tokio::spawn(async move {
            let mut committed = 0;
            while !stop.load(Ordering::Relaxed) {
                let (id, n) = (random.random_range(1..13000), random.random_range(0..1_000_000));
                let statement = match random.random_range(0..8) {
                    0 | 1 => format!("insert into items values ({id}, 'new', {n}) on conflict (id) do update set n = {n}"),
                    2 | 3 => format!("update items set n = {n} where id between {id} and {id} + 3"),
                    4 => format!("delete from items where id between {id} and {id} + 2"),
                    5 => format!("update items set id = -id where id between {id} and {id} + 1"),
                    6 => format!("update pairs set v = {n} where a = {}; delete from words where v = {}", id % 7, id % 400),
                    _ => format!(
                        "begin; update parted set id = 1001 - id where id = {0} and not exists (select from parted where id = 1001 - {0}); \
                         delete from keys_alone where b = {0}; insert into newest values ({0}, 0, {n}) on conflict do nothing; commit",
                        id % 1000
                    ),
                };
                match client.batch_execute(&statement).await {
                    Ok(()) => committed += 1,
                    // A deadlock, or a key that is taken.
                    Err(_) => run(&client, "rollback").await,
                }
            }
            committed
        }));
    }
    writers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn existing_rows_of_every_table_are_copied_by_themselves_while_writers_run() {
    let pipeline = pipeline(&[("tail.window_rows", "500")]).await;
    let said = pipeline.fine("init").await;
    assert!(said.contains("existing rows: of 11 tables will be copied"), "{said}");
    let stop = Arc::new(AtomicBool::new(false));
    let writers = disturb(&pipeline, seed(), Arc::clone(&stop)).await;
    let status = pipeline.command("status").await;
    assert!(status.code == Some(1) && status.text.contains("waiting, 0 rows"), "{}", status.text);
    let daemon = pipeline.start_ready("run").await;
    let verified = pipeline.command("verify").await;
    assert!(
        verified.text.contains("are still being copied") || verified.code == Some(0),
        "{}",
        verified.text
    );
    pipeline.wait_until("all is copied", async || !pipeline.copying().await).await;
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        assert!(writer.await.unwrap() > 0);
    }
    let compared = pipeline.compare().await;
    assert!(compared > 5_000, "{compared}");
    pipeline.fine("verify").await;
    let said = pipeline.fine("snapshot").await;
    assert_eq!(said.matches(": done, ").count(), 11, "{said}");
    // A second time there is nothing to do.
    let said = pipeline.fine("init").await;
    assert!(!said.contains("existing rows"), "{said}");
    let messages = tokio::task::block_in_place(|| pipeline.topics.read("keys_alone"));
    let values: Vec<String> = messages.into_iter().filter_map(|message| message.value).collect();
    let reads = values.iter().filter(|value| value.contains(r#""op":"r""#));
    assert!(reads.clone().all(|value| value.contains(r#""snapshot":"true""#)) && reads.count() > 100);
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copying_goes_on_where_it_was_however_often_it_is_killed() {
    let pipeline = pipeline(&[("tail.window_rows", "500")]).await;
    pipeline.expect("Failed to acquire transactional PID");
    pipeline.init().await;
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let stop = Arc::new(AtomicBool::new(false));
    let writers = disturb(&pipeline, seed, Arc::clone(&stop)).await;
    let mut kills = 0;
    // What is left then is copied by the last one.
    while kills < 7 && pipeline.copying().await {
        let points = [
            "tail::after-read",
            "publish::before-commit",
            "publish::after-commit",
            "offset::after-save",
            "apply::before-commit",
            "apply::after-commit",
            "mirror::before-progress",
        ];
        // The first daemon dies for certain: no copy gets through without publishing more than a few parts.
        let point = if kills == 0 { "publish::before-commit" } else { points.choose(&mut random).unwrap() };
        let armed = format!("{point}={}*off->return", random.random_range(2..8));
        let mut daemon = pipeline.start_armed("run", &armed);
        let mut over = false;
        pipeline
            .wait_until("it dies or is through", async || {
                over = !pipeline.copying().await;
                daemon.poll().is_some() || over
            })
            .await;
        kills += usize::from(daemon.poll().is_some());
        daemon.kill9();
        if over {
            break;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    let daemon = pipeline.start_ready("run").await;
    println!("{kills} kills, {} rows compared", pipeline.compare().await);
    assert!(kills > 0);
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncate_in_the_middle_leaves_what_came_after_it() {
    let pipeline = pipeline(&[("tail.window_rows", "40")]).await;
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    pipeline.wait_until("items is being copied", async || daemon.times_logged("published") > 10).await;
    run(&pipeline.from, "truncate items; insert into items values (1, 'again', 1), (2900, 'again', 1)").await;
    run(&pipeline.from, "truncate parted_low; insert into parted values (7, 'again')").await;
    let compared = pipeline.compare().await;
    assert!(compared > 1_000, "{compared}");
    assert_eq!(value(&pipeline.to, "select count(*) from items").await, "2");
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_puts_right_what_was_missed_and_removes_what_is_gone() {
    let pipeline = pipeline(&[("tail.window_rows", "90")]).await;
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    pipeline.compare().await;
    // What no trigger saw: rows that are gone, new, changed, and one that changes again afterwards.
    let missed = "begin; set local session_replication_role = replica;
        delete from items where id % 5 = 0; update items set v = 'missed' where id % 7 = 0;
        insert into items values (20001, 'missed', 1); delete from keys_alone where a = 3;
        delete from loud where w = 'B1'; update moments set v = -1 where c = 'c1'; commit;
        update items set n = 0 where id = 20001";
    run(&pipeline.from, missed).await;
    run(&pipeline.to, "insert into items values (-5, 'of nobody', 0); delete from words where v < 100").await;
    pipeline.fine("snapshot public.items public.keys_alone public.loud moments words --wait").await;
    let compared = pipeline.compare().await;
    assert!(compared > 5_000, "{compared}");
    assert_eq!(value(&pipeline.to, "select count(*) from items where id = -5 or id % 5 = 0").await, "0");
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_missed_while_triggers_were_off_is_copied_by_init() {
    let pipeline = pipeline(&[]).await;
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    pipeline.compare().await;
    pipeline.stop(daemon).await;
    run(&pipeline.from, "alter table items disable trigger user; delete from items where id < 100; insert into items values (-1, 'x', 1); alter table items enable trigger user").await;
    let said = pipeline.fine("init").await;
    assert!(said.contains("public.items: may have missed changes, its rows will be copied anew"), "{said}");
    let daemon = pipeline.start_ready("run").await;
    pipeline.compare().await;
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_of_the_rows_can_be_copied_and_removes_nothing() {
    let mut pipeline = pipeline(&[]).await;
    pipeline.set("source.snapshot", "never");
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    let wrong = pipeline.command("snapshot public.items --where nonsense=1").await;
    assert!(wrong.code == Some(2) && wrong.text.contains("nonsense"), "{}", wrong.text);
    pipeline.fine("snapshot public.items --where id<=100 --wait").await;
    pipeline.caught_up().await;
    assert_eq!(value(&pipeline.to, "select count(*) from items").await, "100");
    run(&pipeline.to, "insert into items values (-1, 'stays', 1)").await;
    pipeline.fine("snapshot public.items --where id>11990 --wait").await;
    pipeline.caught_up().await;
    assert_eq!(value(&pipeline.to, "select count(*) from items").await, "111");
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_a_policy_hides_are_an_error_and_never_a_part_of_the_table() {
    let mut pipeline = pipeline(&[]).await;
    pipeline.init().await;
    let role = pipeline.source.role("reader").await;
    let grants = format!(
        "grant usage on schema cdc to {role}; grant select on all tables in schema cdc, public to {role};
         grant select, usage on sequence cdc.cdc_id_seq to {role};
         grant insert, update on cdc.pipelines, cdc.snapshots to {role};
         alter table items enable row level security; create policy half on items using (id > 1000)"
    );
    run(&pipeline.from, &grants).await;
    let url = pipeline.source.url();
    pipeline.set("source.url", &url.replacen("postgres@", &format!("{role}@"), 1));
    pipeline.expect("row security policy");
    // The role has no right to delete.
    pipeline.expect("no log rows are removed");
    let says = ["the existing rows of public.items cannot be read", "BYPASSRLS", "--cancel"];
    pipeline.ends_with(pipeline.start("publish"), 77, &says).await;
    let said = pipeline.fine("snapshot public.items --cancel").await;
    assert!(said.contains("1 requests given up"), "{said}");
    run(&pipeline.from, &format!("revoke select on words from {role}")).await;
    let says = ["the existing rows of public.words cannot be read", "SELECT"];
    pipeline.ends_with(pipeline.start("publish"), 77, &says).await;
    run(&pipeline.from, &format!("grant select on words to {role}")).await;
    let daemon = pipeline.start_ready("run").await;
    pipeline.caught_up().await;
    assert_eq!(value(&pipeline.to, "select count(*) from items").await, "0");
    assert_eq!(value(&pipeline.to, "select count(*) from words").await, "400");
    run(&pipeline.from, &format!("alter role {role} bypassrls")).await;
    pipeline.fine("snapshot public.items --wait").await;
    pipeline.compare().await;
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_table_waits_and_holds_up_no_other() {
    let pipeline = pipeline(&[("tail.lock_timeout_ms", "100")]).await;
    pipeline.init().await;
    let locker = pipeline.source.connect().await;
    run(&locker, "begin; lock table items in access exclusive mode").await;
    let daemon = pipeline.start_ready("run").await;
    run(&pipeline.from, "insert into nothing select g from generate_series(1, 10) g").await;
    let there = async || value(&pipeline.to, "select count(*) from nothing").await == "10";
    pipeline.wait_until("changes pass", there).await;
    assert_eq!(value(&pipeline.to, "select count(*) from items").await, "0");
    run(&locker, "rollback").await;
    pipeline.compare().await;
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_copies_existing_rows_again() {
    let pipeline = pipeline(&[]).await;
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    pipeline.compare().await;
    pipeline.stop(daemon).await;
    // Deletes that the log does not have: its rows must not come back with it.
    run(&pipeline.from, "insert into items select g, 'x', 1 from generate_series(20001, 20100) g").await;
    let missed =
        "begin; set local session_replication_role = replica; delete from items where id > 20050; commit";
    run(&pipeline.from, missed).await;
    pipeline.fine("offset reset --clear-destination --clear-topics --yes").await;
    pipeline.fine("init").await;
    let daemon = pipeline.start_ready("run").await;
    let compared = pipeline.compare().await;
    assert!(compared > 5_000, "{compared}");
    // Behind a rewind the log alone would undo what a reload has put right.
    run(&pipeline.from, "update items set n = 1 where id = 1").await;
    pipeline.caught_up().await;
    let before = value(&pipeline.from, "select last_value from cdc.cdc_id_seq").await;
    run(
        &pipeline.from,
        "begin; set local session_replication_role = replica; update items set n = 2 where id = 1; commit",
    )
    .await;
    pipeline.fine("snapshot items --wait").await;
    pipeline.compare().await;
    pipeline.stop(daemon).await;
    let back = before.parse::<u64>().unwrap() - 1;
    let said = pipeline.fine(&format!("offset rewind --to {back} --yes")).await;
    assert!(said.contains("the rows of public.items are copied again"), "{said}");
    let daemon = pipeline.start_ready("run").await;
    pipeline.compare().await;
    let n = rows(&pipeline.to, "select n from items where id = 1").await;
    assert_eq!(n.len(), 1);
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_of_existing_rows_stand_in_no_log() {
    let pipeline = pipeline(&[]).await;
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    pipeline.compare().await;
    // The pipeline's end looks for the marker in all logs; here only that it was there to be found.
    let marked = value(&pipeline.to, &format!("select count(*) from items where v like '{MARKER}%'")).await;
    assert_eq!(marked, "12000");
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_can_be_given_up_in_the_middle() {
    let pipeline = pipeline(&[("tail.window_rows", "2")]).await;
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    let begun = async || daemon.has_logged("copying existing rows table=public.items");
    pipeline.wait_until("items is being copied", begun).await;
    pipeline.fine("snapshot public.items --cancel").await;
    pipeline.wait_until("it stops", async || daemon.has_logged("was given up")).await;
    pipeline.fine("snapshot --all --cancel").await;
    pipeline.caught_up().await;
    let copied: usize = value(&pipeline.to, "select count(*) from items").await.parse().unwrap();
    assert!(copied < 12_000, "{copied}");
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_an_applier_meets_together_with_what_it_sweeps_leaves_no_ghost() {
    let pipeline = pipeline(&[]).await;
    pipeline.init().await;
    let publisher = pipeline.start_ready("publish").await;
    let applier = pipeline.start_ready("apply").await;
    pipeline.compare().await;
    pipeline.stop(applier).await;
    run(&pipeline.from, "insert into items values (20001, 'gone', 1), (20002, 'stays', 1)").await;
    let missed =
        "begin; set local session_replication_role = replica; delete from items where id = 20001; commit";
    run(&pipeline.from, missed).await;
    pipeline.fine("snapshot items --wait").await;
    let applier = pipeline.start_ready("apply").await;
    pipeline.compare().await;
    pipeline.stop(applier).await;
    pipeline.stop(publisher).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_whose_triggers_may_keep_rows_from_being_written_is_not_swept() {
    let pipeline = pipeline(&[]).await;
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    pipeline.compare().await;
    let trigger = "create trigger quiet before update on items for each row execute function suppress_redundant_updates_trigger();
        alter table items enable always trigger quiet";
    run(&pipeline.to, trigger).await;
    pipeline.fine("snapshot items").await;
    pipeline
        .ends_with(daemon, 2, &["public.items", "which of them are gone cannot be told", "disable it"])
        .await;
    run(&pipeline.to, "drop trigger quiet on items").await;
    let daemon = pipeline.start_ready("run").await;
    pipeline.compare().await;
    pipeline.stop(daemon).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_that_fails_on_a_row_halts_and_can_be_given_up() {
    let pipeline = pipeline(&[]).await;
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    pipeline.compare().await;
    pipeline.fine("snapshot items --where v::int>5").await;
    pipeline.ends_with(daemon, 2, &["condition of a request for rows of public.items", "--cancel"]).await;
    pipeline.fine("snapshot items --cancel").await;
    let daemon = pipeline.start_ready("run").await;
    pipeline.compare().await;
    pipeline.stop(daemon).await;
}
