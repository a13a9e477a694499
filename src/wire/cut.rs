//! The cuts topic: one record for every published part of a pass.

use serde::{Deserialize, Serialize};

use crate::position::Position;

/// Version of [`Cut`]'s form that this program writes.
pub const CUT_FORMAT: u32 = 4;
/// The oldest version that it reads. Older ones name messages whose numbers stand in headers.
const OLDEST_FORMAT: u32 = 4;

/// What one part of a pass put on the topics. Messages that no cut covers do not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Format version of this record.
    pub format: u32,
    /// Name of the pipeline.
    pub pipeline: String,
    /// Grows by one with every start of the publisher.
    pub epoch: u64,
    /// Number of the pass, from 1.
    pub pass: u64,
    /// Number of the part inside the pass, from 0.
    pub part: u32,
    /// True for the last part of a pass: the state behind it is one the source showed.
    pub done: bool,
    /// True when a person moved the position back: the next pass begins anew from there.
    pub restart: bool,
    /// Log rows in this part, and existing rows.
    pub rows: u64,
    /// The source's clock when the snapshot of the pass was taken, microseconds since 1970.
    pub source_micros: i64,
    /// Where the publisher stands behind this part.
    pub position: Position,
    /// Identity of the source: system identifier and timeline.
    pub system: u64,
    /// Timeline of the source.
    pub timeline: u32,
    /// For every partition that moved: what belongs to this part.
    pub ranges: Vec<Range>,
    /// The part ends with a chunk of a table's existing rows, as the snapshot of the pass shows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk: Option<Chunk>,
}

/// A chunk of the existing rows of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Number of the request, drawn from the sequence of the `cdc_id`s: all that was published of the table before it
    /// has a lower id.
    pub run: u64,
    /// The table's topic.
    pub topic: String,
    /// Its schema version.
    pub version: u32,
    /// The first chunk of the request.
    pub begins: bool,
    /// The last one.
    pub ends: bool,
    /// Rows that neither a chunk nor a change names since the request began are gone: the target removes them.
    pub sweeps: bool,
}

/// Which part of a pass a cut stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Number of the pass.
    pub pass: u64,
    /// Number of the part inside the pass.
    pub part: u32,
    /// The pass ends with it.
    pub done: bool,
}

/// Why a record of the cuts topic is no cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoCut {
    /// Another version of tripline wrote it.
    Format,
    /// It is not ours.
    Foreign,
}

impl Cut {
    /// Reads a record.
    pub fn read(value: Option<&[u8]>) -> Result<Self, NoCut> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let value = value.ok_or(NoCut::Foreign)?;
        let known = OLDEST_FORMAT..=CUT_FORMAT;
        serde_json::from_slice(value).ok().filter(|cut: &Self| known.contains(&cut.format)).ok_or_else(|| {
            match serde_json::from_slice(value) {
                Ok(Version { format }) if !known.contains(&format) => NoCut::Format,
                _ => NoCut::Foreign,
            }
        })
    }

    /// Tells whether this only opens an epoch.
    pub fn is_claim(&self) -> bool {
        self.rows == 0 && self.ranges.is_empty() && self.chunk.is_none()
    }

    /// Tells whether this is a claim that the part `last` came before: who wrote it claims again behind that.
    pub fn is_beaten(&self, last: Step) -> bool {
        self.is_claim() && (self.pass, self.part) < (last.pass, last.part)
    }

    /// Returns which part this is. Behind a restart comes a new pass.
    pub fn step(&self) -> Step {
        Step { pass: self.pass, part: self.part, done: self.done || self.restart }
    }

    /// Tells whether this cut may stand behind the part `last`: it is the next one, or a publisher's claim, which repeats
    /// the number of the last part.
    pub fn follows(&self, last: Step) -> bool {
        let next = if last.done { (last.pass + 1, 0) } else { (last.pass, last.part + 1) };
        let claim = self.is_claim() && (self.pass, self.part) == (last.pass, last.part);
        claim || (self.pass, self.part) == next
    }
}

/// Messages of one partition that belong to a cut: those from `first` up to but not including `next` whose headers
/// name the cut's epoch, pass and part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Kafka offset of the first message.
    pub first: i64,
    /// Kafka offset behind the last message.
    pub next: i64,
    /// How many there are, tombstones left out.
    pub messages: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pass: u64, part: u32, done: bool, rows: u64) -> Cut {
        let position = Position::start();
        let (pipeline, ranges) = ("shop".into(), Vec::new());
        let (format, epoch, source_micros, system, timeline, restart) = (CUT_FORMAT, 1, 0, 1, 1, false);
        Cut {
            format,
            pipeline,
            epoch,
            pass,
            part,
            done,
            restart,
            rows,
            source_micros,
            position,
            system,
            timeline,
            ranges,
            chunk: None,
        }
    }

    #[test]
    fn cuts_follow_part_by_part_and_pass_by_pass() {
        let last = cut(4, 2, false, 9).step();
        assert!(cut(4, 3, true, 9).follows(last));
        assert!(cut(4, 2, false, 0).follows(last), "a claim");
        for lost in [cut(4, 4, true, 9), cut(5, 0, true, 9), cut(4, 2, false, 9), cut(3, 0, true, 0)] {
            assert!(!lost.follows(last), "{lost:?}");
        }
        let end = cut(4, 3, true, 9).step();
        assert!(cut(5, 0, false, 9).follows(end));
        assert!(!cut(4, 4, true, 9).follows(end) && !cut(6, 0, true, 9).follows(end));
    }

    #[test]
    fn behind_a_restart_comes_a_new_pass() {
        let restart = Cut { restart: true, ..cut(4, 2, false, 0) };
        assert!(restart.follows(cut(4, 2, false, 9).step()));
        assert!(cut(5, 0, true, 9).follows(restart.step()));
        assert!(!cut(4, 3, true, 9).follows(restart.step()));
    }
}
