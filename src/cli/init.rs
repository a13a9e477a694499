//! `tripline init`.

use std::sync::Arc;

use super::Outcome;
use crate::capture::{self, Action, InitOptions, InitReport};
use crate::config::{Config, Snapshot};
use crate::error::Error;
use crate::publish::create_topics;
use crate::runtime::{clickhouse_target, first_position, postgres_target};
use crate::session;
use crate::table::{Table, TableName};

/// Installs everything that is missing, from the source to the targets, and makes the first start explicit by writing
/// the offset file of a new pipeline.
pub(super) async fn run(config: &Config, dry_run: bool, skip_unusable: bool) -> Result<Outcome, Error> {
    let mut client = session::connect("source", config.source_url()?, "init").await?;
    let planned = capture::init(&mut client, config, InitOptions { dry_run: true, skip_unusable }).await?;
    if dry_run {
        print!("{}", planned.sql);
        return Ok(Outcome::Fine);
    }
    // Topics first: a publisher that runs sees the first change of a new table the moment that it is captured.
    let names: Vec<TableName> = planned.tables.into_iter().map(|planned| planned.table).collect();
    let names: Vec<TableName> = names.into_iter().chain(planned.kept).collect();
    let created = create_topics(config, &names).await?;
    let report = capture::init(&mut client, config, InitOptions { dry_run, skip_unusable }).await?;
    print_report(&report);
    let captured = capture::load(&client, &config.capture.schema).await?;
    super::snapshot::after_init(config, &mut client, &captured, &report).await?;
    let tables: Vec<Arc<Table>> = captured.into_iter().map(|captured| Arc::new(captured.table)).collect();
    println!("topics: {} created, {} in all", created.len(), names.len() + 2);
    if let Some(target) = postgres_target(config)? {
        target.install(&tables).await?;
        println!("destination: {} tables ready", tables.len());
    }
    if let (Some(clickhouse), Some(mut target)) =
        (&config.clickhouse, clickhouse_target(&Arc::new(config.clone())))
    {
        target.install(&tables).await?;
        println!("clickhouse: {} tables ready in {}", tables.len(), clickhouse.database);
    }
    let written = tokio::task::block_in_place(|| first_position(config))?;
    println!(
        "offset file: {}",
        if written { "written, the first start publishes the whole log" } else { "left as it is" }
    );
    if written
        && config.source.snapshot == Snapshot::Never
        && let Some(removed) = capture::removed(&client, &config.capture.schema).await?
    {
        println!(
            "the log is no longer whole: retention has removed rows up to cdc_id {}; tripline snapshot --all copies the \
             existing rows",
            removed.to
        );
    }
    Ok(if report.refused.is_empty() { Outcome::Fine } else { Outcome::Warning })
}

fn print_report(report: &InitReport) {
    for table in &report.tables {
        let action = match table.action {
            Action::Unchanged => "unchanged",
            Action::Installed => "installed",
            Action::Altered => "altered",
            Action::Repaired => "repaired",
        };
        println!(
            "{:<40} {:<10} {:<10} version {}",
            table.table.to_string(),
            action,
            table.mode,
            table.version
        );
        for note in &table.notes {
            println!("    {note}");
        }
    }
    for note in &report.notes {
        println!("{note}");
    }
    for refusal in &report.refused {
        println!("{:<40} left out: {}; {}", refusal.table.to_string(), refusal.why, refusal.way_out);
    }
    for name in &report.kept {
        println!("{:<40} still captured, though no pattern names it", name.to_string());
    }
}
