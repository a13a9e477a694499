//! What retention has removed from the log, and whether a position misses it.

use serde::Deserialize;
use tokio_postgres::GenericClient;
use tokio_postgres::error::SqlState;

use super::error::CaptureError;
use super::query;
use super::registry::Captured;
use super::render::render;
use crate::position::{Position, Snapshot, Xid};
use crate::table::{TableName, quote_ident, quote_literal};

/// What retention has removed, over all log tables.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Removed {
    /// Every row of it has a `cdc_id` up to this one.
    pub to: u64,
    /// Every row of it was written by a transaction up to this one.
    pub xid: Xid,
    /// When the last of it was logged, RFC 3339.
    pub at: String,
}

/// How far a pipeline has said that it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Registration {
    offset: u64,
    /// Missing where an older release registered it, which holds retention back altogether.
    pass: Option<u64>,
    /// Number of the next part inside a pass.
    part: Option<u32>,
}

impl Registration {
    /// Tells whether a position is as far as what was said, or further.
    fn is_reached_by(&self, offset: u64, pass: u64, part: Option<u32>) -> bool {
        let Some(known) = self.pass else { return self.offset <= offset };
        let end = |part: Option<u32>| part.unwrap_or(u32::MAX);
        (pass, end(part)) >= (known, end(self.part))
    }
}

impl Removed {
    /// Tells whether something may be removed that this snapshot, with everything at or below `offset` settled, does not show.
    ///
    /// A settled offset rises between two cuts, where nothing was logged, so a position may stand below what was removed
    /// and miss nothing: when its snapshot shows every transaction that wrote some of it; or when it is as far as its
    /// pipeline has said (`registered`), because nothing was ever removed past that.
    pub fn is_missed_by(
        &self,
        (pass, part): (u64, Option<u32>),
        base: &Snapshot,
        offset: u64,
        registered: Option<&Registration>,
    ) -> bool {
        let shown = self.xid < base.xmax && base.running.first().is_none_or(|&oldest| self.xid < oldest);
        let reached = registered.is_some_and(|registered| registered.is_reached_by(offset, pass, part));
        offset < self.to && !shown && !reached
    }

    /// Tells whether a position misses something. One that has published nothing takes the log as it is.
    pub fn is_missed_at(&self, position: &Position, registered: Option<&Registration>) -> bool {
        let Position { pass, base, offset, inside, .. } = position;
        let part = inside.as_ref().map(|inside| inside.part);
        !position.is_start() && self.is_missed_by((*pass, part), base, *offset, registered)
    }
}

/// Returns the key, as SQL, of the advisory lock under which rows are removed and pipelines register: what one of them has
/// read holds until its transaction ends.
pub fn retention_key(schema: &str) -> String {
    let name = quote_literal(&format!("tripline retention {schema}"));
    format!("pg_catalog.hashtextextended({name}, 0)")
}

/// Tells whether there is a record of what was removed: not where an older release installed capture.
pub async fn records_removal(client: &impl GenericClient, schema: &str) -> Result<bool, CaptureError> {
    let table = quote_literal(&TableName::new(schema, "retention").quoted());
    let sql = format!("select pg_catalog.to_json(pg_catalog.to_regclass({table}) is not null)");
    query::json(client, "what is installed", &sql).await
}

/// Reads what was removed; `None` when nothing was.
pub async fn removed(client: &impl GenericClient, schema: &str) -> Result<Option<Removed>, CaptureError> {
    let sql = render(include_str!("../../sql/retention/removed.sql"), &[("schema", &quote_ident(schema))]);
    match query::json(client, "what retention has removed", &sql).await {
        Err(CaptureError::Query { source, .. }) if source.code() == Some(&SqlState::UNDEFINED_TABLE) => {
            Ok(None)
        }
        removed => removed,
    }
}

/// Reads how far a pipeline has said that it is; `None` when it has not.
pub async fn registration(
    client: &impl GenericClient,
    schema: &str,
    pipeline: &str,
) -> Result<Option<Registration>, CaptureError> {
    let sql = render(
        include_str!("../../sql/retention/registration.sql"),
        &[("schema", &quote_ident(schema)), ("pipeline", &quote_literal(pipeline))],
    );
    query::json(client, "how far the pipeline is", &sql).await
}

/// Tells whether anything was removed that was logged at or after `time`, as PostgreSQL reads a `timestamptz`.
pub async fn removed_since(
    client: &impl GenericClient,
    schema: &str,
    time: &str,
) -> Result<bool, CaptureError> {
    let sql = render(
        include_str!("../../sql/retention/is_before.sql"),
        &[("schema", &quote_ident(schema)), ("time", &quote_literal(time))],
    );
    query::json(client, "what retention has removed", &sql).await
}

/// Returns the first append-only table whose log is no longer whole: nothing but the log has its rows in the form in which
/// they can be published.
pub async fn cut_short(
    client: &impl GenericClient,
    schema: &str,
    captured: &[Captured],
) -> Result<Option<TableName>, CaptureError> {
    for captured in captured.iter().filter(|captured| captured.table.is_append_only()) {
        let log = captured.log_table.quoted();
        let sql = render(
            include_str!("../../sql/retention/cut_short.sql"),
            &[
                ("schema", &quote_ident(schema)),
                ("log", &log),
                ("log_literal", &quote_literal(&captured.log_table.name)),
            ],
        );
        if query::json(client, "the log of a table", &sql).await? {
            return Ok(Some(captured.table.name.clone()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Inside;

    fn position(pass: u64, base: &str, offset: u64, part: Option<u32>) -> Position {
        let inside = part.map(|part| Inside { until: base.parse().unwrap(), cursor: offset, part });
        Position { pass, base: base.parse().unwrap(), offset, inside, load: None }
    }

    fn said(offset: u64, pass: u64, part: Option<u32>) -> Registration {
        Registration { offset, pass: Some(pass), part }
    }

    #[test]
    fn a_position_misses_what_was_removed_above_its_offset() {
        let removed = Removed { to: 100, xid: 50, at: String::new() };
        assert!(removed.is_missed_at(&position(3, "40:45:", 90, None), None));
        assert!(!removed.is_missed_at(&position(3, "40:45:", 100, None), None), "the offset is above");
        assert!(
            !removed.is_missed_at(&position(3, "60:60:", 90, None), None),
            "its snapshot shows all of it"
        );
        assert!(removed.is_missed_at(&position(3, "45:60:45", 90, None), None), "45 may have been removed");
        assert!(!removed.is_missed_at(&position(3, "55:60:55", 90, None), None), "55 is younger");
    }

    #[test]
    fn a_pipeline_that_has_published_nothing_takes_the_log_as_it_is() {
        let removed = Removed { to: 100, xid: 50, at: String::new() };
        assert!(!removed.is_missed_at(&Position::start(), None));
        let inside = Position { pass: 1, ..position(1, "1:1:", 0, Some(2)) };
        assert!(removed.is_missed_at(&inside, None), "it has begun to read");
    }

    #[test]
    fn nothing_is_removed_past_what_a_pipeline_has_said() {
        let removed = Removed { to: 100, xid: 50, at: String::new() };
        let misses = |pass, part, said: &Registration| {
            removed.is_missed_at(&position(pass, "40:45:", 90, part), Some(said))
        };
        assert!(!misses(3, None, &said(120, 3, None)), "the offset has settled since");
        assert!(misses(2, None, &said(120, 3, None)), "an older position");
        assert!(misses(3, Some(1), &said(120, 3, None)), "an older part");
        assert!(!misses(3, Some(2), &said(120, 3, Some(1))));
        assert!(!misses(4, None, &said(120, 3, None)));
        let old = |offset| Registration { offset, pass: None, part: None };
        assert!(!misses(3, None, &old(90)) && misses(3, None, &old(91)), "of an older release");
    }
}
