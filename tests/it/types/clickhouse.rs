//! Compares a table with its mirror: every type by a rule of its own, computed by PostgreSQL and by ClickHouse.

use serde_json::Value;
use tokio_postgres::Client;
use tripline::table::quote_ident;

use crate::db::{rows, run};
use crate::pipeline::harness::Pipeline;
use crate::pipeline::load::seed;
use crate::pipeline::stores::Mirror;

/// A column: its name, its type in the log and in ClickHouse.
struct Column {
    name: String,
    base: String,
    mirrored: String,
}

/// Returns how many values are equal, and the columns that differ. The session prints exactly; the key is `id`.
pub(super) async fn compare(from: &Client, mirror: &Mirror, table: &str) -> (usize, Vec<String>) {
    let (mut values, mut wrong) = (0, Vec::new());
    for column in columns(from, mirror, table).await {
        let here = source(from, table, &column).await;
        let there = mirrored(mirror, table, &column).await;
        assert_eq!(here.len(), there.len(), "rows of {table}");
        values += here.len();
        let differ: Vec<_> = here.iter().zip(&there).filter(|(here, there)| here != there).collect();
        if let Some(first) = differ.first() {
            let Column { name, base, mirrored } = &column;
            wrong.push(format!("{name} ({base}, {mirrored}): {}, the first {first:?}", differ.len()));
        }
    }
    (values, wrong)
}

async fn columns(from: &Client, mirror: &Mirror, table: &str) -> Vec<Column> {
    let sql = format!(
        "select c ->> 'name', c ->> 'base' from cdc.tables t, jsonb_array_elements(t.columns) c where table_name = '{table}'"
    );
    let types = format!(
        "SELECT name, type FROM system.columns WHERE database = '{}' AND table = '{table}' FORMAT TSVRaw",
        mirror.database
    );
    let types = mirror.read(&types).await;
    let of = |name: &str| {
        let line = types.iter().find_map(|line| line.split_once('\t').filter(|(column, _)| *column == name));
        line.unwrap_or_else(|| panic!("{name} is not in ClickHouse")).1.to_owned()
    };
    let column =
        |row: Vec<String>| Column { mirrored: of(&row[0]), name: row[0].clone(), base: row[1].clone() };
    rows(from, &sql).await.into_iter().map(column).collect()
}

/// PostgreSQL's expression for one value `x` of this type, as text that ClickHouse can give too.
fn form(base: &str, mirrored: &str) -> String {
    let text = mirrored.contains("String");
    match base {
        "bool" => "case when x then 'true' else 'false' end".into(),
        "bytea" => "translate(encode(x, 'base64'), E'\\n', '')".into(),
        "timestamp" | "timestamptz" if text => {
            "case when isfinite(x) and extract(year from x) between 1 and 9999
             then to_char(x, 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') else concat(x) end"
                .into()
        }
        "timestamp" | "timestamptz" => "to_char(x, 'YYYY-MM-DD HH24:MI:SS.US')".into(),
        "numeric" if !text => "trim_scale(x)::text".into(),
        "float4" if !text => "encode(float4send(x), 'hex')".into(),
        "float8" if !text => "encode(float8send(x), 'hex')".into(),
        // Prints as COPY does, unlike a cast.
        _ => "concat(x)".into(),
    }
}

/// Returns a column of the source: of an array, its dimensions and its elements one by one.
async fn source(from: &Client, table: &str, column: &Column) -> Vec<String> {
    let name = quote_ident(&column.name);
    let hex = |expression: &str| format!("encode(convert_to({expression}, 'UTF8'), 'hex')");
    let element = column.base.trim_end_matches("[]");
    let form = form(element, &column.mirrored);
    let sql = if column.base.ends_with("[]") {
        // As the log has it; `unnest` takes composites apart.
        let array = if element == "text" { format!("{name}::text[]") } else { name.clone() };
        let bounds = format!("case when {name}::text like '[%' then {} end", hex(&format!("{array}::text")));
        let items = format!(
            "concat_ws(',', regexp_replace(array_dims({array}), '1:', '', 'g'), (select string_agg(
             case when x is null then '-' else {} end, ',') from unnest({array}) x))",
            hex(&form)
        );
        format!("case when {name} is not null then coalesce({bounds}, {items}) end")
    } else {
        let x = if element == "text" { format!("concat({name})") } else { name.clone() };
        let value = if element == "bytea" { format!("encode({name}, 'hex')") } else { hex(&form) };
        // Unlike IS NULL, this is false for a composite value of NULLs.
        format!("(select {value} from (select {x} as x) x where {name} is distinct from null)")
    };
    let sql = format!("select {sql} from public.{table} order by id");
    rows(from, &sql).await.into_iter().map(|mut row| row.swap_remove(0)).collect()
}

/// Returns the same from the mirror.
async fn mirrored(mirror: &Mirror, table: &str, column: &Column) -> Vec<String> {
    let name = format!("`{}`", column.name);
    let leaf = |x: &str| match column.base.trim_end_matches("[]") {
        // Their bits: no text of a float is the same here and there.
        "float4" if !column.mirrored.contains("String") => {
            format!("lower(hex(lower(leftPad(hex(reinterpretAsUInt32({x})), 8, '0'))))")
        }
        "float8" if !column.mirrored.contains("String") => {
            format!("lower(hex(lower(leftPad(hex(reinterpretAsUInt64({x})), 16, '0'))))")
        }
        _ => format!("lower(hex(toString({x})))"),
    };
    let typed = column.mirrored.starts_with("Array");
    let expression = if typed {
        let items = format!(
            "arrayStringConcat(arrayMap(x -> if(isNull(x), '-', {}), {name}), ',')",
            leaf("assumeNotNull(x)")
        );
        format!("if(empty({name}), '', concat('[', toString(length({name})), '],', {items}))")
    } else {
        leaf(&name)
    };
    let sql = format!("SELECT {expression} FROM `{table}_current` ORDER BY id");
    let lines = mirror.read(&sql).await.into_iter().map(|line| line.replace("\\N", "∅"));
    if typed || !column.base.ends_with("[]") {
        return lines.collect();
    }
    lines.map(|line| if line == "∅" { line } else { flat(&line) }).collect()
}

/// Turns the hex of an array's JSON text into dimensions and elements; what is no JSON stays.
fn flat(hex: &str) -> String {
    let text = data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap();
    let Ok(json) = serde_json::from_slice::<Box<serde_json::value::RawValue>>(&text) else {
        return hex.to_owned();
    };
    let (mut dimensions, mut items) = (String::new(), Vec::new());
    walk(json.get(), 0, &mut dimensions, &mut items);
    if items.is_empty() { String::new() } else { format!("{dimensions},{}", items.join(",")) }
}

fn walk(json: &str, depth: usize, dimensions: &mut String, items: &mut Vec<String>) {
    if json.starts_with('[') {
        let parts: Vec<&serde_json::value::RawValue> = serde_json::from_str(json).unwrap();
        if dimensions.matches('[').count() == depth && !parts.is_empty() {
            dimensions.push_str(&format!("[{}]", parts.len()));
        }
        return parts.iter().for_each(|part| walk(part.get(), depth + 1, dimensions, items));
    }
    let text = match serde_json::from_str::<Value>(json) {
        Ok(Value::String(text)) => text,
        Ok(Value::Null) => return items.push("-".into()),
        _ => json.to_owned(),
    };
    items.push(data_encoding::HEXLOWER.encode(text.as_bytes()));
}

/// Columns whose values ClickHouse holds in a type of its own, with what draws them for row `n`.
const TYPED: &[(&str, &str)] = &[
    ("smallint", "n - 500"),
    ("bigint", "(random() * 1e18)::bigint"),
    ("oid", "(random() * 4e9)::bigint::oid"),
    ("real", "random() * 1e30"),
    ("double precision", "exp(random() * 600)"),
    ("boolean", "random() < 0.5"),
    ("numeric(9,2)", "random() * 1e6"),
    ("numeric(18,4)", "random() * -1e13"),
    ("numeric(38,10)", "random()::numeric * 1e27"),
    ("numeric(76,30)", "-random()::numeric * 1e45 - 1e-30"),
    ("date", "date '1900-01-01' + (random() * 146096)::integer"),
    ("timestamp", "timestamp '1900-01-01' + random() * interval '146096 days'"),
    ("timestamptz", "timestamptz '1900-01-01 00:00:00+00' + random() * interval '146096 days'"),
    ("uuid", "md5(random()::text)::uuid"),
    ("mood", "enum_first(null::mood)"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_inside_a_types_range_are_exact_in_it() {
    const ROWS: usize = 400;
    let columns = TYPED.iter().enumerate().map(|(i, (declared, _))| {
        format!(", c{i} {declared} not null, n{i} {declared}, a{i} {declared}[] not null")
    });
    let columns: String = columns.collect();
    let schema =
        format!("create type mood as enum ('it''s'); create table typed (id integer primary key{columns})");
    let pipeline = Pipeline::create(&[], &schema).await;
    pipeline.init().await;
    let mut daemon = pipeline.start_ready("run").await;
    let drawn = TYPED.iter().map(|(declared, draw)| {
        let null = |part: &str| format!("case when random() < {part} then null else {draw} end");
        format!(
            ", {draw}, {}, array(select ({})::{declared} from generate_series(1, n % 4) m)",
            null("0.2"),
            null("0.2 + m * 0")
        )
    });
    let drawn: String = drawn.collect();
    let chosen = (seed() % 1_000_000) as f64 / 1_000_000.0;
    run(&pipeline.from, &format!("select setseed({chosen})")).await;
    run(&pipeline.from, &format!("insert into typed select n{drawn} from generate_series(1, {ROWS}) n"))
        .await;
    pipeline.caught_up_by(&mut daemon).await;

    super::oracle::exactly(&pipeline.from).await;
    let (values, wrong) = compare(&pipeline.from, &pipeline.mirror, "typed").await;
    println!("{values} values in ClickHouse");
    assert!(wrong.is_empty() && values == ROWS * (1 + 3 * TYPED.len()), "{values}\n{}", wrong.join("\n"));
    let texts = "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = 'typed' AND type LIKE '%String%'";
    assert_eq!(pipeline.mirror.read(texts).await, ["c14", "n14", "a14"], "an enum is a string");
    pipeline.stop(daemon).await;
}
