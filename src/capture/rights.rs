//! Which rights the session's role lacks at the source, asked of the catalog.

use tokio_postgres::Client;

use crate::right::Lacking;
use crate::table::quote_literal;

use super::error::CaptureError;
use super::query;
use super::render::render;

const WHAT: &str = "the role's rights";

/// Returns what the role lacks to read and publish the log: nothing for the reader of `sql/roles.sql`.
pub async fn lacking_to_read(client: &mut Client, schema: &str) -> Result<Vec<Lacking>, CaptureError> {
    let text = include_str!("../../sql/capture/rights_read.sql");
    let sql = render(text, &[("schema_literal", &quote_literal(schema))]);
    query::json(&query::begin(client).await?, WHAT, &sql).await
}

/// Returns what the role lacks to install capture; `owner`: also to repair or to remove it, which takes the rights of
/// the tables' owners.
pub async fn lacking_to_install(
    client: &mut Client,
    schema: &str,
    owner: bool,
) -> Result<Vec<Lacking>, CaptureError> {
    let text = include_str!("../../sql/capture/rights_install.sql");
    let owner = if owner { "true" } else { "false" };
    let sql = render(text, &[("schema_literal", &quote_literal(schema)), ("owner", owner)]);
    query::json(&query::begin(client).await?, WHAT, &sql).await
}
