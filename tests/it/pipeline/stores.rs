//! What the stores hold: every captured table compared between source, destination and ClickHouse.

use clickhouse::Client as ClickHouse;
use tokio_postgres::Client;

use crate::db::rows;

/// The captured tables, all of them in `public`.
const CAPTURED: &str = "select table_name from cdc.tables order by 1";
/// Columns whose text is easily made the same in PostgreSQL and ClickHouse: an expression for each.
const SIMPLE_COLUMNS: &str = "
select format(case data_type when 'text' then 'upper(encode(convert_to(%1$I, ''UTF8''), ''hex''))'
                             
                             when 'numeric' then case when numeric_scale is null then '%1$I::text'
                                                      else 'trim_scale(%1$I)::text' end
                             else '%1$I::text' end, column_name),
       format(case data_type when 'text' then 'hex(`%1$s`)' else 'toString(`%1$s`)' end, column_name)
from information_schema.columns
where table_schema = 'public' and table_name = '{table}' and data_type in ('text', 'numeric', 'bigint', 'integer')
order by ordinal_position";

/// A ClickHouse database of one test.
pub(crate) struct Mirror {
    pub(crate) url: String,
    pub(crate) database: String,
}

impl Mirror {
    /// Names it; `tripline init` creates it.
    pub(crate) fn new(name: &str) -> Self {
        let url = std::env::var("TRIPLINE_TEST_CLICKHOUSE_URL").unwrap_or("http://127.0.0.1:8123".into());
        Self { url, database: name.to_owned() }
    }

    /// Returns the answer as lines of tab-separated text.
    pub(crate) async fn read(&self, sql: &str) -> Vec<String> {
        let client = ClickHouse::default().with_url(&self.url).with_database(&self.database);
        let mut cursor = client.query_raw(sql).fetch_bytes("TabSeparated").unwrap();
        let bytes = cursor.collect().await.unwrap_or_else(|error| panic!("{sql}\n{error}"));
        String::from_utf8(bytes.into()).unwrap().lines().map(str::to_owned).collect()
    }

    /// Drops the database. Blocking.
    pub(crate) fn drop_database(&self) -> Result<(), String> {
        let client = ClickHouse::default().with_url(&self.url);
        let sql = format!("DROP DATABASE IF EXISTS `{}` SYNC", self.database);
        on_a_runtime_of_its_own(async move {
            client.query_raw(&sql).execute().await.map_err(|error| error.to_string())
        })
    }
}

/// Runs what a `drop` has to wait for: the test's own runtime may be unwinding.
pub(crate) fn on_a_runtime_of_its_own(
    work: impl Future<Output = Result<(), String>> + Send + 'static,
) -> Result<(), String> {
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| error.to_string())?.block_on(work)
    });
    thread.join().unwrap_or_else(|_| Err("it panicked".into()))
}

/// Compares every captured table row by row; returns the number of rows.
pub(crate) async fn compare(from: &Client, to: &Client, mirror: Option<&Mirror>) -> usize {
    let mut compared = 0;
    for table in tables(from).await {
        let sql = format!("select t::text from public.{table} t order by t::text collate \"C\"");
        let (here, there) = (lines(from, &sql).await, lines(to, &sql).await);
        same(&table, "the destination", &here, &there);
        if let Some(mirror) = mirror {
            compare_mirror(from, mirror, &table, here.len()).await;
        }
        compared += here.len();
    }
    compared
}

/// Returns the captured tables' names.
pub(crate) async fn tables(from: &Client) -> Vec<String> {
    rows(from, CAPTURED).await.into_iter().map(|mut row| row.swap_remove(0)).collect()
}

async fn compare_mirror(from: &Client, mirror: &Mirror, table: &str, count: usize) {
    let counted = mirror.read(&format!("SELECT count() FROM `{table}_current`")).await;
    assert_eq!(counted, [count.to_string()], "rows of {table} in ClickHouse");
    let columns = rows(from, &SIMPLE_COLUMNS.replace("{table}", table)).await;
    let (ours, theirs): (Vec<_>, Vec<_>) = columns.iter().map(|c| (c[0].clone(), c[1].clone())).unzip();
    let mut here: Vec<String> = rows(from, &format!("select {} from public.{table}", ours.join(", ")))
        .await
        .into_iter()
        .map(|row| row.join("\t").replace('∅', "\\N"))
        .collect();
    let mut there = mirror.read(&format!("SELECT {} FROM `{table}_current`", theirs.join(", "))).await;
    here.sort();
    there.sort();
    same(table, "ClickHouse", &here, &there);
}

async fn lines(client: &Client, sql: &str) -> Vec<String> {
    rows(client, sql).await.into_iter().map(|mut row| row.swap_remove(0)).collect()
}

/// Fails with the first difference and the counts.
fn same(table: &str, store: &str, here: &[String], there: &[String]) {
    if here == there {
        return;
    }
    let missing = here.iter().filter(|line| there.binary_search(line).is_err());
    let extra = there.iter().filter(|line| here.binary_search(line).is_err());
    panic!(
        "{table}: {} rows in the source, {} in {store}; only here {:?}, only there {:?}",
        here.len(),
        there.len(),
        missing.take(3).collect::<Vec<_>>(),
        extra.take(3).collect::<Vec<_>>()
    );
}

mod tests {
    use super::same;

    #[test]
    #[should_panic(expected = "only here [\"(1,a,b)\"], only there [\"(1,a,)\"]")]
    fn a_row_that_is_applied_half_is_found() {
        let rows = |first: &str| [first.to_owned(), "(2,c,d)".to_owned()];
        same("t", "the destination", &rows("(1,a,b)"), &rows("(1,a,)"));
    }

    #[test]
    #[should_panic(expected = "only here [], only there [\"3\"]")]
    fn a_row_too_many_is_found() {
        same("t", "the destination", &["1".to_owned()], &["1".to_owned(), "3".to_owned()]);
    }
}
