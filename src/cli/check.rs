//! `tripline check`: everything that tripline depends on, one finding a line.

use std::sync::Arc;

use super::Outcome;
use crate::capture::{self, Finding, Severity};
use crate::config::Config;
use crate::error::{Error, chain};
use crate::offset;
use crate::publish;
use crate::runtime::{clickhouse_target, postgres_target};
use crate::session;
use crate::table::{Table, TableName};

pub(super) async fn run(config: &Config, json: bool) -> Result<Outcome, Error> {
    let findings = findings(config).await?;
    if json {
        println!("{}", serde_json::json!({ "findings": findings }));
    } else if findings.is_empty() {
        println!("ok: source, Kafka, targets and offset file are as they should be");
    }
    if !json {
        for finding in &findings {
            let severity = match finding.severity {
                Severity::Warning => "warning",
                Severity::Error => "error",
            };
            println!(
                "{severity:<8} {}\n         {}\n         fix: {}",
                finding.id, finding.evidence, finding.fix
            );
        }
    }
    Ok(match findings.iter().map(|finding| finding.severity).max() {
        None => Outcome::Fine,
        Some(Severity::Warning) => Outcome::Warning,
        Some(Severity::Error) => Outcome::Failure,
    })
}

/// Asks every part; one that does not answer is a finding and does not hide the others.
async fn findings(config: &Config) -> Result<Vec<Finding>, Error> {
    let mut found = Vec::new();
    let mut tables = Vec::new();
    match session::connect("source", config.source_url()?, "check").await {
        Ok(mut client) => {
            found.extend(capture::findings(&mut client, config).await);
            found.extend(crate::retention::findings(&client, config).await);
            if let Ok(captured) = capture::load(&client, &config.capture.schema).await {
                tables = captured.into_iter().map(|captured| Arc::new(captured.table)).collect();
            }
        }
        Err(error) => {
            found.push(unreachable("source.connect", &error, "start the server or correct source.url"))
        }
    }
    let names: Vec<TableName> = tables.iter().map(|table: &Arc<Table>| table.name.clone()).collect();
    match tokio::task::block_in_place(|| publish::missing_topics(config, &names)) {
        Ok(missing) if missing.is_empty() => {}
        Ok(missing) => found.push(Finding {
            id: "kafka.topics",
            severity: Severity::Error,
            evidence: format!("missing topics: {}", missing.join(", ")),
            fix: "tripline init".into(),
        }),
        Err(error) => {
            found.push(unreachable(
                "kafka.connect",
                &error,
                "start the broker or correct kafka.bootstrap_servers",
            ));
        }
    }
    if let Some(target) = postgres_target(config)? {
        match target.misfits(&tables).await {
            Ok(misfits) => found.extend(misfits.iter().map(|why| misfit("destination.table", why))),
            Err(error) => found.push(unreachable(
                "destination.connect",
                &error,
                "start the server or correct destination.url",
            )),
        }
    }
    if let Some(mut target) = clickhouse_target(&Arc::new(config.clone())) {
        match target.misfits(&tables).await {
            Ok(misfits) => found.extend(misfits.iter().map(|why| misfit("clickhouse.table", why))),
            Err(error) => found.push(unreachable(
                "clickhouse.connect",
                &error,
                "start the server or correct clickhouse.url",
            )),
        }
    }
    match offset::read(&config.offset.dir, &config.pipeline) {
        Ok(Some(_)) => {}
        Ok(None) => found.push(Finding {
            id: "offset.missing",
            severity: Severity::Warning,
            evidence: format!(
                "no offset file for pipeline {} in {}",
                config.pipeline,
                config.offset.dir.display()
            ),
            fix: "tripline init (first start) or tripline offset recover".into(),
        }),
        Err(error) => found.push(unreachable("offset.unusable", &error, "tripline offset recover")),
    }
    Ok(found)
}

/// A table at a target that cannot take the source's changes; behind the semicolon stands the way out.
fn misfit(id: &'static str, why: &str) -> Finding {
    let (evidence, fix) = why.split_once("; ").or_else(|| why.split_once(": ")).unwrap_or((why, ""));
    Finding { id, severity: Severity::Error, evidence: evidence.to_owned(), fix: fix.to_owned() }
}

fn unreachable(id: &'static str, error: &dyn std::error::Error, fix: &str) -> Finding {
    Finding { id, severity: Severity::Error, evidence: chain(error), fix: fix.to_owned() }
}
