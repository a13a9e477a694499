//! Parts: a cut and the changes that it covers, put together again from the partitions.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::kafka::{Reader, Record};
use super::{ConsumeError, Positions};
use crate::config::Config;
use crate::event::{Change, Op};
use crate::table::{Table, TableName};
use crate::wire::{Cut, Range, cuts_topic, data_topic, schemas_topic, split_envelope};

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
}

/// A part that is being read; reading may be interrupted anywhere and goes on here.
#[derive(Debug)]
struct Partial {
    part: Part,
    /// Ranges that are complete.
    complete: usize,
}

/// Reads parts in the order of the cuts topic.
#[derive(Debug)]
pub(super) struct Parts {
    pipeline: String,
    reader: Reader,
    cuts: String,
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
    /// Opens the pipeline's topics at `positions`. Blocking.
    pub(super) fn open(config: &Config, group: &str, positions: &Positions) -> Result<Self, ConsumeError> {
        let prefix = config.topic_prefix();
        let (cuts, schemas) = (cuts_topic(prefix), schemas_topic(prefix));
        Ok(Self {
            pipeline: config.pipeline.clone(),
            reader: Reader::open(config, group, positions)?,
            cuts,
            current: None,
            held: BTreeMap::new(),
            schemas: Schemas { prefix: prefix.to_owned(), topic: schemas, known: BTreeMap::new() },
        })
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
                    let records = self.records(&range).await?;
                    self.add(&range, records)?;
                }
                None => {
                    if let Some(partial) = self.current.take() {
                        return Ok(finish(partial.part));
                    }
                }
            }
        }
    }

    async fn next_cut(&self) -> Result<Partial, ConsumeError> {
        let record = self.reader.next(&self.cuts, 0).await?;
        let foreign = || self.foreign(&self.cuts, 0, record.offset);
        let mut cut: Cut =
            serde_json::from_slice(record.value.as_deref().ok_or_else(foreign)?).map_err(|_| foreign())?;
        if cut.format != 1 {
            return Err(ConsumeError::Format { topic: self.cuts.clone(), offset: record.offset });
        }
        // The cuts topic's own partition is where we are reading; another pipeline's parts are not ours to apply.
        cut.ranges.retain(|range| range.topic != self.cuts && cut.pipeline == self.pipeline);
        if let Some(range) = cut.ranges.iter().find(|range| !self.reader.has(&range.topic, range.partition)) {
            return Err(ConsumeError::NewTopic { topic: range.topic.clone() });
        }
        let part = Part { cut, offset: record.offset, changes: Vec::new(), bytes: 0 };
        Ok(Partial { part, complete: 0 })
    }

    /// Draws the messages of a range that belong to the current cut. Until they are all there they stay in `held`,
    /// so that an interrupted read goes on where it was.
    async fn records(&mut self, range: &Range) -> Result<Vec<(Record, Arc<Table>)>, ConsumeError> {
        let slot = (range.topic.clone(), range.partition);
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
        let named = [cut.epoch, cut.pass, u64::from(cut.part)];
        let held = self.held.entry(slot).or_default();
        let mut records = Vec::new();
        while held.front().is_some_and(|record| record.offset < range.next) {
            let Some(record) = held.pop_front() else { break };
            let Some([_, epoch, pass, part, version]) = record.numbers else { continue };
            if record.offset >= range.first && [epoch, pass, part] == named {
                let table = self
                    .schemas
                    .get(&range.topic, version)
                    .ok_or_else(|| ConsumeError::NoSchema { topic: range.topic.clone(), version })?;
                records.push((record, table));
            }
        }
        Ok(records)
    }

    /// Makes sure that every message held for the range is ours and that its schema is known.
    async fn resolve(&mut self, range: &Range, slot: &(String, i32)) -> Result<(), ConsumeError> {
        let mut wanted = None;
        for record in
            self.held.get(slot).into_iter().flatten().take_while(|record| record.offset < range.next)
        {
            let Some([.., version]) = record.numbers else {
                return Err(self.foreign(&range.topic, range.partition, record.offset));
            };
            if wanted != Some(version) {
                wanted = Some(version);
                self.schemas.wait(&self.reader, &range.topic, version).await?;
            }
        }
        Ok(())
    }

    fn add(&mut self, range: &Range, records: Vec<(Record, Arc<Table>)>) -> Result<(), ConsumeError> {
        let Some(partial) = &mut self.current else { return Ok(()) };
        for (record, table) in records {
            let (Some([cdc_id, ..]), Some(value)) = (record.numbers, record.value) else { continue };
            let (op, row) = split_envelope(&value).map_err(|source| ConsumeError::Unreadable {
                topic: range.topic.clone(),
                partition: range.partition,
                offset: record.offset,
                source,
            })?;
            partial.part.bytes += record.key.len() + value.len();
            partial.part.changes.push(Change { cdc_id, table, op, key: record.key, value, row });
        }
        partial.complete += 1;
        Ok(())
    }

    fn foreign(&self, topic: &str, partition: i32, offset: i64) -> ConsumeError {
        ConsumeError::Foreign { topic: topic.to_owned(), partition, offset }
    }
}

/// Puts the changes of all partitions into one order; a truncate, which every partition carries, stands once.
fn finish(mut part: Part) -> Part {
    part.changes.sort_by_key(|change| change.cdc_id);
    part.changes.dedup_by(|b, a| a.cdc_id == b.cdc_id && a.op == Op::Truncate);
    part
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
            let table = record.value.as_deref().and_then(|value| serde_json::from_slice::<Table>(value).ok());
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
