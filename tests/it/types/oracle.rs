//! Compares a table of the source with the destination's, by three ways that have nothing in common with the pipeline's.

use bytes::Bytes;
use futures_util::{SinkExt as _, TryStreamExt as _, pin_mut};
use tokio_postgres::Client;

use crate::db::{rows, run, value};

/// What a comparison found, and of how much.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// Values that were compared, by text and by their bytes in memory.
    pub(super) values: usize,
    /// Columns whose type has an equality, by which they were compared too.
    pub(super) by_equality: usize,
    /// Columns that differ, with how many values and the first of them from either side.
    pub(super) wrong: Vec<String>,
}

/// Makes a session print and read every value exactly.
pub(super) async fn exactly(client: &Client) {
    run(client, &tripline::session::exact_text_sql("session")).await;
    run(client, "set xmloption = content").await;
}

/// Compares `public.<table>`, whose key is `id`.
///
/// The source's rows are copied into a table beside the destination's; there PostgreSQL compares them by `IS DISTINCT
/// FROM` where the type has an equality, and always by the bytes that it stores.
pub(super) async fn compare(from: &Client, to: &Client, table: &str) -> Compared {
    exactly(from).await;
    exactly(to).await;
    run(to, &format!("drop table if exists truth; create temporary table truth (like public.{table})")).await;
    copy(from, to, table).await;
    let columns = format!(
        "select attname from pg_attribute where attrelid = 'public.{table}'::regclass and attnum > 0 order by attnum"
    );
    let columns: Vec<String> =
        rows(to, &columns).await.into_iter().map(|mut row| row.swap_remove(0)).collect();
    let all = columns.join(", ");
    let select = format!("select {all} from public.{table} order by id");
    let (here, there) = (rows(from, &select).await, rows(to, &select).await);
    assert_eq!(here.len(), there.len(), "rows of {table}");
    let mut compared = Compared::default();
    for (at, column) in columns.iter().enumerate() {
        compared.values += here.len();
        let differ = |sql: &str| {
            format!("select count(*) from public.{table} e join truth t using (id) where {sql}")
                .replace("{c}", column)
        };
        let texts: Vec<_> = here.iter().zip(&there).filter(|(a, b)| a[at] != b[at]).collect();
        let bytes = value(to, &differ("row(e.{c})::record *<> row(t.{c})::record")).await;
        let equality = to.simple_query(&differ("e.{c} is distinct from t.{c}")).await;
        let unequal = match &equality {
            Ok(_) => value(to, &differ("e.{c} is distinct from t.{c}")).await,
            Err(_) => "0".into(),
        };
        compared.by_equality += usize::from(equality.is_ok());
        if !texts.is_empty() || bytes != "0" || unequal != "0" {
            let first = texts.first().map(|(a, b)| (&a[0], &a[at], &b[at]));
            compared.wrong.push(format!(
                "{column}: {} by text, {bytes} by bytes, {unequal} by equality; id, there and here: {first:?}",
                texts.len()
            ));
        }
    }
    compared
}

async fn copy(from: &Client, to: &Client, table: &str) {
    let out = from.copy_out(&format!("copy public.{table} to stdout")).await.unwrap();
    let sink = to.copy_in::<_, Bytes>("copy truth from stdin").await.unwrap();
    pin_mut!(out, sink);
    while let Some(chunk) = out.try_next().await.unwrap() {
        sink.send(chunk).await.unwrap();
    }
    sink.finish().await.unwrap();
}
