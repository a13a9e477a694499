//! `tripline verify`: whether the targets hold what the source holds.

use serde::Serialize;

use super::Outcome;
use crate::config::Config;
use crate::error::Error;
use crate::verify::{self, Answer, Compared, TableReport, VerifyError};

/// What `verify --json` prints. Written as it is: through a map, the keys' members would lose their order.
#[derive(Debug, Serialize)]
struct Verification<'a> {
    pipeline: &'a str,
    verdict: Verdict,
    tables: &'a [TableReport],
}

/// What all tables together say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Equal,
    Different,
    /// At least one table could not be compared.
    Incomplete,
}

pub(super) async fn run(config: &Config, tables: &[String], json: bool) -> Result<Outcome, Error> {
    let reports = verify::run(config, tables).await?;
    if tables.is_empty()
        && let Err(error) = verify::note(config, &reports)
    {
        tracing::info!(%error, dir = %config.offset.dir.display(), "not noted for the daemon's metrics");
    }
    let verdict = verdict(&reports);
    if json {
        let verification = Verification { pipeline: &config.pipeline, verdict, tables: &reports };
        println!("{}", serde_json::to_string(&verification).map_err(VerifyError::Print)?);
    } else {
        print(&reports, verdict);
    }
    Ok(match verdict {
        Verdict::Equal => Outcome::Fine,
        Verdict::Different => Outcome::Warning,
        Verdict::Incomplete => Outcome::Failure,
    })
}

fn compared(reports: &[TableReport]) -> impl Iterator<Item = &Compared> {
    reports.iter().filter_map(|report| match &report.result {
        Answer::Compared(compared) => Some(compared),
        Answer::Failed { .. } => None,
    })
}

fn verdict(reports: &[TableReport]) -> Verdict {
    if compared(reports).count() < reports.len() {
        return Verdict::Incomplete;
    }
    match compared(reports).all(|compared| compared.differing == 0) {
        true => Verdict::Equal,
        false => Verdict::Different,
    }
}

fn print(reports: &[TableReport], verdict: Verdict) {
    println!("{:<12} {:>12} {:>12} {:>12}  table", "target", "rows", "in flight", "differing");
    for TableReport { table, target, result } in reports {
        match result {
            Answer::Failed { error } => println!("{target:<12} {:>38}  {table}: {error}", "not compared"),
            Answer::Compared(found) => {
                println!(
                    "{target:<12} {:>12} {:>12} {:>12}  {table}",
                    found.rows, found.in_flight, found.differing
                );
                for differing in &found.keys {
                    let how = format!("{:?}", differing.difference).to_lowercase();
                    println!("{:<12} {how} {}", "", differing.key);
                }
                if found.differing > found.keys.len() as u64 {
                    println!("{:<12} and {} more", "", found.differing - found.keys.len() as u64);
                }
                if !found.left_out.is_empty() {
                    let columns = found.left_out.join(", ");
                    println!("{:<12} not compared, because the destination computes them: {columns}", "");
                }
            }
        }
    }
    let sum = |of: fn(&Compared) -> u64| compared(reports).map(of).sum::<u64>();
    let (rows, in_flight, differing) = (sum(|c| c.rows), sum(|c| c.in_flight), sum(|c| c.differing));
    let verdict = match verdict {
        Verdict::Equal => "equal",
        Verdict::Different => "different",
        Verdict::Incomplete => "incomplete",
    };
    println!(
        "{verdict}: {rows} rows compared, {differing} differ, {in_flight} keys changed all the time and were not compared"
    );
}
