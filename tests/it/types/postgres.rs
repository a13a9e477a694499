//! Random values of every type: trigger, log, JSON, destination.

use rand::Rng as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tripline::table::quote_literal;

use super::cases::{CASES, Case, TYPES, WITHOUT_INPUT};
use super::{clickhouse, oracle, page, random};
use crate::db::{run, value};
use crate::pipeline::harness::Pipeline;
use crate::pipeline::load::seed;

/// Rows of random values behind those with special ones.
const RANDOM_ROWS: usize = 40;

/// Settings of the application's sessions: nothing of them may show in what is captured.
const SETTINGS: [&str; 4] = [
    "",
    "set datestyle = 'German'; set intervalstyle = postgres_verbose; set timezone = 'Asia/Kathmandu';
     set bytea_output = escape; set extra_float_digits = -15; set xmloption = document; set client_encoding = latin1;
     set search_path = shadow, public",
    "set datestyle = 'SQL, DMY'; set intervalstyle = sql_standard; set timezone = '<odd>-12:34';
     set standard_conforming_strings = off; set escape_string_warning = off; set extra_float_digits = 0;
     set search_path = shadow, pg_catalog; set array_nulls = off",
    "set datestyle = 'Postgres, YMD'; set intervalstyle = postgres; set bytea_output = escape;
     set quote_all_identifiers = on; set search_path = ''; set lc_monetary = 'C.UTF-8'",
];

/// A search path begins with this: whoever trusts it gets another type or operator.
const SHADOW: &str = "
create schema shadow; create schema staging;
create domain shadow.text as integer; create domain shadow.int4 as text; create domain shadow.date as text;
create function shadow.concat(variadic pg_catalog.text[]) returns pg_catalog.text language sql as 'select ''wrong''::pg_catalog.text';
create function shadow.now() returns integer language sql as 'select 1'; create table shadow.pg_class (id integer);";

/// Scale below zero or above the precision came with PostgreSQL 15.
fn known(case: &&Case, server: u32) -> bool {
    server >= 150_000 || !matches!(case.declared, "numeric(5,-2)" | "numeric(3,5)")
}

fn value_of(case: &Case, row: usize, random: &mut StdRng) -> String {
    let text = match case.special.get(row) {
        Some(special) => (*special).to_owned(),
        None if random.random_ratio(1, 8) => return "null".into(),
        None => (case.draw)(random),
    };
    quote_literal(&text)
}

fn array_of(case: &Case, random: &mut StdRng) -> String {
    if random.random_ratio(1, 8) {
        return "null".into();
    }
    let special = |r: &mut StdRng| case.special[r.random_range(0..case.special.len())].to_owned();
    let draw = |r: &mut StdRng| {
        if case.special.is_empty() || r.random_ratio(3, 4) { (case.draw)(r) } else { special(r) }
    };
    quote_literal(&random::array(random, case.delimiter(), draw))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_values_of_every_type_arrive_as_they_were() {
    let mut random = StdRng::seed_from_u64(seed());
    let mut pipeline = Pipeline::create(&[("source.snapshot", "initial")], &format!("{TYPES}{SHADOW}")).await;
    run(&pipeline.to, TYPES).await;
    let server: u32 = value(&pipeline.from, "show server_version_num").await.parse().unwrap();
    let cases: Vec<&Case> = CASES.iter().filter(|case| known(case, server)).collect();
    let columns = cases.iter().enumerate().map(|(i, case)| format!(", c{i} {0}, a{i} {0}[]", case.declared));
    let columns: String = columns.collect();
    // What the mirror makes of every type where nothing is configured; it stays empty.
    let mapped =
        format!("create table mapped (id integer primary key{columns})").replace(", a", " not null, a");
    run(&pipeline.from, &mapped.replace(", c", " not null, c")).await;
    pipeline.init().await;
    pipeline.set("mirror.out_of_range", "string");
    let every = "create table every (id integer primary key";
    run(&pipeline.from, &format!("{every}{columns}); create table staging.every (like every)")).await;
    oracle::exactly(&pipeline.from).await;
    run(&pipeline.from, "set search_path = public").await;
    let special = cases.iter().map(|case| case.special.len()).max().unwrap();
    for row in 0..special + RANDOM_ROWS {
        let values: Vec<String> = cases
            .iter()
            .flat_map(|case| [value_of(case, row, &mut random), array_of(case, &mut random)])
            .collect();
        run(&pipeline.from, &format!("insert into staging.every values ({row}, {})", values.join(", ")))
            .await;
    }
    let part = |number: usize| format!("id % {} = {number}", SETTINGS.len() + 1);
    // Existing rows, which no trigger has seen.
    let copy = "insert into public.every select * from staging.every where";
    run(&pipeline.from, &format!("{copy} {}", part(SETTINGS.len()))).await;
    pipeline.init().await;
    let mut daemon = pipeline.start_ready("run").await;

    for (number, settings) in SETTINGS.iter().enumerate() {
        let writer = pipeline.source.connect().await;
        run(&writer, settings).await;
        let rows = part(number);
        run(&writer, &format!("{copy} {rows}")).await;
        // A few at a time go another way than many.
        run(&writer, &format!("update public.every set id = id where {rows} and id % 3 = 0")).await;
    }
    pipeline.wait_until("existing rows are copied", async || !pipeline.copying().await).await;
    pipeline.caught_up_by(&mut daemon).await;
    let compared = oracle::compare(&pipeline.from, &pipeline.to, "every").await;
    println!(
        "{} types, {} values, {} columns by equality",
        cases.len(),
        compared.values,
        compared.by_equality
    );
    let (mirrored, wrong) = clickhouse::compare(&pipeline.from, &pipeline.mirror, "every").await;
    println!("{mirrored} values in ClickHouse");
    let wrong: Vec<String> = compared.wrong.into_iter().chain(wrong).collect();
    if server >= 150_000 {
        page::check(&pipeline.from, &pipeline.to, &pipeline.mirror, &cases, &wrong).await;
    }
    let named = |wrong: &String| {
        let number = wrong.get(1..).and_then(|text| text.split([':', ' ']).next()?.parse::<usize>().ok());
        format!("{} {wrong}", number.map_or("id", |number| cases[number].declared))
    };
    let wrong: Vec<String> = wrong.iter().map(named).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    pipeline.stop(daemon).await;
}

#[tokio::test]
async fn no_builtin_type_is_forgotten() {
    let db = crate::db::TestDb::create(crate::db::Which::Source).await;
    let client = db.connect().await;
    run(&client, TYPES).await;
    let server: u32 = value(&client, "show server_version_num").await.parse().unwrap();
    let cases = CASES.iter().filter(|case| known(case, server));
    let tested: Vec<String> =
        cases.map(|case| format!("{}::regtype", quote_literal(case.declared))).collect();
    let without: Vec<String> = WITHOUT_INPUT.iter().map(|name| quote_literal(name)).collect();
    let forgotten = format!(
        "select coalesce(string_agg(typname, ' '), '') from pg_type t
         where typnamespace = 'pg_catalog'::regnamespace and typtype in ('b', 'r', 'm')
           and not exists (select from pg_type e where e.typarray = t.oid)
           and t.oid <> all (array[{}]) and typname <> all (array[{}])",
        tested.join(", "),
        without.join(", ")
    );
    assert_eq!(value(&client, &forgotten).await, "");
}
