//! What `tripline check` says of the log's size and of what holds it.

use std::time::Duration;

use tokio_postgres::Client;

use super::look::{Look, look, oldest};
use super::pace::is_late;
use super::postgres::lacking;
use crate::capture::{Finding, Severity};
use crate::config::{Config, OnFull};
use crate::error::chain;
use crate::session;
use crate::table::{quote_ident, quote_literal};

/// Share of a limit, in percent, from which on there is a warning.
const NEAR: u64 = 80;
/// For how long a pipeline may say nothing while others wait for it.
const SILENT: Duration = Duration::from_secs(3_600);

/// Looks at the log and at the role that removes its rows. Empty where capture is not installed, and when all is well.
pub(crate) async fn findings(client: &Client, config: &Config) -> Vec<Finding> {
    let schema = config.capture.schema.as_str();
    let mut found = Vec::new();
    // What stands in the way of looking is found elsewhere.
    let Ok(look) = look(client, schema).await else { return found };
    if look.logs.is_empty() {
        return found;
    }
    sizes(config, &look, &mut found);
    stopped(&look, &mut found);
    if config.retention.enabled {
        rights(config, &mut found).await;
        late(config, &look, &mut found);
    }
    silent(client, config, &look, &mut found).await;
    found
}

fn warning(id: &'static str, evidence: String, fix: impl Into<String>) -> Finding {
    Finding { id, severity: Severity::Warning, evidence, fix: fix.into() }
}

/// Says how near something is to its limit, where it is near.
fn size(what: &str, bytes: u64, most: u64, fix: &str) -> Option<Finding> {
    let severity = match bytes {
        bytes if bytes >= most => Severity::Error,
        bytes if u128::from(bytes) * 100 >= u128::from(most) * u128::from(NEAR) => Severity::Warning,
        _ => return None,
    };
    let percent = u128::from(bytes) * 100 / u128::from(most.max(1));
    let evidence = format!("{what} takes {bytes} bytes, {percent} % of its max_log_bytes ({most})");
    Some(Finding { id: "log.size", severity, evidence, fix: fix.to_owned() })
}

fn sizes(config: &Config, look: &Look, found: &mut Vec<Finding>) {
    const FIX: &str = "let the pipelines publish (tripline status), lower retention.keep_hours, vacuum the log tables, or raise \
         max_log_bytes";
    if let Some(most) = config.retention.max_log_bytes {
        found.extend(size("the log", look.bytes(), most, FIX));
    }
    for table in &config.table {
        let Some(most) = table.max_log_bytes else { continue };
        let Some(log) = look.log_of(&table.name) else { continue };
        let stops = match table.on_full {
            OnFull::Alert => "",
            OnFull::Stop => ", at which nothing of the table is logged any more",
        };
        let finding = size(&format!("the log of {}", table.name), log.bytes, most, FIX);
        found.extend(finding.map(|mut finding| {
            finding.evidence.push_str(stops);
            finding
        }));
    }
}

fn stopped(look: &Look, found: &mut Vec<Finding>) {
    for gap in look.gaps.iter().filter(|gap| gap.open) {
        found.push(Finding {
            id: "log.stopped",
            severity: Severity::Error,
            evidence: format!(
                "nothing of {} has been logged for {:.0} s, because its log was full: its targets do not follow",
                gap.table, gap.seconds
            ),
            fix: "make room (let its pipelines publish, lower retention.keep_hours, vacuum the log table, or raise \
                  max_log_bytes), then run tripline init, which copies its rows anew"
                .into(),
        });
    }
}

/// What the role of `retention.url` lacks.
async fn rights(config: &Config, found: &mut Vec<Finding>) {
    const FIX: &str = "start the server or correct retention.url";
    let Ok(url) = config.retention_url() else { return };
    let client = match session::connect("source", url, "check").await {
        Ok(client) => client,
        Err(error) => return found.push(warning("retention.connect", chain(&error), FIX)),
    };
    let missing = match lacking(&client, &config.capture.schema).await {
        Ok(missing) => missing,
        Err(error) => return found.push(warning("retention.connect", chain(&error), FIX)),
    };
    for lacking in missing {
        let evidence = format!(
            "the role {} removes log rows and has no {} on {}: the log grows",
            lacking.role, lacking.right, lacking.object
        );
        let fix = format!("{}; or name the cleaner of sql/roles.sql in retention.url", lacking.grant);
        found.push(warning("retention.right", evidence, fix));
    }
}

/// Rows that nothing holds and that are there all the same.
fn late(config: &Config, look: &Look, found: &mut Vec<Finding>) {
    let keep = config.retention.keep();
    let bound = |name: &str| look.logs.iter().find(|log| log.name == name).and_then(|log| look.bound(log));
    let waits = look.oldest.iter().filter(|oldest| Some(oldest.id) <= bound(&oldest.log_table));
    let age = waits.map(|oldest| oldest.seconds).fold(0.0, f64::max);
    if is_late(Duration::try_from_secs_f64(age).unwrap_or_default(), keep + SILENT) {
        found.push(warning(
            "retention.late",
            format!("log rows that no pipeline needs are {:.0} hours old and not removed", age / 3_600.0),
            "let a publisher run with retention.enabled; its log says what is in the way",
        ));
    }
}

/// Pipelines that hold rows back and say nothing.
async fn silent(client: &Client, config: &Config, look: &Look, found: &mut Vec<Finding>) {
    let schema = config.capture.schema.as_str();
    let most = config.retention.keep().max(SILENT).as_secs_f64();
    for reader in &look.readers {
        let seconds = reader.seconds.unwrap_or(f64::MAX);
        if seconds < SILENT.as_secs_f64() {
            continue;
        }
        let Ok(unread) = oldest(client, schema, &look.logs, |_| reader.offset).await else { return };
        let waits = unread.iter().map(|oldest| oldest.seconds).fold(0.0, f64::max);
        let says = reader.releases.is_some();
        if waits < most && says {
            continue;
        }
        let name = &reader.name;
        let evidence = match says {
            true => format!(
                "pipeline {name} has not moved for {:.0} hours, and holds log rows back from cdc_id {} on",
                seconds / 3_600.0,
                reader.offset
            ),
            false => {
                format!("an older release registered pipeline {name}, and no log row is removed beside it")
            }
        };
        let forget = format!(
            "start its publisher (or end the transaction that stays open at the source); if it is to read no more, forget it: \
             delete from {}.pipelines where pipeline = {}",
            quote_ident(schema),
            quote_literal(name)
        );
        found.push(warning("retention.held", evidence, forget));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_worth_a_warning_at_four_fifths_of_its_limit_and_an_error_at_all_of_it() {
        let severity = |bytes| size("the log", bytes, 1_000, "").map(|finding| finding.severity);
        assert_eq!((severity(799), severity(800)), (None, Some(Severity::Warning)));
        assert_eq!((severity(999), severity(1_000)), (Some(Severity::Warning), Some(Severity::Error)));
        assert_eq!(severity(u64::MAX), Some(Severity::Error));
    }
}
