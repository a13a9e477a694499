//! What `tripline uninstall` leaves: nothing.

use tokio_postgres::Client;
use tripline::capture::{self, CaptureError, InitOptions};
use tripline::config::{Config, TableOverride};
use tripline::selection::Mask;

use crate::db::{TestDb, Which, rows, run};

/// Every object of the database by kind and name, with what is granted on tables.
async fn catalog(client: &Client) -> Vec<Vec<String>> {
    const OBJECTS: &str = "
        select 'relation', c.oid::regclass::text, c.relacl::text, '' from pg_class c where c.oid >= 16384
        union all select 'function', p.oid::regprocedure::text, '', '' from pg_proc p where p.oid >= 16384
        union all select 'type', t.oid::regtype::text, '', '' from pg_type t where t.oid >= 16384
        union all select 'trigger', g.tgname, g.tgrelid::regclass::text, '' from pg_trigger g
        union all select 'constraint', c.conname, c.conrelid::regclass::text, '' from pg_constraint c where c.oid >= 16384
        union all select 'event trigger', e.evtname, '', '' from pg_event_trigger e
        union all select 'default privileges', d.defaclacl::text, '', '' from pg_default_acl d
        union all select 'setting', s.setconfig::text, s.setdatabase::text, '' from pg_db_role_setting s
          where s.setdatabase = (select oid from pg_database where datname = current_database())
        union all select 'prepared', p.name, '', '' from pg_prepared_statements p
        union all select 'lock', l.objid::text, '', '' from pg_locks l
          where l.locktype = 'advisory' and l.database = (select oid from pg_database where datname = current_database())
        union all select 'schema', n.nspname, '', '' from pg_namespace n where n.nspname !~ '^pg_(toast_)?temp'
        order by 1, 2, 3";
    rows(client, OBJECTS).await
}

#[tokio::test]
async fn nothing_is_left_of_what_init_and_ddl_made() {
    let db = TestDb::create(Which::Source).await;
    let (mut client, app) = (db.connect().await, db.connect().await);
    run(
        &client,
        "create table t (id int primary key, v text); create table doomed (id int primary key);
         create table p (id int primary key) partition by hash (id);
         create table p0 partition of p for values with (modulus 1, remainder 0); create table words (word text);
         create function mine() returns trigger language plpgsql as 'begin return new; end';
         create trigger mine before insert on t for each row execute function mine()",
    )
    .await;
    let before = catalog(&client).await;
    let mut config = Config::default();
    config.source.tables = vec!["public.*".into()];
    let mut entry = TableOverride { name: "public.t".into(), ..TableOverride::default() };
    entry.mask.insert("v".into(), Mask::Hash);
    let words = TableOverride { name: "public.words".into(), append_only: true, ..TableOverride::default() };
    config.table = vec![entry, words];
    config.mask.salt = Some("salt".to_owned().into());
    capture::init(&mut client, &config, InitOptions::default()).await.unwrap();
    assert_ne!(catalog(&client).await, before);
    run(&app, "insert into t values (1, 'a'); alter table t add column w int; alter table t drop column w; drop table doomed; create table doomed (id int primary key)").await;
    // What others put into our schema is theirs: it is named, and nothing is dropped with it.
    run(&client, "create view cdc.mine as select 1 as one").await;
    let error = capture::uninstall(&mut client, "cdc").await.unwrap_err();
    let CaptureError::Query { source, .. } = &error else { panic!("{error}") };
    assert!(source.as_db_error().unwrap().detail().unwrap().contains("view cdc.mine"), "{source:?}");
    run(&app, "insert into t values (2, 'b'); delete from t; truncate p0; drop view cdc.mine").await;
    capture::uninstall(&mut client, "cdc").await.unwrap();
    assert_eq!(catalog(&client).await, before);
}
