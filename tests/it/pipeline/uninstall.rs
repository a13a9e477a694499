//! `tripline uninstall --all`: nothing of a pipeline is left, in no store, and nothing of anybody else is gone.

use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::harness::Pipeline;
use crate::db::{rows, run, value};

const SCHEMA: &str = "create table orders (id bigint primary key, body text);
    create table words (word text primary key)";
/// Everything of a database by kind and name, but the replicated tables and what belongs to them.
const OBJECTS: &str = "
    select 'relation', c.oid::regclass::text from pg_class c where c.oid >= 16384
      and c.relnamespace not in ('public'::regnamespace, 'pg_toast'::regnamespace)
    union all select 'function', p.oid::regprocedure::text from pg_proc p where p.oid >= 16384
    union all select 'trigger', g.tgname from pg_trigger g
    union all select 'event trigger', e.evtname from pg_event_trigger e
    union all select 'schema', n.nspname from pg_namespace n where n.nspname !~ '^pg_(toast_)?temp'
    order by 1, 2";

impl Pipeline {
    /// Topics and consumer groups whose names begin with the pipeline's. Blocking.
    fn traces_in_kafka(&self) -> Vec<String> {
        let mut client = rdkafka::ClientConfig::new();
        let client: BaseConsumer = client.set("bootstrap.servers", &self.topics.servers).create().unwrap();
        let patience = std::time::Duration::from_secs(20);
        let metadata = client.fetch_metadata(None, patience).unwrap();
        let groups = client.fetch_group_list(None, patience).unwrap();
        let topics = metadata.topics().iter().map(|topic| topic.name().to_owned());
        let names = topics.chain(groups.groups().iter().map(|group| group.name().to_owned()));
        names.filter(|name| name.starts_with(&self.name)).collect()
    }

    async fn in_clickhouse(&self) -> Vec<String> {
        let sql =
            format!("select name from system.tables where database = '{}' order by 1", self.mirror.database);
        self.mirror.read(&sql).await
    }

    async fn objects(&self) -> [Vec<Vec<String>>; 2] {
        [rows(&self.from, OBJECTS).await, rows(&self.to, OBJECTS).await]
    }

    /// Runs a command that has to fail; returns what it said.
    async fn fails(&self, line: &str) -> String {
        let ended = self.command(line).await;
        assert_eq!(ended.code, Some(2), "{}", ended.text);
        ended.text
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_anywhere_but_the_replicated_rows() {
    let pipeline = Pipeline::create(&[], SCHEMA).await;
    let before = pipeline.objects().await;
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    run(&pipeline.from, "insert into orders values (1, 'a'), (2, 'b'); insert into words values ('w')").await;
    pipeline.compare().await;
    pipeline.fine("verify").await;

    let planned = pipeline.command("uninstall --all").await;
    assert_eq!(planned.code, Some(1), "{}", planned.text);
    let name = &pipeline.name;
    for part in [
        &format!("would remove topic {name}.public.orders"),
        &format!("would remove topic {name}.tripline.cuts"),
        &format!("would remove consumer group {name}-clickhouse"),
        &format!("would remove view {name}.orders_current"),
        &format!("would remove file {}", pipeline.offset_file().display()),
        &format!("positions of pipeline {name} at the destination"),
        "schema tripline at the destination",
        "trigger \"00_tripline_cdc_insert\" on public.orders at the source",
        "functions in schema cdc at the source",
        "table cdc.orders_cdc at the source",
        "schema cdc at the source",
        "nothing was changed",
    ] {
        assert!(planned.text.contains(part), "{part:?} is not in:\n{}", planned.text);
    }
    assert!(pipeline.fails("uninstall --all --yes").await.contains("is held by pid"));
    pipeline.stop(daemon).await;
    let applier = pipeline.start_ready("apply").await;
    assert!(pipeline.fails("uninstall --all --yes").await.contains("an applier of pipeline"));
    pipeline.stop(applier).await;
    assert!(!pipeline.traces_in_kafka().is_empty(), "what is refused changes nothing");

    // Somebody else's view is in the way: it is named, and the rest can be taken away by saying it again.
    run(&pipeline.from, "create view cdc.mine as select 1 as one").await;
    assert!(pipeline.fails("uninstall --all --yes").await.contains("cdc"));
    assert_eq!(value(&pipeline.from, "select one from cdc.mine").await, "1");
    run(&pipeline.from, "drop view cdc.mine").await;
    let done = pipeline.fine("uninstall --all --yes").await;
    assert!(done.ends_with("is left but the replicated tables\n"), "{done}");
    assert_eq!(pipeline.objects().await, before);
    assert_eq!(tokio::task::block_in_place(|| pipeline.traces_in_kafka()), [""; 0]);
    assert_eq!(pipeline.in_clickhouse().await, ["orders", "words"]);
    assert_eq!(value(&pipeline.to, "select count(*) from orders").await, "2");
    let kept = pipeline.mirror.read("select count() from orders final where _deleted = 0").await;
    assert_eq!(kept, ["2"]);
    assert_eq!(std::fs::read_dir(pipeline.offsets()).unwrap().count(), 0);

    // There is nothing to do, and a first start is one.
    pipeline.fine("uninstall --all --yes").await;
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    run(&pipeline.from, "insert into orders values (3, 'c')").await;
    pipeline.caught_up().await;
    pipeline.stop(daemon).await;
    pipeline.fine("uninstall --all --drop-mirror --yes").await;
    assert_eq!(pipeline.in_clickhouse().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_other_pipelines_use_stays() {
    let pipeline = Pipeline::create(&[], SCHEMA).await;
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    run(&pipeline.from, "insert into orders values (1, 'a'); insert into cdc.pipelines values ('other')")
        .await;
    pipeline.compare().await;
    pipeline.stop(daemon).await;
    run(&pipeline.to, "insert into tripline.positions values ('other', 'other.public.orders', 0, 7)").await;
    let stranger = pipeline.offsets().join("other.json");
    std::fs::write(&stranger, "{}").unwrap();

    let planned = pipeline.command("uninstall --all").await;
    assert!(
        planned.text.contains("kept: capture at the source, because pipeline other reads it"),
        "{}",
        planned.text
    );
    assert!(
        !planned.text.contains("schema cdc") && !planned.text.contains("schema tripline"),
        "{}",
        planned.text
    );
    let planned = pipeline.command("uninstall").await;
    assert!(planned.text.contains("pipeline other reads them too"), "{}", planned.text);
    pipeline.fine("uninstall --all --yes").await;
    assert_eq!(value(&pipeline.from, "select string_agg(pipeline, ' ') from cdc.pipelines").await, "other");
    assert_eq!(value(&pipeline.from, "select count(*) from cdc.orders_cdc").await, "1");
    assert_eq!(
        value(&pipeline.to, "select string_agg(pipeline, ' ') from tripline.positions").await,
        "other"
    );
    assert!(stranger.exists());

    run(&pipeline.from, "delete from cdc.pipelines").await;
    run(&pipeline.to, "delete from tripline.positions").await;
    pipeline.fine("uninstall --all --yes").await;
    for client in [&pipeline.from, &pipeline.to] {
        let left = "select count(*) from pg_namespace where nspname in ('cdc', 'tripline')";
        assert_eq!(value(client, left).await, "0");
    }
}
