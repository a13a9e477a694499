//! Which rights the applier's role lacks at the destination, asked of the catalog.

use super::error::setup;
use super::session;
use crate::consume::TargetError;
use crate::right::Lacking;

/// Returns what the role of `url` lacks to apply a pipeline: empty for the applier of `sql/roles.sql`. Of tables that it is
/// not allowed to know, `tripline.tables` says nothing: they are told once that can be read.
pub async fn lacking(url: &str, pipeline: &str) -> Result<Vec<Lacking>, TargetError> {
    let client = session::open(url, "rights").await?;
    let failed = |error| setup("cannot ask for the role's rights", error);
    // Fails where the table is not there or may not be read.
    let targets = client
        .query("select target from tripline.tables where pipeline = $1", &[&pipeline])
        .await
        .unwrap_or_default();
    let targets: Vec<u32> = targets.iter().map(|row| row.get(0)).collect();
    let rows =
        client.query(include_str!("../../../sql/apply/rights.sql"), &[&targets]).await.map_err(failed)?;
    let lacking = rows.iter().map(|row| Lacking {
        role: row.get(0),
        right: row.get(1),
        object: row.get(2),
        grant: row.get(3),
        for_copies: false,
    });
    Ok(lacking.collect())
}
