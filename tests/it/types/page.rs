//! docs/types.md: its table is what the property test has measured.

use std::collections::BTreeMap;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio_postgres::Client;
use tripline::table::{Column, quote_literal};

use super::cases::Case;
use crate::db::{rows, value};
use crate::pipeline::stores::Mirror;

/// Set to rewrite the table in docs/types.md instead of comparing it.
const REWRITE: &str = "TRIPLINE_TEST_REWRITE";
const BEGIN: &str = "<!-- measured: begin -->\n";
const END: &str = "<!-- measured: end -->";
/// Most characters of a value.
const LONGEST: usize = 44;

/// Compares the page with a table of these types, whose columns in `public.every` are `c0`, `c1`… in order; `wrong` are
/// those whose values came out different.
pub(super) async fn check(from: &Client, to: &Client, mirror: &Mirror, cases: &[&Case], wrong: &[String]) {
    let mut table = String::from(
        "| PostgreSQL | in the log | a value as JSON | at the destination | in ClickHouse | its array there | special values | exact |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let columns = "select columns::text from cdc.tables where table_name = 'every'";
    let columns: Vec<Column> = serde_json::from_str(&value(from, columns).await).unwrap();
    let here: BTreeMap<String, String> = destination(to).await;
    let there = types(mirror).await;
    for (number, case) in cases.iter().enumerate() {
        let name = format!("c{number}");
        let column = columns.iter().find(|column| column.name == name).unwrap();
        let specials: Vec<String> = case.special.iter().map(|text| code(text)).collect();
        let exact = !wrong.iter().any(|wrong| wrong.split([':', ' ']).next() == Some(&name));
        let cells = [
            code(case.declared),
            code(&column.base),
            code(&json(from, case, column).await),
            code(&here[&name]),
            code(&there[&name]),
            code(&there[&format!("a{number}")]),
            specials.join(" "),
            if exact { "yes" } else { "**no**" }.to_owned(),
        ];
        table.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/types.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the page has a place for the table");
    let (measured, after) = rest.split_once(END).expect("the place has an end");
    if std::env::var_os(REWRITE).is_some() {
        std::fs::write(path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    let differs = measured.lines().zip(table.lines()).find(|(page, now)| page != now);
    assert!(
        measured == table,
        "docs/types.md is out of date; {REWRITE}=1 rewrites it. First difference: {differs:?}"
    );
}

/// Returns a value of the type as it stands in a message.
async fn json(from: &Client, case: &Case, column: &Column) -> String {
    // The same in every run, whatever the seed of the rest is.
    let text = case
        .special
        .last()
        .map_or_else(|| (case.draw)(&mut StdRng::seed_from_u64(7)), |text| (*text).to_owned());
    let printed = value(from, &format!("select {}::{}", quote_literal(&text), column.declared)).await;
    let mut json = Vec::new();
    tripline::wire::encode_value(column.kind(), printed.as_bytes(), &mut json).unwrap();
    String::from_utf8(json).unwrap()
}

async fn destination(to: &Client) -> BTreeMap<String, String> {
    let types = "select attname, format_type(atttypid, atttypmod) from pg_attribute
                 where attrelid = 'public.every'::regclass and attnum > 0";
    rows(to, types).await.into_iter().map(|row| (row[0].clone(), row[1].clone())).collect()
}

/// Returns the types of the columns of `mapped`, which was created under the default policy.
async fn types(mirror: &Mirror) -> BTreeMap<String, String> {
    let types = format!(
        "SELECT name, type FROM system.columns WHERE database = '{}' AND table = 'mapped' FORMAT TSVRaw",
        mirror.database
    );
    let lines = mirror.read(&types).await;
    lines.iter().filter_map(|line| line.split_once('\t')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

/// Returns text as a code span of a table's cell.
fn code(text: &str) -> String {
    let mut shown: String =
        text.chars().take(LONGEST).map(|c| if c.is_control() || c == '\u{feff}' { '�' } else { c }).collect();
    if text.chars().count() > LONGEST {
        shown.push('…');
    }
    if shown.trim().is_empty() {
        return format!("({} blanks)", shown.len());
    }
    format!("`{}`", shown.replace('|', "\\|").replace('`', "'"))
}
