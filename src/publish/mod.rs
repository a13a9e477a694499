//! Publishing: windows of the tail become messages, and a cut says which of them count.
//!
//! One part is one Kafka transaction (`exactly_once`), or one acknowledged round of the idempotent producer
//! (`at_least_once`). Either way the position moves only over what the broker confirmed.

mod acks;
mod cuts;
mod error;
mod kafka;
mod poller;
mod reach;
mod topics;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::config::{Config, Delivery};
use crate::event::Op;
use crate::failpoint;
use crate::position::{Anchor, Identity, Position};
use crate::table::{Table, TableName};
use crate::tail::{LogTable, Message, ReadChunk, Window};
use crate::wire::{CUT_FORMAT, Chunk, Cut, Range, Stamp, cuts_topic, data_topic, schemas_topic};

use acks::TooLarge;
use kafka::{Producer, Record};
pub(crate) use kafka::{client_config, patiently, room_for_a_message, without_value};

pub use cuts::{Ahead, Recorded, count_cuts, read_cuts, read_last_cut};
pub use error::PublishError;
pub use reach::distrust;
pub use topics::{
    create_topics, delete_group, delete_named, delete_topics, existing_groups, existing_topics,
    missing_topics,
};

/// Rows of the last part that the position remembers, for recognising the source after a restart.
const ANCHORS: usize = 8;

/// What was confirmed: the position behind a part.
#[derive(Debug, Clone)]
pub struct Published {
    /// Where the pipeline stands.
    pub position: Position,
    /// Kafka offset of the cuts record.
    pub cuts_offset: i64,
    /// The last rows that were published.
    pub anchors: Vec<Anchor>,
    /// Log rows in the part.
    pub rows: usize,
}

/// The publisher of one pipeline. Blocking: runs on a thread of its own.
#[derive(Debug)]
pub struct Publisher {
    pipeline: String,
    prefix: String,
    epoch: u64,
    tombstones: bool,
    identity: Identity,
    /// Two producers in turn: the messages of the next part are sent while the last one is being committed.
    producers: Vec<Arc<Producer>>,
    /// The producers that have no part under way, in the order in which they became free.
    free: mpsc::Receiver<usize>,
    release: mpsc::Sender<usize>,
    /// Topics by slot; the slot travels with each message to its delivery report.
    topics: Vec<String>,
    partitions: Vec<i32>,
    /// For topics that DDL makes necessary.
    config: Config,
    /// Schema versions that are on the schemas topic.
    announced: BTreeMap<TableName, BTreeSet<u32>>,
    /// The tables of the last window.
    known: Option<Known>,
}

/// Tables whose schemas are announced, and the slots of their topics.
#[derive(Debug)]
struct Known {
    tables: Arc<Vec<LogTable>>,
    slots: Arc<[usize]>,
}

const CUTS: usize = 0;
const SCHEMAS: usize = 1;
/// Longest wait for the broker's confirmation of one part.
const CONFIRM: Duration = Duration::from_secs(120);

impl Publisher {
    /// Opens the producers and fences every former publisher of this pipeline: from here on nothing that one of them
    /// still had in flight can be committed.
    pub fn open(config: &Config) -> Result<Self, PublishError> {
        let open = |i| match config.kafka.delivery {
            Delivery::ExactlyOnce => Producer::transactional(&config.kafka, &config.pipeline, i),
            Delivery::AtLeastOnce => Producer::idempotent(&config.kafka, &config.pipeline),
        };
        let producers = vec![Arc::new(open(0)?), Arc::new(open(1)?)];
        let (release, free) = mpsc::channel();
        for producer in 0..producers.len() {
            release.send(producer).ok();
        }
        let prefix = config.topic_prefix();
        let mut publisher = Self {
            pipeline: config.pipeline.clone(),
            prefix: prefix.to_owned(),
            epoch: 0,
            tombstones: config.kafka.tombstones,
            identity: Identity::default(),
            producers,
            free,
            release,
            topics: Vec::new(),
            partitions: Vec::new(),
            announced: BTreeMap::new(),
            known: None,
            config: config.clone(),
        };
        publisher.slot(cuts_topic(prefix))?;
        publisher.slot(schemas_topic(prefix))?;
        Ok(publisher)
    }

    /// Says which source is published.
    pub fn begin(&mut self, identity: Identity) {
        self.identity = identity;
    }

    /// Takes the pipeline over: writes a cuts record of a new epoch, without messages, at the position where this
    /// publisher goes on. From there on readers pass over what a former one still writes, so this holds without Kafka
    /// transactions too. Returns the record's Kafka offset.
    ///
    /// Where somebody else's record came before it, the caller has to read that and claim again. `waits` is as for
    /// [`Staged::finish`].
    pub fn claim(
        &mut self,
        epoch: u64,
        position: &Position,
        last: Option<&Cut>,
        waits: &dyn Fn(),
    ) -> Result<i64, PublishError> {
        self.epoch = epoch;
        let (turn, token) = self.next_producer();
        self.producers[turn].begin()?;
        let staged = Staged {
            producer: Arc::clone(&self.producers[turn]),
            token,
            sent: 0,
            cut: Cut {
                format: CUT_FORMAT,
                pipeline: self.pipeline.clone(),
                epoch,
                pass: position.pass,
                part: last.map_or(0, |last| last.part),
                done: last.is_none_or(|last| last.done),
                restart: last.is_some_and(|last| !last.done) && position.inside.is_none(),
                rows: 0,
                source_micros: last.map_or(0, |last| last.source_micros),
                position: position.clone(),
                system: self.identity.system,
                timeline: self.identity.timeline,
                ranges: Vec::new(),
                chunk: None,
            },
            cuts: self.topics[CUTS].clone(),
            anchors: Vec::new(),
        };
        let claimed = staged.finish(waits)?.cuts_offset;
        failpoint::hit("publish::after-claim");
        Ok(claimed)
    }

    /// Sends the messages of one part and waits until the broker has acknowledged them. They do not count before
    /// [`Staged::finish`], which has to be called in the order of the parts.
    ///
    /// Waits while both producers have a part under way. `waits` is as for [`Staged::finish`].
    pub fn stage(&mut self, window: &Window, waits: &dyn Fn()) -> Result<Staged, PublishError> {
        let slots = self.slots(&window.tables, waits)?;
        let (turn, token) = self.next_producer();
        let sent = self.send_all(turn, window, &slots).map_err(|error| {
            // What the broker refuses comes back as a delivery that failed, and would be tried for ever.
            if self.producers[turn].too_large().is_some() {
                // Reports of the same batch follow: the largest message is the one to name.
                self.producers[turn].confirm(usize::MAX, window.pass, CONFIRM).ok();
            }
            let refused = self.producers[turn].too_large();
            let table = refused.and_then(|refused| slots.iter().position(|slot| *slot == refused.slot));
            match refused.zip(table) {
                Some((TooLarge { slot, cdc_id, bytes }, table)) => PublishError::TooLarge {
                    table: window.tables[table].table.name.clone(),
                    cdc_id,
                    bytes,
                    topic: self.topics[slot].clone(),
                },
                None => error,
            }
        })?;
        Ok(Staged {
            producer: Arc::clone(&self.producers[turn]),
            token,
            sent,
            cut: self.cut(turn, window),
            cuts: self.topics[CUTS].clone(),
            anchors: anchors(window),
        })
    }

    /// Sends the messages of a window and waits for their acknowledgements. Returns how many they are.
    fn send_all(&self, turn: usize, window: &Window, slots: &[usize]) -> Result<usize, PublishError> {
        self.producers[turn].begin()?;
        let Window { pass, part, .. } = *window;
        // Table by table: the client sends what stands together in one request, and looks through all its partitions for
        // every message that comes to an idle one. Order counts inside a table alone.
        let mut messages: Vec<&Message> = window.messages.iter().collect();
        messages.sort_by_key(|message| message.table);
        let mut sent = 0;
        for messages in messages.chunk_by(|a, b| a.table == b.table) {
            let (index, LogTable { table, .. }) = (messages[0].table, &window.tables[messages[0].table]);
            let (slot, topic) = (slots[index], &self.topics[slots[index]]);
            let mut value = Stamp { epoch: self.epoch, pass, part, version: table.version }.prefix();
            let stamp = value.len();
            for message in messages {
                value.truncate(stamp);
                // The brace stands in the stamp.
                value.extend_from_slice(&window.bytes[message.value.clone()][1..]);
                let key = &window.bytes[message.key.clone()];
                let record = Record { topic, slot, partition: None, key, value: Some(&value) };
                sent += self.send(turn, message.op, record).map_err(|error| match error {
                    kafka::SendError::TooLarge => PublishError::TooLarge {
                        table: table.name.clone(),
                        cdc_id: message.cdc_id,
                        bytes: message.key.len() + value.len(),
                        topic: topic.clone(),
                    },
                    kafka::SendError::Kafka(source) => PublishError::Kafka { what: "sending", source },
                    kafka::SendError::Delivery(why) => PublishError::Delivery { pass, why },
                })?;
                failpoint::hit("publish::after-produce");
            }
        }
        failpoint::hit("publish::before-acks");
        self.producers[turn].confirm(sent, pass, CONFIRM)?;
        failpoint::hit("publish::after-acks");
        Ok(sent)
    }

    /// Waits for a producer that is free.
    fn next_producer(&mut self) -> (usize, Token) {
        let producer = self.free.recv().expect("this side keeps a sender, so the channel never closes");
        (producer, Token { producer, release: self.release.clone() })
    }

    /// Sends one change: a delete with its tombstone, a truncate to every partition. Returns the number of messages.
    fn send(&self, turn: usize, op: Op, record: Record<'_>) -> Result<usize, kafka::SendError> {
        let producer = &self.producers[turn];
        match op {
            Op::Truncate => {
                let partitions = self.partitions[record.slot];
                for partition in 0..partitions {
                    producer.send(Record { partition: Some(partition), ..record })?;
                }
                Ok(usize::try_from(partitions).unwrap_or(0))
            }
            Op::Delete if self.tombstones => {
                producer.send(record)?;
                producer.send(Record { value: None, ..record })?;
                Ok(2)
            }
            _ => producer.send(record).map(|()| 1),
        }
    }

    fn cut(&self, turn: usize, window: &Window) -> Cut {
        let ranges = self.producers[turn].moved().into_iter().map(|moved| Range {
            topic: self.topics[moved.slot].clone(),
            partition: moved.partition,
            first: moved.first,
            next: moved.next,
            messages: moved.messages,
        });
        Cut {
            format: CUT_FORMAT,
            pipeline: self.pipeline.clone(),
            epoch: self.epoch,
            pass: window.pass,
            part: window.part,
            done: window.done,
            restart: false,
            rows: window.messages.len() as u64,
            source_micros: window.source_micros,
            position: window.position.clone(),
            system: self.identity.system,
            timeline: self.identity.timeline,
            ranges: ranges.collect(),
            chunk: window.chunk.as_ref().map(|chunk| self.chunk(window, chunk)),
        }
    }

    /// Describes the chunk of existing rows that a window ends with.
    fn chunk(&self, window: &Window, read: &ReadChunk) -> Chunk {
        let table = &window.tables[read.table].table;
        Chunk {
            run: read.run,
            topic: data_topic(&self.prefix, &table.name),
            version: table.version,
            begins: read.begins,
            ends: read.ends,
            sweeps: read.sweeps,
        }
    }

    /// Puts the schema of every table that is new or has changed onto the schemas topic, before any row of it.
    fn announce(&mut self, tables: &[LogTable], waits: &dyn Fn()) -> Result<(), PublishError> {
        let fresh: Vec<&Table> = tables
            .iter()
            .map(|table| &table.table)
            .filter(|table| {
                self.announced.get(&table.name).is_none_or(|versions| !versions.contains(&table.version))
            })
            .collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let (turn, _token) = self.next_producer();
        let producer = &self.producers[turn];
        producer.begin()?;
        for &table in &fresh {
            let name = &table.name;
            let key =
                serde_json::json!({"schema": name.schema, "table": name.name, "version": table.version});
            let key = key.to_string();
            let value = serde_json::to_vec(table).unwrap_or_default();
            let record = Record {
                topic: &self.topics[SCHEMAS],
                slot: SCHEMAS,
                partition: Some(0),
                key: key.as_bytes(),
                value: Some(&value),
            };
            producer.send(record).map_err(|error| error.into_publish(0))?;
        }
        producer.confirm(fresh.len(), 0, CONFIRM)?;
        producer.commit(waits)?;
        failpoint::hit("publish::after-schemas");
        for table in fresh {
            self.announced.entry(table.name.clone()).or_default().insert(table.version);
        }
        Ok(())
    }

    /// Returns the slot of each table's topic, once its schema is on the schemas topic.
    fn slots(&mut self, tables: &Arc<Vec<LogTable>>, waits: &dyn Fn()) -> Result<Arc<[usize]>, PublishError> {
        if let Some(known) = self.known.as_ref().filter(|known| Arc::ptr_eq(&known.tables, tables)) {
            return Ok(Arc::clone(&known.slots));
        }
        self.announce(tables, waits)?;
        let slots: Result<Arc<[usize]>, _> = tables.iter().map(|table| self.table_slot(table)).collect();
        let slots = slots?;
        self.known = Some(Known { tables: Arc::clone(tables), slots: Arc::clone(&slots) });
        Ok(slots)
    }

    /// Returns the slot of a table's topic. A table that DDL created or renamed has none yet; any other's is `init`'s, and
    /// one that is gone is no matter for the publisher.
    fn table_slot(&mut self, table: &LogTable) -> Result<usize, PublishError> {
        let topic = data_topic(&self.prefix, &table.table.name);
        match self.slot(topic.clone()) {
            Err(PublishError::NoTopic { .. }) if table.rows.named_by_ddl => {
                topics::create_topic(&self.config, &table.table.name)?;
                tracing::info!(table = %table.table.name, topic, "created a topic");
                // Not every broker has heard of it yet.
                topics::once_there(|| self.slot(topic.clone()))
            }
            slot => slot,
        }
    }

    fn slot(&mut self, topic: String) -> Result<usize, PublishError> {
        if let Some(slot) = self.topics.iter().position(|known| *known == topic) {
            return Ok(slot);
        }
        self.partitions.push(self.producers[0].partitions(&topic)?);
        self.topics.push(topic);
        Ok(self.topics.len() - 1)
    }
}

/// A producer is busy while this lives.
#[derive(Debug)]
struct Token {
    producer: usize,
    release: mpsc::Sender<usize>,
}

impl Drop for Token {
    fn drop(&mut self) {
        self.release.send(self.producer).ok();
    }
}

/// A part whose messages are acknowledged and do not count yet.
#[derive(Debug)]
pub struct Staged {
    producer: Arc<Producer>,
    token: Token,
    sent: usize,
    cut: Cut,
    cuts: String,
    anchors: Vec<Anchor>,
}

impl Staged {
    /// Writes the cut behind the messages and commits: once this returns `Ok`, the part counts. `waits` is called again and
    /// again while the broker does not confirm the commit, which may be for as long as it is away.
    pub fn finish(self, waits: &dyn Fn()) -> Result<Published, PublishError> {
        let Self { producer, token, sent, cut, cuts, anchors } = self;
        let value = serde_json::to_vec(&cut).unwrap_or_default();
        let record = Record {
            topic: &cuts,
            slot: CUTS,
            partition: Some(0),
            key: cut.pipeline.as_bytes(),
            value: Some(&value),
        };
        producer.send(record).map_err(|error| error.into_publish(cut.pass))?;
        failpoint::hit("publish::after-cut");
        producer.confirm(sent + 1, cut.pass, CONFIRM)?;
        let moved = producer.moved().into_iter().find(|moved| moved.slot == CUTS);
        let cuts_offset = moved.map_or(0, |moved| moved.next - 1);
        failpoint::hit("publish::before-commit");
        producer.commit(waits)?;
        failpoint::hit("publish::after-commit");
        drop(token);
        let rows = usize::try_from(cut.rows).unwrap_or(usize::MAX);
        Ok(Published { position: cut.position, cuts_offset, anchors, rows })
    }
}

fn anchors(window: &Window) -> Vec<Anchor> {
    // Existing rows come last and stand in no log table.
    let logged = window.messages.iter().take_while(|message| message.op != Op::Read).count();
    let anchor = |message: &Message| Anchor {
        log_table: window.tables[message.table].log_table.clone(),
        cdc_id: message.cdc_id,
        txid: message.txid,
        at_micros: message.at_micros,
    };
    window.messages[logged.saturating_sub(ANCHORS)..logged].iter().map(anchor).collect()
}
