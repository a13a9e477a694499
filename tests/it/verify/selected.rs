//! Tables of which only a part is captured: both targets hold that part, and it is what is compared.

use super::verify;
use crate::db::{run, value};
use crate::pipeline::harness::{MARKER, Pipeline};

const SCHEMA: &str = "create table people (id int primary key, email text not null, phone varchar(20), country text, card text);
    create table accounts (email text primary key, balance numeric)";
const SELECTION: &str = "
[[table]]
name = \"public.people\"
exclude = [\"card\"]
filter = \"country = 'DE'\"
[table.mask]
email = \"hash\"
phone = { truncate = 3 }
[[table]]
name = \"public.accounts\"
columns = [\"email\", \"balance\"]
mask = { email = \"hash\" }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_of_a_table_reaches_both_targets_and_nothing_else_does() {
    let settings =
        [("source.snapshot", "initial"), ("mask.salt", "a long salt"), ("tail.window_rows", "100")];
    let pipeline = Pipeline::create(&settings, SCHEMA).await;
    pipeline.configure(SELECTION);
    // Some rows are there before, and come as a snapshot, in more than one chunk.
    run(
        &pipeline.from,
        &format!(
            "insert into people select n, '{MARKER}' || n, '030', case when n % 2 = 0 then 'DE' end, '{MARKER}'
               from generate_series(1001, 1300) n;
             insert into accounts select '{MARKER}' || n, n % 100 + 200 from generate_series(1001, 1500) n"
        ),
    )
    .await;
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    run(
        &pipeline.from,
        &format!(
            "insert into people select n, '{MARKER}' || n, '049' || n, case when n % 2 = 0 then 'DE' end, '{MARKER}'
               from generate_series(1, 500) n;
             insert into accounts select '{MARKER}' || n, n from generate_series(1, 500) n;
             update people set country = 'FR' where id % 4 = 0; update people set country = 'DE' where id % 5 = 0;
             update accounts set email = email || '!' where balance < 100; delete from accounts where balance > 450;
             update people set card = null"
        ),
    )
    .await;
    let expected = value(&pipeline.from, "select count(*) from people where country = 'DE'").await;
    pipeline.fine("snapshot --wait").await;
    pipeline.caught_up().await;
    let verified = verify(&pipeline, "").await;
    assert_eq!(verified.code, Some(0), "{:#}", verified.answer);
    for target in ["postgres", "clickhouse"] {
        assert_eq!(verified.sum(target, "rows"), expected.parse::<u64>().unwrap() + 950, "{target}");
    }
    let joined = "select count(*) from people join accounts using (email) where phone = '049'";
    assert_ne!(value(&pipeline.to, joined).await, "0", "equal values have equal hashes in both tables");
    let columns = "select string_agg(attname, ' ' order by attnum) from pg_attribute
                   where attrelid = 'people'::regclass and attnum > 0";
    assert_eq!(value(&pipeline.to, columns).await, "id email phone country");
    for table in ["people", "accounts"] {
        let topics = &pipeline.topics;
        let messages = tokio::task::block_in_place(|| topics.read(table));
        assert!(messages.iter().all(|message| !format!("{message:?}").contains(MARKER)), "{table}");
    }
    let config = tripline::config::Config::load(Some(&pipeline.config())).unwrap();
    let cuts = tokio::task::block_in_place(|| tripline::publish::read_cuts(&config, 0)).unwrap();
    let chunks = cuts.iter().filter(|recorded| recorded.cut.position.load.is_some()).count();
    assert!(chunks > 5 && !format!("{cuts:?}").contains(MARKER), "no key in any position");

    run(&pipeline.to, "update people set phone = '04' where id = 10; delete from people where id = 20").await;
    run(&pipeline.to, "insert into people values (1, 'x', null, 'DE')").await;
    let verified = verify(&pipeline, "people").await;
    assert_eq!(verified.code, Some(1));
    let differing = verified.differing("public.people", "postgres");
    assert_eq!(differing, ["changed {\"id\":10}", "extra {\"id\":1}", "missing {\"id\":20}"]);
    pipeline.stop(daemon).await;
}
