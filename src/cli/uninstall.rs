//! `tripline uninstall`: takes away what `init` and the daemons have made, and asks again whether anything is left.

use std::time::Duration;

use super::Outcome;
use crate::apply;
use crate::capture::{self, CaptureError};
use crate::config::Config;
use crate::consume;
use crate::error::Error;
use crate::mirror;
use crate::offset::{self, OffsetDir};
use crate::publish::{delete_group, delete_named, existing_groups, existing_topics};
use crate::session::{self, Client};
use crate::table::TableName;
use crate::tail::SourceLock;

/// How often, and how far apart, the stores are asked again whether anything is left.
const ATTEMPTS: u32 = 20;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(250);

/// Removes capture from the source, whoever reads it.
pub(super) async fn source(config: &Config, yes: bool) -> Result<Outcome, Error> {
    let schema = &config.capture.schema;
    let mut client = session::connect("source", config.source_url()?, "uninstall").await?;
    if !yes {
        println!("would remove schema {schema} and the triggers of:");
        for captured in capture::load(&client, schema).await? {
            println!("  {}", captured.table.name);
        }
        for other in capture::others(&client, schema, &config.pipeline).await? {
            println!("pipeline {other} reads them too, and ends with that");
        }
        println!("nothing was changed; add --yes to do it");
        return Ok(Outcome::Warning);
    }
    // A publisher that runs would halt in the middle; the lock says whether there is one.
    let _lock = tokio::task::block_in_place(|| OffsetDir::lock(&config.offset.dir, &config.pipeline))?;
    remove_capture(&mut client, schema).await?;
    println!("nothing of ours is left in the source");
    Ok(Outcome::Fine)
}

async fn remove_capture(client: &mut Client, schema: &str) -> Result<(), Error> {
    for removed in capture::uninstall(client, schema).await?.removed {
        println!("removed {removed}");
    }
    Ok(())
}

/// Removes everything of this pipeline, everywhere, but the replicated rows.
///
/// The source comes late and the offset file last: whatever fails in between, the command can be said again, and still
/// finds out which tables there were.
pub(super) async fn everything(config: &Config, drop_mirror: bool, yes: bool) -> Result<Outcome, Error> {
    let mut client = session::connect("source", config.source_url()?, "uninstall").await?;
    let tables = match capture::load(&client, &config.capture.schema).await {
        // The registry is gone already.
        Err(CaptureError::NotInstalled { .. }) => Vec::new(),
        loaded => loaded?,
    };
    let tables: Vec<TableName> = tables.into_iter().map(|captured| captured.table.name).collect();
    let traces = Traces::new(config, tables, drop_mirror);
    let will = if yes { "will" } else { "would" };
    let (functions, rest): (Vec<String>, Vec<String>) =
        traces.look(&mut client).await?.into_iter().partition(|line| line.starts_with("function "));
    for line in rest {
        println!("{will} remove {line}");
    }
    if !functions.is_empty() {
        println!(
            "{will} remove {} functions in schema {} at the source",
            functions.len(),
            config.capture.schema
        );
    }
    for other in capture::others(&client, &config.capture.schema, &config.pipeline).await? {
        println!("kept: capture at the source, because pipeline {other} reads it");
    }
    for topic in tokio::task::block_in_place(|| existing_topics(config, &traces.tables))?.1 {
        println!("kept: topic {topic}, which is of no captured table");
    }
    if !yes {
        println!("nothing was changed; add --yes to do it");
        return Ok(Outcome::Warning);
    }
    let lock = tokio::task::block_in_place(|| OffsetDir::lock(&config.offset.dir, &config.pipeline))?;
    let _publishers = SourceLock::take(config, config.source_url()?).await?;
    traces.remove(&mut client).await?;
    tokio::task::block_in_place(|| lock.remove_all())?;
    // Not every broker hears at once that a topic is gone.
    let mut left = traces.look(&mut client).await?;
    for _ in 0..ATTEMPTS {
        if left.is_empty() {
            break;
        }
        tokio::time::sleep(BETWEEN_ATTEMPTS).await;
        left = traces.look(&mut client).await?;
    }
    if !left.is_empty() {
        return Err(Error::LeftBehind { left });
    }
    println!("nothing of pipeline {} is left but the replicated tables", config.pipeline);
    Ok(Outcome::Fine)
}

/// What a pipeline leaves, wherever it has been.
struct Traces<'a> {
    config: &'a Config,
    /// Captured tables, by their names at the source and at the targets.
    tables: Vec<TableName>,
    targets: Vec<TableName>,
    groups: Vec<String>,
    /// The tables in ClickHouse count too.
    drop_mirror: bool,
}

impl<'a> Traces<'a> {
    fn new(config: &'a Config, tables: Vec<TableName>, drop_mirror: bool) -> Self {
        let targets = tables.iter().map(|table| config.rename.name(table)).collect();
        let groups = ["postgres", "clickhouse"].map(|target| consume::group(config, target)).into();
        Self { config, tables, targets, groups, drop_mirror }
    }

    /// Asks every store; returns what is there, in words.
    async fn look(&self, client: &mut Client) -> Result<Vec<String>, Error> {
        let Self { config, .. } = self;
        let (schema, pipeline) = (&config.capture.schema, &config.pipeline);
        let mut found = Vec::new();
        if let Some(url) = config.destination_url()? {
            found.extend(apply::kept(url, pipeline).await?);
        }
        if let Some(clickhouse) = &config.clickhouse {
            found.extend(mirror::kept(clickhouse, &self.targets, self.drop_mirror).await?);
        }
        tokio::task::block_in_place(|| -> Result<(), Error> {
            let groups = existing_groups(config, &self.groups)?;
            found.extend(groups.iter().map(|group| format!("consumer group {group}")));
            let topics = existing_topics(config, &self.tables)?.0;
            found.extend(topics.iter().map(|topic| format!("topic {topic} with its messages")));
            Ok(())
        })?;
        if capture::others(client, schema, pipeline).await?.is_empty() {
            let installed = capture::installed(client, schema).await?;
            found.extend(installed.iter().map(|what| format!("{what} at the source")));
        } else if capture::knows(client, schema, pipeline).await? {
            found.push(format!("what the source knows of pipeline {pipeline}"));
        }
        let files = tokio::task::block_in_place(|| offset::files(&config.offset.dir, pipeline))?;
        found.extend(files.iter().map(|file| format!("file {}", file.display())));
        Ok(found)
    }

    /// Removes all of it but the files.
    async fn remove(&self, client: &mut Client) -> Result<(), Error> {
        let Self { config, targets, .. } = self;
        let (schema, pipeline) = (&config.capture.schema, &config.pipeline);
        // First, because this is refused while an applier is at work.
        if let Some(url) = config.destination_url()? {
            apply::remove(url, pipeline).await?;
        }
        if let Some(clickhouse) = &config.clickhouse
            && !mirror::kept(clickhouse, targets, true).await?.is_empty()
        {
            match self.drop_mirror {
                true => mirror::reset(clickhouse, targets).await?,
                false => mirror::drop_views(clickhouse, targets).await?,
            }
        }
        for group in &self.groups {
            delete_group(config, group).await?;
        }
        let topics = tokio::task::block_in_place(|| existing_topics(config, &self.tables))?.0;
        delete_named(config, &topics).await?;
        match capture::others(client, schema, pipeline).await?.is_empty() {
            true => remove_capture(client, schema).await?,
            false => capture::leave(client, schema, pipeline).await?,
        }
        Ok(())
    }
}
