//! `tripline check`, the source's part.

use serde::Serialize;
use tokio_postgres::Client;

use crate::config::Config;

use super::error::CaptureError;
use super::rights::lacking_to_read;
use super::{catalog, init, query, registry, verify};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Works, but somebody should know.
    Warning,
    /// Does not work or loses changes.
    Error,
}

/// One thing that `check` found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable name of the condition.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What was found, with names and numbers.
    pub evidence: String,
    /// The command or change that fixes it.
    pub fix: String,
}

/// Checks the source: server, what `init` would refuse or change, the conditions of capture, and the privileges of the
/// role that `client` is logged in as. Empty when all is well.
pub async fn findings(client: &mut Client, config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    for error in [catalogs(client, config, &mut found).await, conditions(client, config, &mut found).await]
        .into_iter()
        .filter_map(Result::err)
    {
        let finding = from_error(error);
        if !found.contains(&finding) {
            found.push(finding);
        }
    }
    found
}

async fn catalogs(
    client: &mut Client,
    config: &Config,
    found: &mut Vec<Finding>,
) -> Result<(), CaptureError> {
    let schema = config.capture.schema.as_str();
    let decided = init::decide(client, config).await?;
    let transaction = query::begin(client).await?;
    let installed = catalog::state(&transaction, schema).await?.tables;
    let known = if installed { registry::load(&transaction, schema).await? } else { Vec::new() };
    drop(transaction);
    for refusal in decided.refused {
        // Only who installs capture needs it, and that is done.
        let is_captured = known.iter().any(|known| known.table.name == refusal.table);
        if is_captured && refusal.why == "this role lacks TRIGGER on it" {
            continue;
        }
        found.push(error("capture.refused", format!("{}: {}", refusal.table, refusal.why), refusal.way_out));
    }
    for (source, plan) in decided.tables {
        match plan.action {
            init::Action::Installed => {
                found.push(error(
                    "capture.missing",
                    format!("{} is not captured", source.name),
                    "run tripline init",
                ));
            }
            _ => found.extend(
                plan.notes
                    .into_iter()
                    .map(|note| warning("table.note", format!("{}: {note}", source.name), "")),
            ),
        }
    }
    for table in decided.kept {
        found.push(warning(
            "capture.kept",
            format!("{table} is captured although no pattern names it"),
            "add a pattern, or run tripline uninstall and init",
        ));
    }
    Ok(())
}

async fn conditions(
    client: &mut Client,
    config: &Config,
    found: &mut Vec<Finding>,
) -> Result<(), CaptureError> {
    let schema = config.capture.schema.as_str();
    for lacking in lacking_to_read(client, schema).await? {
        let severity = if lacking.for_copies { Severity::Warning } else { Severity::Error };
        let evidence = format!("the role {} has no {} on {}", lacking.role, lacking.right, lacking.object);
        found.push(Finding { id: "source.right", severity, evidence, fix: lacking.grant });
    }
    let (problems, registered) = verify::problems(client, schema).await?;
    for problem in problems {
        let evidence = match problem.table {
            Some(table) => format!("{table}: {}", problem.what),
            None => problem.what,
        };
        found.push(Finding { id: problem.id, severity: Severity::Error, evidence, fix: problem.fix });
    }
    let transaction = query::begin(client).await?;
    let sources = catalog::describe(&transaction, schema, registered.iter().map(|row| row.relation)).await?;
    for row in &registered {
        let source = sources.iter().find(|source| source.oid == row.relation);
        for (table, what) in source.map(|source| verify::outdated(row, source)).unwrap_or_default() {
            found.push(warning("registry.outdated", format!("{table}: {what}"), "run tripline init"));
        }
    }
    Ok(())
}

fn from_error(failure: CaptureError) -> Finding {
    let (id, fix) = match &failure {
        CaptureError::TooOld { .. } => ("server.version", "upgrade the source"),
        CaptureError::Recovery => ("server.recovery", "set source.url to the primary"),
        CaptureError::Pattern { .. } => ("config.tables", "correct source.tables"),
        CaptureError::NotInstalled { .. } => ("capture.missing", "run tripline init"),
        _ => ("source.query", "see sql/roles.sql for what the role needs"),
    };
    let mut evidence = failure.to_string();
    let mut cause = std::error::Error::source(&failure);
    while let Some(next) = cause {
        evidence.push_str(&format!(": {next}"));
        cause = next.source();
    }
    error(id, evidence, fix)
}

fn error(id: &'static str, evidence: String, fix: impl Into<String>) -> Finding {
    Finding { id, severity: Severity::Error, evidence, fix: fix.into() }
}

fn warning(id: &'static str, evidence: String, fix: impl Into<String>) -> Finding {
    Finding { id, severity: Severity::Warning, evidence, fix: fix.into() }
}
