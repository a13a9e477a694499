//! Parts: a cut and the changes that it covers, put together again from the partitions.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::kafka::{Body, Reader, Record};
use super::{ConsumeError, Positions, Resumed, Share, Sweep};
use crate::config::Config;
use crate::event::{Change, Op};
use crate::table::{Table, TableName};
use crate::wire::{Chunk, Cut, NoCut, Range, Stamp, Step, cuts_topic, data_topic, schemas_topic};

/// Wait for a message before asking whether the consumer has passed the end of a range without one.
const ASK_POSITION: Duration = Duration::from_millis(200);
/// Longest wait for the schema that a message names: it was published before the message.
const SCHEMA_WAIT: Duration = Duration::from_secs(30);

/// One part, whole.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) cut: Cut,
    /// Kafka offset of the cuts record.
    pub(super) offset: i64,
    pub(super) changes: Vec<Change>,
    pub(super) bytes: usize,
    /// The table whose rows are copied anew begins or ends here.
    pub(super) sweep: Option<Sweep>,
}

/// A part that is being read; reading may be interrupted anywhere and goes on here.
#[derive(Debug)]
struct Partial {
    part: Part,
    /// Ranges that are complete.
    complete: usize,
}

/// Returns an epoch that was valid where reading begins. One that came later, which a share's other partitions may have seen
/// already, would have the cuts passed over that this share still needs; an earlier one is raised by reading.
fn epoch(resumed: &Resumed, cuts: &str, share: Option<&Share>) -> u64 {
    let of = |partition: &(String, i32)| resumed.epochs.get(partition).copied().unwrap_or(0);
    let epoch = match share {
        Some(share) => share.iter().map(of).min().unwrap_or(0),
        None => of(&(cuts.to_owned(), 0)),
    };
    u64::try_from(epoch).unwrap_or(0)
}

/// Reads parts in the order of the cuts topic.
#[derive(Debug)]
pub(super) struct Parts {
    pipeline: String,
    reader: Reader,
    cuts: String,
    share: Option<Arc<Share>>,
    /// Behind what was read and what was applied before.
    positions: Positions,
    /// Partitions of which more was applied before than the place in the cuts topic says.
    covered: Positions,
    /// Epoch of the last cut.
    epoch: u64,
    /// The last part, once it is known.
    last: Option<Step>,
    current: Option<Partial>,
    /// Messages that were drawn but lie behind the range that was read.
    held: BTreeMap<(String, i32), VecDeque<Record>>,
    schemas: Schemas,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record").field("offset", &self.offset).finish_non_exhaustive()
    }
}

impl Parts {
    /// Opens the pipeline's topics where a target stands, all of them or a share. Blocking.
    pub(super) fn open(
        config: &Config,
        group: &str,
        resumed: &Resumed,
        share: Option<Arc<Share>>,
    ) -> Result<Self, ConsumeError> {
        let prefix = config.topic_prefix();
        let (cuts, schemas) = (cuts_topic(prefix), schemas_topic(prefix));
        let epoch = epoch(resumed, &cuts, share.as_deref());
        let Resumed { mut positions, covered, last, .. } = resumed.clone();
        if let Some(share) = &share {
            // Nothing before the place where all of the share is applied has to be read again.
            let least = share.iter().map(|partition| covered.get(partition).copied().unwrap_or(0)).min();
            let place = positions.entry((cuts.clone(), 0)).or_insert(0);
            *place = (*place).max(least.unwrap_or(0));
        }
        Ok(Self {
            pipeline: config.pipeline.clone(),
            reader: Reader::open(config, group, &positions, share.as_deref())?,
            cuts,
            share,
            positions,
            covered,
            epoch,
            last,
            current: None,
            held: BTreeMap::new(),
            schemas: Schemas { prefix: prefix.to_owned(), topic: schemas, known: BTreeMap::new() },
        })
    }

    /// Returns the place in the cuts topic from which on is read.
    pub(super) fn place(&self) -> i64 {
        self.positions.get(&(self.cuts.clone(), 0)).copied().unwrap_or(0)
    }

    /// Returns the next part. Cancel-safe: what was read so far stays here.
    pub(super) async fn next(&mut self) -> Result<Part, ConsumeError> {
        loop {
            let Some(partial) = &self.current else {
                self.current = Some(self.next_cut().await?);
                continue;
            };
            match partial.part.cut.ranges.get(partial.complete).cloned() {
                Some(range) => {
                    let changes = self.changes(&range).await?;
                    self.add(changes);
                }
                None => {
                    if let Some(chunk) = sweep(&partial.part.cut).cloned() {
                        self.schemas.wait(&self.reader, &chunk.topic, u64::from(chunk.version)).await?;
                    }
                    if let Some(partial) = self.current.take() {
                        return Ok(self.finish(partial.part));
                    }
                }
            }
        }
    }

    /// Reads the next cuts record that counts.
    async fn next_cut(&mut self) -> Result<Partial, ConsumeError> {
        let (record, mut cut) = loop {
            let record = self.reader.next(&self.cuts, 0).await?;
            let cut = Cut::read(record.value()).map_err(|no| match no {
                NoCut::Format => ConsumeError::Format { topic: self.cuts.clone(), offset: record.offset },
                NoCut::Foreign => self.foreign(&self.cuts, 0, record.offset),
            })?;
            if cut.pipeline != self.pipeline {
                return Err(ConsumeError::OtherPipeline { topic: self.cuts.clone(), pipeline: cut.pipeline });
            }
            // A publisher that came late, behind the first record of the one that took over: what it holds was published
            // again.
            if cut.epoch < self.epoch {
                continue;
            }
            // The other way round: a part came in between, and who claims here claims again behind it.
            if cut.epoch > self.epoch && self.last.is_some_and(|last| cut.is_beaten(last)) {
                self.epoch = cut.epoch;
                continue;
            }
            if let Some(last) = self.last.filter(|last| !cut.follows(*last)) {
                let topic = self.cuts.clone();
                return Err(ConsumeError::Gap { topic, offset: record.offset, last, found: cut.step() });
            }
            self.epoch = cut.epoch;
            self.last = Some(cut.step());
            break (record, cut);
        };
        cut.ranges.retain(|range| self.is_open(range, record.offset));
        if let Some(range) = cut.ranges.iter().find(|range| !self.reader.has(&range.topic, range.partition)) {
            return Err(ConsumeError::NewTopic { topic: range.topic.clone() });
        }
        let part = Part { cut, offset: record.offset, changes: Vec::new(), bytes: 0, sweep: None };
        Ok(Partial { part, complete: 0 })
    }

    /// Tells whether a range has to be applied here: not the cuts topic's own, in the share, and not done before.
    fn is_open(&self, range: &Range, record: i64) -> bool {
        let partition = (range.topic.clone(), range.partition);
        let done = self.covered.get(&partition).is_some_and(|&covered| record < covered);
        let ours = self.share.as_ref().is_none_or(|share| share.contains(&partition));
        range.topic != self.cuts && ours && !done
    }

    /// Draws the messages of a range that belong to the current cut. Until they are all there they stay in `held`,
    /// so that an interrupted read goes on where it was.
    async fn changes(&mut self, range: &Range) -> Result<Vec<Change>, ConsumeError> {
        let slot = (range.topic.clone(), range.partition);
        let applied = self.positions.get(&slot).copied().unwrap_or(0);
        if range.first < applied {
            let (topic, partition) = slot;
            return Err(ConsumeError::Recreated { topic, partition, first: range.first, applied });
        }
        loop {
            let held = self.held.entry(slot.clone()).or_default();
            let last = |record: &Record| record.offset >= range.next - 1;
            if !held.back().is_some_and(last) {
                self.reader
                    .drain(&range.topic, range.partition, |record| {
                        let more = !last(&record);
                        held.push_back(record);
                        more
                    })
                    .await?;
            }
            if held.back().is_some_and(last) {
                break;
            }
            match tokio::time::timeout(ASK_POSITION, self.reader.next(&range.topic, range.partition)).await {
                Ok(record) => held.push_back(record?),
                Err(_) => {
                    let position = self.reader.position(&range.topic, range.partition);
                    if position.is_some_and(|next| next >= range.next) {
                        break;
                    }
                }
            }
        }
        self.resolve(range, &slot).await?;
        let Some(partial) = &self.current else { return Ok(Vec::new()) };
        let cut = &partial.part.cut;
        let named = |stamp: &Stamp| (stamp.epoch, stamp.pass, stamp.part) == (cut.epoch, cut.pass, cut.part);
        let held = self.held.entry(slot).or_default();
        let mut changes = Vec::with_capacity(held.len());
        let mut known: Option<(u32, Arc<Table>)> = None;
        while held.front().is_some_and(|record| record.offset < range.next) {
            let Some(record) = held.pop_front() else { break };
            // A tombstone says nothing that its delete has not said.
            let Body::Change { stamp, cdc_id, op, images } = record.body else { continue };
            if record.offset < range.first || !named(&stamp) {
                continue;
            }
            let table = match &known {
                Some((version, table)) if *version == stamp.version => Arc::clone(table),
                _ => {
                    let version = u64::from(stamp.version);
                    let missing = || ConsumeError::NoSchema { topic: range.topic.clone(), version };
                    let table = self.schemas.get(&range.topic, version).ok_or_else(missing)?;
                    known = Some((stamp.version, Arc::clone(&table)));
                    table
                }
            };
            changes.push(Change::new(cdc_id, table, op, images));
        }
        let found = changes.len() as u64;
        if found != range.messages {
            return Err(ConsumeError::Incomplete {
                topic: range.topic.clone(),
                partition: range.partition,
                pass: cut.pass,
                first: range.first,
                found,
                expected: range.messages,
            });
        }
        self.positions.insert((range.topic.clone(), range.partition), range.next);
        Ok(changes)
    }

    /// Makes sure that every message held for the range is ours and that its schema is known.
    async fn resolve(&mut self, range: &Range, slot: &(String, i32)) -> Result<(), ConsumeError> {
        let mut wanted = None;
        for record in
            self.held.get(slot).into_iter().flatten().take_while(|record| record.offset < range.next)
        {
            let version = match &record.body {
                Body::Tombstone => continue,
                Body::Other(_) => return Err(self.foreign(&range.topic, range.partition, record.offset)),
                Body::Change { stamp, .. } => u64::from(stamp.version),
            };
            if wanted != Some(version) {
                wanted = Some(version);
                self.schemas.wait(&self.reader, &range.topic, version).await?;
            }
        }
        Ok(())
    }

    fn add(&mut self, mut changes: Vec<Change>) {
        let Some(partial) = &mut self.current else { return };
        partial.part.bytes += changes.iter().map(Change::bytes).sum::<usize>();
        partial.part.changes.append(&mut changes);
        partial.complete += 1;
    }

    /// Puts the changes of all partitions into one order, existing rows last; a truncate, which every partition carries,
    /// stands once.
    fn finish(&self, mut part: Part) -> Part {
        part.changes.sort_by_key(|change| (change.op == Op::Read, change.cdc_id));
        part.changes.dedup_by(|b, a| a.cdc_id == b.cdc_id && a.op == Op::Truncate);
        part.sweep = sweep(&part.cut).and_then(|chunk| {
            let table = self.schemas.get(&chunk.topic, u64::from(chunk.version))?;
            Some(Sweep { table, run: chunk.run, begins: chunk.begins, ends: chunk.ends })
        });
        part
    }

    fn foreign(&self, topic: &str, partition: i32, offset: i64) -> ConsumeError {
        ConsumeError::Foreign { topic: topic.to_owned(), partition, offset }
    }
}

/// Returns the chunk with which the copying anew of a table begins or ends.
fn sweep(cut: &Cut) -> Option<&Chunk> {
    cut.chunk.as_ref().filter(|chunk| chunk.sweeps && (chunk.begins || chunk.ends))
}

/// The schemas topic, read as far as needed.
#[derive(Debug)]
struct Schemas {
    prefix: String,
    topic: String,
    known: BTreeMap<(String, u64), Arc<Table>>,
}

impl Schemas {
    fn get(&self, topic: &str, version: u64) -> Option<Arc<Table>> {
        self.known.get(&(topic.to_owned(), version)).map(Arc::clone)
    }

    /// Reads on until the schema is there. Cancel-safe.
    async fn wait(&mut self, reader: &Reader, topic: &str, version: u64) -> Result<(), ConsumeError> {
        let deadline = tokio::time::Instant::now() + SCHEMA_WAIT;
        while self.get(topic, version).is_none() {
            let next = tokio::time::timeout_at(deadline, reader.next(&self.topic, 0)).await;
            let record = next.map_err(|_| ConsumeError::NoSchema { topic: topic.to_owned(), version })??;
            let table = record.value().and_then(|value| serde_json::from_slice::<Table>(value).ok());
            let foreign =
                || ConsumeError::Foreign { topic: self.topic.clone(), partition: 0, offset: record.offset };
            let table = table.ok_or_else(foreign)?;
            let name: &TableName = &table.name;
            let known = (data_topic(&self.prefix, name), u64::from(table.version));
            self.known.insert(known, Arc::new(table));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_begins_with_the_epoch_that_was_valid_where_it_stands() {
        let partition = |number| ("p.public.t".to_owned(), number);
        let cuts = ("p.cuts".to_owned(), 0);
        let resumed = Resumed {
            epochs: [(partition(0), 7), (partition(1), 8), (cuts.clone(), 6)].into(),
            ..Resumed::default()
        };
        let share = |numbers: &[i32]| numbers.iter().map(|&number| partition(number)).collect::<Share>();
        assert_eq!(epoch(&resumed, &cuts.0, Some(&share(&[0, 1]))), 7, "the one that is behind counts");
        assert_eq!(epoch(&resumed, &cuts.0, Some(&share(&[1]))), 8);
        assert_eq!(epoch(&resumed, &cuts.0, Some(&share(&[1, 2]))), 0, "nothing of one was applied yet");
        assert_eq!(epoch(&resumed, &cuts.0, None), 6, "members do not move the place of the cuts");
        assert_eq!(epoch(&Resumed::default(), &cuts.0, None), 0);
    }
}
