//! How a publisher starts: the offset file, the takeover on the cuts topic, and what it means to lose one's place.

use crate::config::Config;
use crate::error::Error;
use crate::offset::{self, FORMAT, OffsetDir, Stored};
use crate::position::{Identity, Position};
use crate::publish::{PublishError, Publisher, Recorded, read_cuts, read_last_cut};

/// Locks and reads the offset file.
pub(super) fn lock_file(config: &Config) -> Result<(OffsetDir, Stored), Error> {
    let mut offsets = OffsetDir::lock(&config.offset.dir, &config.pipeline)?;
    if let Some(stored) = offsets.load()? {
        return Ok((offsets, stored));
    }
    let (pipeline, dir) = (config.pipeline.clone(), config.offset.dir.clone());
    Err(match read_last_cut(config, None)? {
        Some(_) => Error::LostFile { pipeline, dir },
        None => Error::FirstStart { pipeline, dir },
    })
}

/// Opens the producers and brings the position up to what the cuts topic says: the file of a standby is an old one.
/// `waits` is called while the broker keeps this waiting.
pub(super) fn open(
    config: &Config,
    offsets: &mut OffsetDir,
    mut stored: Stored,
    waits: &dyn Fn(),
) -> Result<(Publisher, Stored), Error> {
    // First fence whoever published before; only then is the end of the cuts topic the end.
    let mut publisher = Publisher::open(config)?;
    let part = stored.position.inside.as_ref().map(|inside| inside.part - 1);
    let known = stored.cuts_offset.map(|offset| (offset, stored.position.pass, part));
    let recorded = read_last_cut(config, known)?;
    publisher.begin(stored.source.clone());
    let former = stored.cuts_offset;
    if let Some(recorded) = &recorded {
        forward(&mut stored, recorded);
    }
    if stored.cuts_offset != former {
        // What was decided elsewhere, a rewind or another source, stands on the cuts topic: an old file is no objection.
        offsets.replace(&stored)?;
    }
    claim(config, &mut publisher, &mut stored, recorded, waits)?;
    Ok((publisher, stored))
}

/// Takes the pipeline over at `stored`, which `last` of the cuts topic has moved forward. Repeated while records of a former publisher, which nothing but
/// the claim can stop with `delivery = "at_least_once"`, still come in before it.
fn claim(
    config: &Config,
    publisher: &mut Publisher,
    stored: &mut Stored,
    mut last: Option<Recorded>,
    waits: &dyn Fn(),
) -> Result<(), Error> {
    let mut claimed = None;
    loop {
        let seen = claimed.or(stored.cuts_offset).map_or(0, |offset| offset + 1);
        let epoch = stored.epoch + 1;
        let mine = publisher.claim(epoch, &stored.position, last.as_ref().map(|last| &last.cut), waits)?;
        let between = read_cuts(config, seen)?;
        // Behind a claim, ours or a former one, records of lower epochs do not count.
        let least = stored.epoch + u64::from(claimed.is_some());
        let counts = |recorded: &Recorded| recorded.offset < mine && recorded.cut.epoch >= least;
        let other = between.into_iter().rfind(counts);
        claimed = Some(mine);
        stored.epoch = epoch;
        let Some(other) = other else {
            stored.cuts_offset = Some(mine);
            return Ok(());
        };
        forward(stored, &other);
        last = Some(other);
    }
}

/// Moves a position forward to what the cuts topic says: the file may lag behind it.
pub(crate) fn forward(stored: &mut Stored, recorded: &Recorded) {
    if Some(recorded.offset) > stored.cuts_offset {
        stored.position = recorded.cut.position.clone();
        stored.cuts_offset = Some(recorded.offset);
        // The anchors stay: rows that were published stand in the log as they were. The source may be another one by now,
        // by the decision of a person elsewhere.
        stored.source.system = recorded.cut.system;
        stored.source.timeline = recorded.cut.timeline;
    }
    stored.epoch = stored.epoch.max(recorded.cut.epoch);
}

/// Returns what the file of a pipeline that never published holds.
pub(crate) fn first(config: &Config) -> Stored {
    Stored {
        format: FORMAT,
        pipeline: config.pipeline.clone(),
        source: Identity::default(),
        sequence: format!("{}.cdc_id_seq", config.capture.schema),
        position: Position::start(),
        epoch: 0,
        cuts_offset: None,
        anchors: Vec::new(),
        saved_at: String::new(),
    }
}

/// Writes the offset file of a new pipeline: the first start is made explicit. Returns false when there is a file
/// already, or when the pipeline has published before (then a person decides).
pub(crate) fn first_position(config: &Config) -> Result<bool, Error> {
    if offset::read(&config.offset.dir, &config.pipeline)?.is_some() {
        return Ok(false);
    }
    let mut offsets = OffsetDir::lock(&config.offset.dir, &config.pipeline)?;
    if read_last_cut(config, None)?.is_some() {
        return Ok(false);
    }
    offsets.save(&first(config))?;
    Ok(true)
}

/// Tells what a fenced producer means. The broker fences also the one whose transaction it ended because nothing was
/// heard of it for too long, on a machine that was suspended: then there is no other publisher, and it may go on.
pub(super) fn fenced(config: &Config, pipeline: String, epoch: u64) -> Error {
    let cuts = offset::read(&config.offset.dir, &config.pipeline).map_err(Error::from).and_then(|stored| {
        let from = stored.and_then(|stored| stored.cuts_offset).unwrap_or(0);
        read_cuts(config, from).map_err(Error::from)
    });
    match cuts {
        Ok(cuts) if cuts.iter().any(|recorded| recorded.cut.epoch > epoch) => {
            PublishError::Fenced { pipeline }.into()
        }
        Ok(_) => PublishError::GivenUp { pipeline }.into(),
        Err(error) => error,
    }
}
