//! SQL text for ClickHouse. The only place where names become SQL there.

use super::evolve;
use super::policy::Policies;
use super::types::ColumnType;
use crate::table::{Column, Table, TableName};

/// Column with the `cdc_id` of the change that the row comes from; the highest wins.
pub(super) const VERSION: &str = "_version";
/// Column that is 1 for rows that are gone.
pub(super) const DELETED: &str = "_deleted";
/// Column with the `cdc_id` of the row itself, in place of a key where the table has none: a row that comes again folds.
pub(super) const CDC_ID: &str = "_cdc_id";
/// Column with the time of the insert, for people.
pub(super) const SYNCED_AT: &str = "_synced_at";
/// Inserts whose tokens a table remembers.
const DEDUPLICATION_WINDOW: u32 = 1000;

/// Quotes an identifier: in backticks, with backslashes before backticks and backslashes.
pub(super) fn quote(name: &str) -> String {
    enclose('`', name)
}

/// Quotes a string.
pub(super) fn literal(text: &str) -> String {
    enclose('\'', text)
}

fn enclose(quote: char, text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push(quote);
    for c in text.chars() {
        if c == quote || c == '\\' {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push(quote);
    quoted
}

/// Longest name of a table in the file system of ClickHouse, in bytes. Names of its files hold the database's name and more.
const LONGEST: usize = 140;

/// Returns the name of the mirror's table: `orders` for `public.orders`, `sales__orders` for `sales.orders`; cut, with a
/// checksum of the whole name, where ClickHouse could not make files of it.
pub(super) fn target_name(table: &TableName) -> String {
    let name = match table.schema.as_str() {
        "public" => table.name.clone(),
        schema => format!("{schema}__{}", table.name),
    };
    // Other characters are three bytes there for each byte.
    let length = |c: char| if c.is_ascii_alphanumeric() || c == '_' { 1 } else { 3 * c.len_utf8() };
    if name.chars().map(length).sum::<usize>() <= LONGEST {
        return name;
    }
    let mut left = LONGEST - 9;
    let fits = |c: &char| {
        let fits = length(*c) <= left;
        left = left.saturating_sub(length(*c));
        fits
    };
    let cut: String = name.chars().take_while(fits).collect();
    format!("{cut}_{:08x}", crc32c::crc32c(name.as_bytes()))
}

/// Returns the name of the view beside the table.
pub(super) fn view_name(target: &str) -> String {
    format!("{target}_current")
}

/// Returns `` `database`.`name` ``.
pub(super) fn qualified(database: &str, name: &str) -> String {
    format!("{}.{}", quote(database), quote(name))
}

fn quoted_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(quote).collect::<Vec<_>>().join(", ")
}

/// Returns the columns by which the rows of a table are told apart.
pub(super) fn key(table: &Table) -> impl Iterator<Item = &str> {
    table.key.iter().map(String::as_str).chain(table.is_append_only().then_some(CDC_ID))
}

/// Returns the mirror's own columns that every insert carries, each with its type.
pub(super) fn own(table: &Table) -> impl Iterator<Item = (&'static str, &'static str)> + Clone {
    let cdc_id = table.is_append_only().then_some((CDC_ID, "UInt64"));
    cdc_id.into_iter().chain([(VERSION, "UInt64"), (DELETED, "UInt8")])
}

/// Creates the database.
pub(super) fn create_database(database: &str) -> String {
    format!("CREATE DATABASE IF NOT EXISTS {}", quote(database))
}

/// Creates the table of the mirror.
///
/// The deduplication window is off by default where tables are not replicated; with it, an insert that is sent again
/// because its answer got lost adds no second copy for merges to remove.
pub(super) fn create_table(target: &str, table: &Table, policies: &Policies) -> String {
    let columns = table.columns.iter().map(|column| {
        let key = table.key.contains(&column.name);
        let ty = ColumnType::for_column(column, key, policies.of(&table.name, &column.name, key));
        format!("{} {ty}{}, ", quote(&column.name), mark(table, column))
    });
    let comment = evolve::table_mark(table).map(|mark| format!(" COMMENT {}", literal(&mark)));
    let mut columns: String = columns.collect();
    if table.is_append_only() {
        columns.push_str(&format!("{CDC_ID} UInt64, "));
    }
    let key = quoted_list(key(table));
    format!(
        "CREATE TABLE IF NOT EXISTS {target} ({columns}{VERSION} UInt64, {DELETED} UInt8, \
         {SYNCED_AT} DateTime64(3, 'UTC') DEFAULT now64(3)) \
         ENGINE = ReplacingMergeTree({VERSION}, {DELETED}) ORDER BY ({key}) \
         SETTINGS non_replicated_deduplication_window = {DEDUPLICATION_WINDOW}{}",
        comment.unwrap_or_default()
    )
}

/// Adds columns, given with their types.
pub(super) fn add_columns<'a>(
    target: &str,
    table: &Table,
    columns: impl IntoIterator<Item = (&'a Column, ColumnType)>,
) -> String {
    let added = columns.into_iter().map(|(column, ty)| {
        let default =
            evolve::default(column, ty).map(|value| format!(" DEFAULT {value}")).unwrap_or_default();
        format!("ADD COLUMN IF NOT EXISTS {} {ty}{default}{}", quote(&column.name), mark(table, column))
    });
    format!("ALTER TABLE {target} {}", added.collect::<Vec<_>>().join(", "))
}

/// Returns the clause with a column's comment.
fn mark(table: &Table, column: &Column) -> String {
    evolve::column_mark(table, column).map(|mark| format!(" COMMENT {}", literal(&mark))).unwrap_or_default()
}

/// Writes the version that a table was made for into its comment.
pub(super) fn comment(target: &str, comment: &str) -> String {
    format!("ALTER TABLE {target} MODIFY COMMENT {}", literal(comment))
}

/// Reads the names of the tables whose comments begin like this.
pub(super) fn find_marked(database: &str, mark: &str) -> String {
    format!(
        "SELECT name, comment FROM system.tables WHERE database = {} AND startsWith(comment, {})",
        literal(database),
        literal(mark)
    )
}

/// Gives a table another name.
pub(super) fn rename_table(from: &str, to: &str) -> String {
    format!("RENAME TABLE {from} TO {to}")
}

/// Creates the view of the rows that are there, without the mirror's own columns, or brings it up to date.
pub(super) fn create_view(view: &str, target: &str, table: &Table) -> String {
    let columns = quoted_list(table.columns.iter().map(|column| column.name.as_str()));
    format!("CREATE OR REPLACE VIEW {view} AS SELECT {columns} FROM {target} FINAL WHERE {DELETED} = 0")
}

/// Inserts rows of the given columns.
pub(super) fn insert<'a>(target: &str, columns: impl IntoIterator<Item = &'a str>) -> String {
    let columns = quoted_list(columns);
    format!("INSERT INTO {target} ({columns}) FORMAT RowBinaryWithNamesAndTypes")
}

/// Marks every row as deleted whose newest version is older than the truncate's.
pub(super) fn truncate(target: &str, table: &Table, cdc_id: u64) -> String {
    let key = quoted_list(key(table));
    format!(
        "INSERT INTO {target} ({key}, {VERSION}, {DELETED}) SELECT {key}, {cdc_id}, 1 FROM {target} FINAL \
         WHERE {DELETED} = 0 AND {VERSION} < {cdc_id}"
    )
}

/// Removes a view.
pub(super) fn drop_view(view: &str) -> String {
    format!("DROP VIEW IF EXISTS {view} SYNC")
}

/// Removes a table, however large: whoever calls this was asked to.
pub(super) fn drop_table(target: &str) -> String {
    format!("DROP TABLE IF EXISTS {target} SYNC SETTINGS max_table_size_to_drop = 0")
}

/// Reads which of these are there: views, or whatever else has rows.
pub(super) fn find_named(database: &str, names: &[&str], views: bool) -> String {
    let kind = if views { "=" } else { "!=" };
    format!(
        "SELECT name FROM system.tables WHERE database = {} AND engine {kind} 'View' AND name IN ({}) ORDER BY name",
        literal(database),
        literals(names)
    )
}

/// Reads name, engine, full engine and sorting key of the named tables and views.
pub(super) fn find_tables(database: &str, names: &[&str]) -> String {
    format!(
        "SELECT name, engine, engine_full, sorting_key, comment FROM system.tables WHERE database = {} AND name IN ({})",
        literal(database),
        literals(names)
    )
}

/// Reads the columns of the named tables and views, in order: whose, name and type.
pub(super) fn find_columns(database: &str, names: &[&str]) -> String {
    format!(
        "SELECT table, name, type, comment FROM system.columns WHERE database = {} AND table IN ({}) ORDER BY position",
        literal(database),
        literals(names)
    )
}

fn literals(names: &[&str]) -> String {
    names.iter().map(|name| literal(name)).collect::<Vec<_>>().join(", ")
}

/// The rows that `view` shows as hashes of their key and of the whole row, both over the bytes of an insert.
fn hashes<'a>(
    view: &str,
    key: impl IntoIterator<Item = &'a str>,
    columns: impl IntoIterator<Item = &'a str>,
) -> String {
    let (key, columns) = (quoted_list(key), quoted_list(columns));
    let half = |hash, from| format!("reinterpretAsUInt64(substring({hash}, {from}, 8))");
    // ClickHouse takes a name for an alias before it takes it for a column: these are names that no column has.
    let (key_hash, row_hash, json) = (VERSION, DELETED, SYNCED_AT);
    format!(
        "SELECT {} AS k1, {} AS k2, {} AS r1, {} AS r2, {json} AS key_json FROM (SELECT \
         SHA256(formatRow('RowBinary', {key})) AS {key_hash}, SHA256(formatRow('RowBinary', {columns})) AS {row_hash}, \
         formatRow('JSONEachRow', {key}) AS {json} FROM {view})",
        half(key_hash, 1),
        half(key_hash, 9),
        half(row_hash, 1),
        half(row_hash, 9)
    )
}

/// Counts rows and sums their hashes by the lowest bits of the key's.
pub(super) fn digests<'a>(
    view: &str,
    key: impl IntoIterator<Item = &'a str>,
    columns: impl IntoIterator<Item = &'a str>,
    mask: u64,
) -> String {
    format!(
        "SELECT bitAnd(k1, {mask}) AS bucket, count(), sumWithOverflow(r1), sumWithOverflow(r2) FROM ({}) GROUP BY bucket",
        hashes(view, key, columns)
    )
}

/// Reads the hashes of rows whose key's has one of these values in its lowest bits.
pub(super) fn rows_of_buckets<'a>(
    view: &str,
    key: impl IntoIterator<Item = &'a str>,
    columns: impl IntoIterator<Item = &'a str>,
    mask: u64,
    buckets: &[u64],
) -> String {
    let buckets: Vec<String> = buckets.iter().map(u64::to_string).collect();
    format!(
        "SELECT k1, k2, r1, r2 FROM ({}) WHERE bitAnd(k1, {mask}) IN ({})",
        hashes(view, key, columns),
        buckets.join(", ")
    )
}

/// Reads the keys, as JSON, of the rows whose key's hash begins with these numbers.
pub(super) fn names<'a>(
    view: &str,
    key: impl IntoIterator<Item = &'a str> + Clone,
    hashes_of: &[u64],
) -> String {
    let wanted: Vec<String> = hashes_of.iter().map(u64::to_string).collect();
    format!(
        "SELECT key_json FROM ({}) WHERE k1 IN ({}) SETTINGS output_format_json_quote_64bit_integers = 0",
        hashes(view, key.clone(), key),
        wanted.join(", ")
    )
}

/// Reads whether a database is there.
pub(super) fn find_database(database: &str) -> String {
    format!("SELECT count() FROM system.databases WHERE name = {}", literal(database))
}

/// Splits a sorting key, as `system.tables` writes it, into column names; `None` when it holds more than names.
pub(super) fn sorting_key(text: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    // Newer servers keep the parentheses around a single column.
    let mut rest = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')).unwrap_or(text);
    loop {
        let (name, after) = match rest.strip_prefix('`') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        if name.is_empty() || name.contains(['(', ' ']) && !rest.starts_with('`') {
            return None;
        }
        names.push(name);
        match after.strip_prefix(", ") {
            Some(next) => rest = next,
            None => return after.is_empty().then_some(names),
        }
    }
}

/// Reads up to the closing backtick; returns the name and what follows.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '`' => return Some((name, &text[at + 1..])),
            '\\' => name.push(chars.next()?.1),
            c => name.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_strings_are_quoted() {
        assert_eq!(quote("a"), "`a`");
        assert_eq!(quote(r"we`i\rd"), r"`we\`i\\rd`");
        assert_eq!(literal(r"o'cl\ock"), r"'o\'cl\\ock'");
    }

    #[test]
    fn tables_outside_public_carry_their_schema() {
        assert_eq!(target_name(&TableName::new("public", "orders")), "orders");
        assert_eq!(target_name(&TableName::new("sales", "orders")), "sales__orders");
    }

    #[test]
    fn names_that_are_too_long_for_files_are_cut_and_stay_apart() {
        let plain = TableName::new("s".repeat(63), "t".repeat(63));
        assert_eq!(target_name(&plain).len(), 128);
        let [one, two] = ["a", "b"]
            .map(|last| target_name(&TableName::new("public", format!("{}{last}", "é".repeat(31)))));
        assert!(one != two && one.starts_with(&"é".repeat(21)), "{one} {two}");
        assert_eq!(one.chars().count(), 21 + 9);
    }

    #[test]
    fn sorting_keys_are_split_into_names() {
        let names = |text: &str| sorting_key(text).map(|names| names.join("|"));
        assert_eq!(names("id").unwrap(), "id");
        assert_eq!(names("a, `b, (c)`, `d\\`e\\\\`").unwrap(), "a|b, (c)|d`e\\");
        assert_eq!(names("(id)").unwrap(), "id");
        for text in ["", "(", "()", "(id", "intDiv(id, 10)", "a, toDate(b)", "-a, (b)", "`a"] {
            assert_eq!(names(text), None, "{text}");
        }
    }
}
