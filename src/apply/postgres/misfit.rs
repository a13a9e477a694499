//! What stands in the way of a table's changes at the destination, found before the first of them and without altering
//! anything.

use tokio_postgres::Client;

use super::super::schema::{self, Unfit};
use super::inspect::{Missing, NotReady, find, make_type};
use crate::consume::TargetError;
use crate::table::Table;

/// Looks at one table; `creates` says that what is missing will be created. `None` when the changes can be written.
pub(super) async fn misfit(
    client: &Client,
    table: &Table,
    creates: bool,
) -> Result<Option<String>, TargetError> {
    let found = match find(client, &table.name).await {
        Ok(found) => found,
        Err(TargetError::Setup { why, source: None, .. }) => return Ok(Some(why)),
        Err(error) => return Err(error),
    };
    if !creates && found.is_none() {
        return Ok(Some(Unfit::NoTable(table.name.clone()).to_string()));
    }
    let found_one = found.is_some();
    let found = found.unwrap_or_default();
    let mut wanted = table.clone();
    if creates {
        for column in schema::missing(table, &found) {
            match make_type(client, &table.name, column, Missing::NotNow).await {
                Err(NotReady::Target(TargetError::Setup { why, source: None, .. })) => return Ok(Some(why)),
                Err(NotReady::Target(error)) => return Err(error),
                Ok(()) | Err(NotReady::Missing) => {}
            }
        }
        wanted.columns.retain(|column| found.columns.iter().any(|here| here.name == column.name));
    }
    Ok(found_one.then(|| schema::shape(&wanted, &found)).and_then(Result::err).map(|unfit| unfit.to_string()))
}
