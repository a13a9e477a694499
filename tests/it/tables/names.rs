//! Names that need quoting everywhere, the same name in two schemas, and other names at the targets.

use crate::db::{rows, run, value};
use crate::pipeline::harness::Pipeline;
use crate::verify::{all_equal, verify};

/// Schema and table of every kind of name that PostgreSQL takes. `{63}` stands for 63 bytes.
const NAMES: &[(&str, &str)] = &[
    ("public", "order lines"),
    ("public", "order_lines"),
    ("public", "Order Lines"),
    ("public", "we\"ird"),
    ("public", "o'clock"),
    ("public", "back`tick\\slash"),
    ("public", "select"),
    ("public", "a.b"),
    ("public.a", "b"),
    ("public", "été_表_🦀"),
    ("public", "{63}"),
    ("public", "{63}b"),
    ("Sales Üb.", "order lines"),
    ("sales", "order_lines"),
    ("other", "order_lines"),
    ("{63}", "{63}"),
    ("public", "{{row}} $1 %s"),
];

fn long(name: &str) -> String {
    name.replace("{63}b", &format!("{}b", "é".repeat(31))).replace("{63}", &format!("{}a", "é".repeat(31)))
}

fn quote(name: &str) -> String {
    tripline::table::quote_ident(&long(name))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_any_name_reach_both_targets() {
    let mut schema = String::new();
    for (namespace, name) in NAMES {
        let (namespace, table) = (quote(namespace), quote(name));
        schema.push_str(&format!(
            "create schema if not exists {namespace};
             create table {namespace}.{table} (\"Id \"\"x\" int, \"sel`ect\" text, {name} text, \"a.b\" int generated always as
             identity, \"ü\\'\" text, \"select\" int, primary key (\"a.b\", \"Id \"\"x\"));",
            name = quote("{63}")
        ));
    }
    let settings = [("source.tables", "*.*")];
    let pipeline = Pipeline::create(&settings, &schema).await;
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    for (number, (namespace, name)) in NAMES.iter().enumerate() {
        let table = format!("{}.{}", quote(namespace), quote(name));
        let columns = format!("\"Id \"\"x\", \"sel`ect\", {}, \"ü\\'\", \"select\"", quote("{63}"));
        let load = format!(
            "insert into {table} ({columns}) select n, 'x' || n, 'y', 'z', n from generate_series(1, 20 + {number}) n;
             update {table} set \"sel`ect\" = null where \"a.b\" < 5;
             update {table} set \"Id \"\"x\" = -1 where \"a.b\" = 7; delete from {table} where \"a.b\" = 9"
        );
        run(&pipeline.from, &load).await;
    }
    let expected: u64 = (0..NAMES.len() as u64).map(|number| 19 + number).sum();
    assert_eq!(all_equal(&pipeline).await, expected);
    // Every table has a topic and a log table of its own.
    let distinct = "select count(distinct log_table) from cdc.tables";
    assert_eq!(value(&pipeline.from, distinct).await, NAMES.len().to_string());
    pipeline.stop(daemon).await;
}

const SALES: &str = "create schema sales; create table sales.orders (id int primary key, v text);
    create table orders (id int primary key, v text); create table sales__orders (id int primary key, v text)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_are_renamed_at_both_targets_and_compared_there() {
    let settings = [("source.tables", "public.*,sales.*")];
    let pipeline = Pipeline::create(&settings, SALES).await;
    let ambiguous = pipeline.command("init").await;
    assert_eq!(ambiguous.code, Some(2));
    for part in ["public.sales__orders", "sales.orders", "[[rename]]"] {
        assert!(ambiguous.text.contains(part), "{part} is not in\n{}", ambiguous.text);
    }
    pipeline.configure("[[rename]]\nfrom = 'sales.*'\nto = 'archive of.sold *'");
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    for table in ["orders", "sales.orders", "sales__orders"] {
        run(
            &pipeline.from,
            &format!("insert into {table} select n, '{table}' from generate_series(1, 30) n"),
        )
        .await;
    }
    run(&pipeline.from, "truncate sales.orders; insert into sales.orders values (1, 'a'), (2, 'b')").await;
    assert_eq!(all_equal(&pipeline).await, 62);
    let there = rows(&pipeline.to, "select id || v from \"archive of\".\"sold orders\" order by 1").await;
    assert_eq!(there, [["1a"], ["2b"]]);
    let mirrored =
        pipeline.mirror.read("SELECT concat(id, v) FROM `archive of__sold orders_current` ORDER BY 1");
    assert_eq!(mirrored.await, ["1a", "2b"]);

    run(&pipeline.to, "delete from \"archive of\".\"sold orders\" where id = 2").await;
    let verified = verify(&pipeline, "sales.orders").await;
    assert_eq!(verified.differing("sales.orders", "postgres"), ["missing {\"id\":2}"]);
    pipeline.stop(daemon).await;
    let reset = pipeline.fine("offset reset --clear-destination --yes").await;
    assert!(reset.contains("archive of.sold orders"), "{reset}");
    assert_eq!(value(&pipeline.to, "select count(*) from \"archive of\".\"sold orders\"").await, "0");

    pipeline.configure("\n[[rename]]\nfrom = 'public.sales__orders'\nto = 'public.orders'");
    let shared = pipeline.command("init").await;
    assert_eq!(shared.code, Some(2));
    let why = "public.sales__orders: it would be public.orders at the targets, as public.orders is";
    assert!(shared.text.contains(why), "{}", shared.text);
}
