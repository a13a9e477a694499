//! What there is: log tables with their sizes, the oldest row of each, the pipelines and what they release.

use serde::Deserialize;
use tokio_postgres::GenericClient;

use crate::capture::{self, CaptureError, Gap, query_json, render};
use crate::table::{TableName, quote_ident, quote_literal};

/// A log table.
#[derive(Debug, Clone, Deserialize)]
pub struct Log {
    /// Its name, in the schema of capture.
    pub name: String,
    /// `schema.table` that it belongs to; none where that was dropped.
    pub table: Option<String>,
    /// What it takes, with its index.
    pub bytes: u64,
    /// The highest `cdc_id` that was removed from it.
    pub removed_to: u64,
}

/// A pipeline that reads the log.
#[derive(Debug, Clone, Deserialize)]
pub struct Reader {
    /// Its name.
    pub name: String,
    /// The `cdc_id` at and below which all is settled for it.
    pub offset: u64,
    /// Up to where it needs no rows any more; `None` while it does not say which it looks up at a restart.
    pub releases: Option<u64>,
    /// How long ago it said so.
    pub seconds: Option<f64>,
}

/// The oldest row of a log table above some id.
#[derive(Debug, Clone, Deserialize)]
pub struct Oldest {
    /// Name of the log table.
    pub log_table: String,
    /// Its `cdc_id`.
    pub id: u64,
    /// How long ago it was logged, by the source's clock.
    pub seconds: f64,
}

/// What one look showed.
#[derive(Debug, Clone)]
pub struct Look {
    /// The log tables.
    pub logs: Vec<Log>,
    /// The pipelines.
    pub readers: Vec<Reader>,
    /// Tables of which nothing is logged.
    pub gaps: Vec<Gap>,
    /// The oldest row of each log table that has one.
    pub oldest: Vec<Oldest>,
}

impl Look {
    /// Returns what all log tables take.
    pub fn bytes(&self) -> u64 {
        self.logs.iter().map(|log| log.bytes).sum()
    }

    /// Returns up to where no pipeline needs rows any more: nothing may go while there is none, or one that does not say.
    /// The log of a table that is stopped gives up the rows that are looked up at a restart, too: they are the last of
    /// its file, which could not shrink because of them.
    pub fn bound(&self, log: &Log) -> Option<u64> {
        let stopped = self.is_stopped(log);
        let released = |reader: &Reader| reader.releases.map(|to| if stopped { reader.offset } else { to });
        let released: Option<Vec<u64>> = self.readers.iter().map(released).collect();
        released?.into_iter().min()
    }

    /// Tells whether nothing is written to a log table any more.
    pub fn is_stopped(&self, log: &Log) -> bool {
        self.gaps.iter().any(|gap| gap.open && gap.log_table == log.name)
    }

    /// Returns the log of a table, `schema.table`.
    pub fn log_of(&self, table: &str) -> Option<&Log> {
        self.logs.iter().find(|log| log.table.as_deref() == Some(table))
    }

    /// Returns how long ago the oldest row was logged; 0 without any.
    pub fn oldest_seconds(&self) -> f64 {
        self.oldest.iter().map(|oldest| oldest.seconds).fold(0.0, f64::max)
    }
}

/// Looks at the log of a schema.
pub async fn look(client: &impl GenericClient, schema: &str) -> Result<Look, CaptureError> {
    let recorded = capture::records_removal(client, schema).await?;
    let removed = match recorded {
        true => TableName::new(schema, "retention").quoted(),
        false => "(select ''::pg_catalog.text as log_table, 0::pg_catalog.int8 as removed_to)".to_owned(),
    };
    let (quoted, literal) = (quote_ident(schema), quote_literal(schema));
    let values = [("removed", removed.as_str()), ("schema", &quoted), ("schema_literal", &literal)];
    let sql = render(include_str!("../../sql/retention/logs.sql"), &values);
    let logs: Vec<Log> = query_json(client, "the log tables", &sql).await?;
    let sql = render(include_str!("../../sql/retention/pipelines.sql"), &[("schema", &quote_ident(schema))]);
    let readers = query_json(client, "the pipelines", &sql).await?;
    let gaps = capture::gaps(client, schema).await?;
    let oldest = oldest(client, schema, &logs, |log| log.removed_to).await?;
    Ok(Look { logs, readers, gaps, oldest })
}

/// Finds the oldest row of each log table above an id.
pub async fn oldest(
    client: &impl GenericClient,
    schema: &str,
    logs: &[Log],
    above: impl Fn(&Log) -> u64,
) -> Result<Vec<Oldest>, CaptureError> {
    if logs.is_empty() {
        return Ok(Vec::new());
    }
    let each = logs.iter().map(|log| {
        render(
            include_str!("../../sql/retention/oldest.sql"),
            &[
                ("log", &TableName::new(schema, log.name.as_str()).quoted()),
                ("log_literal", &quote_literal(&log.name)),
                ("cursor", &above(log).to_string()),
            ],
        )
    });
    let each: Vec<String> = each.collect();
    let sql = format!("select coalesce(pg_catalog.json_agg(o), '[]') from ({}) o", each.join(" union all "));
    query_json(client, "the oldest log rows", &sql).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_may_go_without_pipelines_or_beside_one_that_does_not_say_what_it_needs() {
        let reader = |releases| Reader { name: "p".into(), offset: 9, releases, seconds: None };
        let log = Log { name: "t_cdc".into(), table: None, bytes: 0, removed_to: 0 };
        let bound = |readers| Look { logs: vec![], readers, gaps: vec![], oldest: vec![] }.bound(&log);
        assert_eq!(bound(vec![]), None);
        assert_eq!(bound(vec![reader(Some(7)), reader(Some(5))]), Some(5));
        assert_eq!(bound(vec![reader(Some(7)), reader(None)]), None);
    }
}
