//! `tripline offset`: shows and changes where a pipeline stands.

use super::{OffsetAction, Outcome, snapshot};
use crate::apply;
use crate::capture::{self, Captured, Requested};
use crate::config::{Config, Snapshot};
use crate::consume;
use crate::error::Error;
use crate::mirror;
use crate::offset::{self, OffsetDir, Stored};
use crate::position::Position;
use crate::publish::{delete_group, delete_topics, read_last_cut};
use crate::runtime::{first, forward};
use crate::session::{self, Client};
use crate::table::TableName;
use crate::tail::{Back, TailError, register_back, rewind};

pub(super) async fn run(config: &Config, action: &OffsetAction) -> Result<Outcome, Error> {
    match action {
        OffsetAction::Show { json } => show(config, *json),
        OffsetAction::Reset { yes, dry_run, clear_destination, clear_topics } => {
            let reset = Reset { clear_destination: *clear_destination, clear_topics: *clear_topics };
            reset.run(config, *yes, *dry_run).await
        }
        OffsetAction::Rewind { to, yes } => rewound(config, to, *yes).await,
        OffsetAction::Recover { yes } => tokio::task::block_in_place(|| recover(config, *yes)),
    }
}

fn show(config: &Config, json: bool) -> Result<Outcome, Error> {
    let holder = offset::holder(&config.offset.dir, &config.pipeline)?;
    let stored = offset::read(&config.offset.dir, &config.pipeline)?;
    if json {
        let holder = holder.as_ref().map(ToString::to_string);
        println!("{}", serde_json::json!({"offset": stored, "held": holder}));
        return Ok(Outcome::Fine);
    }
    match stored {
        None => {
            println!("no offset file for pipeline {} in {}", config.pipeline, config.offset.dir.display())
        }
        Some(stored) => print_stored(&stored),
    }
    println!("publisher     {}", holder.map_or("not running".to_owned(), |holder| holder.to_string()));
    Ok(Outcome::Fine)
}

fn print_stored(stored: &Stored) {
    let position = &stored.position;
    println!("pipeline      {}", stored.pipeline);
    println!("source        {} on cluster {}", stored.source.database, stored.source.system);
    println!("offset        {}", position.offset);
    println!("pass          {}{}", position.pass, if position.inside.is_some() { " (inside)" } else { "" });
    println!("snapshot B    {}", position.base);
    if let Some(inside) = &position.inside {
        println!("snapshot T    {}, published up to {}", inside.until, inside.cursor);
    }
    println!("epoch         {}", stored.epoch);
    println!(
        "cuts record   {}",
        stored.cuts_offset.map_or("none yet".to_owned(), |offset| offset.to_string())
    );
    println!("saved at      {}", stored.saved_at);
}

struct Reset {
    clear_destination: bool,
    clear_topics: bool,
}

impl Reset {
    async fn run(&self, config: &Config, yes: bool, dry_run: bool) -> Result<Outcome, Error> {
        let mut client = session::connect("source", config.source_url()?, "reset").await?;
        let captured = capture::load(&client, &config.capture.schema).await?;
        let tables: Vec<TableName> = captured.iter().map(|captured| captured.table.name.clone()).collect();
        let targets: Vec<TableName> = tables.iter().map(|table| config.rename.name(table)).collect();
        if !self.clear_destination {
            let stored = tokio::task::block_in_place(|| -> Result<_, Error> {
                let recorded = read_last_cut(config, None)?;
                Ok(recorded.map_or_else(|| first(config).position, |recorded| recorded.cut.position))
            })?;
            once(config, &client, &captured, &stored, 0).await?;
        }
        whole(config, &client, &captured).await?;
        for line in self.plan(config, &targets) {
            println!("{} {line}", if yes { "will" } else { "would" });
        }
        if !yes {
            println!("nothing was changed; add --yes to do it");
            return Ok(if dry_run { Outcome::Fine } else { Outcome::Warning });
        }
        let mut lock = tokio::task::block_in_place(|| OffsetDir::lock(&config.offset.dir, &config.pipeline))?;
        // From here on nothing is removed that is to be published again.
        register_back(config, config.source_url()?, &first(config).position).await?;
        // Targets first and the file last: whatever fails in between, saying it again goes on.
        if let Some(url) = config.destination_url()? {
            let clear = if self.clear_destination { targets.as_slice() } else { &[] };
            apply::reset(url, &config.pipeline, clear).await?;
        }
        if let Some(clickhouse) = &config.clickhouse {
            if self.clear_destination {
                mirror::reset(clickhouse, &targets).await?;
            }
            delete_group(config, &consume::group(config, "clickhouse")).await?;
        }
        if self.clear_topics {
            delete_topics(config, &tables).await?;
            capture::forget_passes(&client, &config.capture.schema, &config.pipeline).await?;
        }
        if config.source.snapshot == Snapshot::Initial {
            // The log begins where capture began: older rows have to come anew too.
            snapshot::again(config, &mut client, &captured, |_| true).await?;
        }
        let mut stored = first(config);
        tokio::task::block_in_place(|| -> Result<(), Error> {
            // The epoch goes on, so that messages of former starts are never taken for new ones.
            if !self.clear_topics
                && let Some(recorded) = read_last_cut(config, None)?
            {
                stored.epoch = recorded.cut.epoch;
                stored.cuts_offset = Some(recorded.offset);
                stored.position.pass = recorded.cut.pass;
            }
            Ok(lock.replace(&stored)?)
        })?;
        println!("done: the next start publishes the whole log again");
        if self.clear_topics {
            println!("run `tripline init` before the next start: it creates the topics again");
        }
        Ok(Outcome::Fine)
    }

    fn plan(&self, config: &Config, tables: &[TableName]) -> Vec<String> {
        let names: Vec<String> = tables.iter().map(ToString::to_string).collect();
        let names = names.join(", ");
        let mut plan = Vec::new();
        if config.destination.is_some() {
            plan.push(format!("delete the destination's positions of pipeline {}", config.pipeline));
            if self.clear_destination {
                plan.push(format!("empty at the destination: {names}"));
            }
        }
        if let Some(clickhouse) = &config.clickhouse {
            plan.push(format!("delete the consumer group {}", consume::group(config, "clickhouse")));
            if self.clear_destination {
                plan.push(format!("empty in ClickHouse database {}: {names}", clickhouse.database));
            }
        }
        if config.source.snapshot == Snapshot::Initial {
            plan.push(format!("copy existing rows again, of: {names}"));
        }
        if self.clear_topics {
            plan.push(format!("delete the topics under {}. with all their messages", config.topic_prefix()));
        }
        plan.push(format!("set the offset file in {} back to the start", config.offset.dir.display()));
        plan
    }
}

/// Refuses to start over where the log is no longer whole and nothing would bring what is missing.
async fn whole(config: &Config, client: &Client, captured: &[Captured]) -> Result<(), Error> {
    let schema = &config.capture.schema;
    let Some(removed) = capture::removed(client, schema).await? else { return Ok(()) };
    if config.source.snapshot == Snapshot::Never {
        return Err(Error::NotWhole { removed_to: removed.to });
    }
    match capture::cut_short(client, schema, captured).await? {
        Some(table) => Err(TailError::CutShort { table }.into()),
        None => Ok(()),
    }
}

/// Refuses to publish again, from `offset` on, what would then stand twice at the destination.
async fn once(
    config: &Config,
    client: &Client,
    captured: &[Captured],
    published: &Position,
    offset: u64,
) -> Result<(), Error> {
    if config.destination.is_none() {
        return Ok(());
    }
    let shown = published.inside.as_ref().map_or(&published.base, |inside| &inside.until);
    match capture::repeated(client, captured, shown, offset).await? {
        Some(table) => Err(Error::Twice { table }),
        None => Ok(()),
    }
}

/// Moves the position back behind the last cut, which tells what is published.
async fn rewound(config: &Config, to: &Back, yes: bool) -> Result<Outcome, Error> {
    let (lock, mut stored) = tokio::task::block_in_place(|| -> Result<_, Error> {
        let mut lock = OffsetDir::lock(&config.offset.dir, &config.pipeline)?;
        let mut stored = lock.load()?.unwrap_or_else(|| first(config));
        if let Some(recorded) = read_last_cut(config, None)? {
            forward(&mut stored, &recorded);
        }
        Ok((lock, stored))
    })?;
    let rewound = rewind(config, config.source_url()?, to, &stored.position, &stored.source).await?;
    println!("offset         {} -> {}", stored.position.offset, rewound.position.offset);
    println!("snapshot B     {} -> {}", stored.position.base, rewound.position.base);
    println!("source         {} on cluster {}", rewound.source.database, rewound.source.system);
    println!("rows           {} in the log are published and applied again", rewound.rows);
    let mut client = session::connect("source", config.source_url()?, "rewind").await?;
    let captured = capture::load(&client, &config.capture.schema).await?;
    once(config, &client, &captured, &stored.position, rewound.position.offset).await?;
    let requested = capture::requested(&client, &config.capture.schema, &config.pipeline).await?;
    // What a reload has put right, the log alone would put wrong again.
    let undone = |oid: u32| {
        let undone = |request: &Requested| {
            request.run > rewound.position.offset && (request.sweeps || request.partial)
        };
        requested.iter().any(|request| request.relation == oid && undone(request))
    };
    for captured in captured.iter().filter(|captured| undone(captured.oid)) {
        println!("snapshot       the rows of {} are copied again behind that", captured.table.name);
    }
    if !yes {
        println!("nothing was changed; add --yes to write the offset file");
        return Ok(Outcome::Warning);
    }
    register_back(config, config.source_url()?, &rewound.position).await?;
    snapshot::again(config, &mut client, &captured, undone).await?;
    stored.position = rewound.position;
    stored.source = rewound.source;
    stored.anchors.clear();
    let mut lock = lock;
    tokio::task::block_in_place(|| lock.replace(&stored))?;
    println!("done: the next start publishes from there, as one pass");
    Ok(Outcome::Fine)
}

fn recover(config: &Config, yes: bool) -> Result<Outcome, Error> {
    let Some(recorded) = read_last_cut(config, None)? else {
        return Err(Error::NothingToRecover { pipeline: config.pipeline.clone() });
    };
    let cut = &recorded.cut;
    println!("the cuts topic stands at pass {} part {}, offset {}", cut.pass, cut.part, cut.position.offset);
    if !yes {
        println!("nothing was changed; add --yes to write the offset file");
        return Ok(Outcome::Warning);
    }
    let mut stored = first(config);
    forward(&mut stored, &recorded);
    OffsetDir::lock(&config.offset.dir, &config.pipeline)?.replace(&stored)?;
    println!("done: the offset file is rebuilt");
    Ok(Outcome::Fine)
}
