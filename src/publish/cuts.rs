//! The cuts topic, read to its end: where a pipeline stands, in Kafka's own words.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use super::PublishError;
use super::kafka::{client_config, patiently};
use super::topics::{ASK, failed};
use crate::config::Config;
use crate::wire::{Cut, NoCut, cuts_topic};

/// Longest time for reading to the end.
const READ: Duration = Duration::from_secs(60);
/// Records at the end of the topic that are read first when only the last one is wanted.
const TAIL_RECORDS: i64 = 1_000;

/// A cuts record and its Kafka offset.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The record.
    pub cut: Cut,
    /// Its Kafka offset.
    pub offset: i64,
}

/// Reads the cuts topic to its end and returns the pipeline's last record, `None` when there is none.
///
/// `known` is the record that the offset file names, by Kafka offset, pass and (inside a pass) part: that very record
/// must be there, else Kafka has lost data. To be called after [`super::Publisher::open`], when nothing of a former
/// publisher is in flight.
pub fn read_last_cut(
    config: &Config,
    known: Option<(i64, u64, Option<u32>)>,
) -> Result<Option<Recorded>, PublishError> {
    let reader = Reader::open(config)?;
    let Some((offset, pass, part)) = known else {
        // Usually the last records are enough; the topic may be long.
        let last = reader.cuts(config, reader.high - TAIL_RECORDS)?.pop();
        return if last.is_some() { Ok(last) } else { Ok(reader.cuts(config, reader.low)?.pop()) };
    };
    let contradiction = |found| Err(PublishError::Contradiction { found });
    let Reader { topic, low, high, .. } = &reader;
    if offset < *low || offset >= *high {
        return contradiction(format!(
            "the offset file names record {offset} of {topic}, but the topic holds {low} to {high}: it was deleted or \
             recreated, or Kafka has lost data"
        ));
    }
    let mut cuts = reader.cuts(config, offset)?;
    match cuts.first() {
        Some(first) if first.offset == offset => {
            let cut = &first.cut;
            if cut.pass != pass || part.is_some_and(|part| part != cut.part) {
                return contradiction(format!(
                    "the offset file names pass {pass} at record {offset} of {topic}, but pass {} part {} stands there",
                    cut.pass, cut.part
                ));
            }
        }
        _ => {
            return contradiction(format!(
                "the record {offset} of {topic} that the offset file names is gone"
            ));
        }
    }
    Ok(cuts.pop())
}

/// Returns the pipeline's cuts records from Kafka offset `from` to the end of the topic. Blocking.
pub fn read_cuts(config: &Config, from: i64) -> Result<Vec<Recorded>, PublishError> {
    Reader::open(config)?.cuts(config, from)
}

/// What stands on the cuts topic behind an offset.
#[derive(Debug, Clone, Copy)]
pub struct Ahead {
    /// Kafka offset of the last record.
    pub last: i64,
    /// Rows of the parts.
    pub rows: u64,
    /// The source's clock in the last record, microseconds since 1970.
    pub source_micros: i64,
}

/// Counts what stands on the cuts topic from Kafka offset `from` to its end; `None` when nothing does. Blocking.
pub fn count_cuts(config: &Config, from: i64) -> Result<Option<Ahead>, PublishError> {
    let reader = Reader::open(config)?;
    let start = from.max(reader.low);
    let (mut last, mut rows) = (Vec::new(), 0);
    if reader.high > start {
        reader.read(start, |recorded| {
            let before = last.len();
            push(&mut last, recorded);
            if let Some(added) = last.get(before) {
                rows += added.cut.rows;
            }
            last.drain(..last.len().saturating_sub(1));
        })?;
    }
    let ahead =
        |Recorded { offset, cut }: Recorded| Ahead { last: offset, rows, source_micros: cut.source_micros };
    Ok(last.pop().map(ahead))
}

/// Adds a record that counts, which one of a lower epoch does not. A claim that a part came before stands where that part
/// does.
fn push(cuts: &mut Vec<Recorded>, mut recorded: Recorded) {
    if let Some(Recorded { cut: last, .. }) = cuts.last() {
        let cut = &mut recorded.cut;
        if cut.epoch < last.epoch {
            return;
        }
        if cut.is_beaten(last.step()) {
            *cut = Cut { epoch: cut.epoch, rows: 0, ranges: Vec::new(), chunk: None, ..last.clone() };
        }
    }
    cuts.push(recorded);
}

/// Reads the cuts topic from an offset to the end that it had when this was opened.
struct Reader {
    consumer: BaseConsumer,
    topic: String,
    low: i64,
    high: i64,
}

impl Reader {
    fn open(config: &Config) -> Result<Self, PublishError> {
        let topic = cuts_topic(config.topic_prefix());
        let consumer: BaseConsumer = client_config(&config.kafka)
            .set("group.id", format!("{}-cuts", config.pipeline))
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .create()
            .map_err(failed("creating the cuts reader"))?;
        let asked = patiently(|| consumer.fetch_watermarks(&topic, 0, ASK));
        let (low, high) = asked.map_err(|source| match source {
            KafkaError::MetadataFetch(
                RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownPartition,
            ) => PublishError::NoTopic { topic: topic.clone() },
            source => PublishError::Kafka { what: "asking for the end of the cuts topic", source },
        })?;
        Ok(Self { consumer, topic, low, high })
    }

    /// Returns the pipeline's records from Kafka offset `from` on, without those that a publisher wrote after another
    /// one had taken over.
    fn cuts(&self, config: &Config, from: i64) -> Result<Vec<Recorded>, PublishError> {
        if from > self.high {
            let Self { topic, high, .. } = self;
            let found = format!(
                "{topic} ends at {high}, below {from}: it was deleted or recreated, or Kafka has lost data"
            );
            return Err(PublishError::Contradiction { found });
        }
        let start = from.max(self.low);
        let mut cuts: Vec<Recorded> = Vec::new();
        let mut other = None;
        if self.high > start {
            self.read(start, |recorded| {
                if recorded.cut.pipeline != config.pipeline {
                    other = Some(recorded.cut.pipeline);
                } else {
                    push(&mut cuts, recorded);
                }
            })?;
        }
        match other {
            Some(pipeline) => Err(PublishError::OtherPipeline { topic: self.topic.clone(), pipeline }),
            None => Ok(cuts),
        }
    }

    fn read(&self, start: i64, mut each: impl FnMut(Recorded)) -> Result<(), PublishError> {
        let failed = failed("reading the cuts topic");
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset(&self.topic, 0, Offset::Offset(start)).map_err(&failed)?;
        self.consumer.assign(&assignment).map_err(&failed)?;
        let deadline = Instant::now() + READ;
        // The position passes over control records at the end, which are never handed out.
        while self.position().is_none_or(|next| next < self.high) {
            if Instant::now() > deadline {
                return Err(PublishError::TimedOut { pass: 0, seconds: READ.as_secs() });
            }
            match self.consumer.poll(Duration::from_millis(50)) {
                None => {}
                Some(Ok(message)) => {
                    let (topic, offset) = (self.topic.clone(), message.offset());
                    let cut = Cut::read(message.payload()).map_err(|no| match no {
                        NoCut::Format => PublishError::Format { topic, offset },
                        NoCut::Foreign => PublishError::Foreign { topic, partition: 0, offset },
                    })?;
                    each(Recorded { cut, offset });
                }
                Some(Err(source)) => return Err(failed(source)),
            }
        }
        Ok(())
    }

    fn position(&self) -> Option<i64> {
        self.consumer.position().ok()?.find_partition(&self.topic, 0)?.offset().to_raw()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Position;
    use crate::wire::{CUT_FORMAT, Range};

    /// Epoch, pass, part and rows.
    fn recorded((epoch, pass, part, rows): (u64, u64, u32, u64), offset: i64) -> Recorded {
        let range =
            Range { topic: "t".into(), partition: 0, first: offset, next: offset + 1, messages: rows };
        let ranges = if rows > 0 { vec![range] } else { Vec::new() };
        let position = Position { pass, offset: pass * 10, ..Position::start() };
        let pipeline = "shop".into();
        let (format, done, restart, source_micros, system, timeline) = (CUT_FORMAT, true, false, 0, 1, 1);
        let cut = Cut {
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
        };
        Recorded { cut, offset }
    }

    #[test]
    fn a_claim_stands_where_the_part_before_it_does_and_lower_epochs_do_not_count() {
        let mut cuts = Vec::new();
        // Epoch 2 claims at pass 10 while the former publisher's pass 11 comes in, and claims again behind that.
        let written =
            [(1, 10, 0, 5), (1, 11, 0, 5), (2, 10, 0, 0), (1, 12, 0, 5), (3, 11, 0, 0), (3, 12, 0, 5)];
        for (offset, record) in (0..).zip(written) {
            push(&mut cuts, recorded(record, offset));
        }
        let read: Vec<_> = cuts
            .iter()
            .map(|recorded| {
                let cut = &recorded.cut;
                (recorded.offset, cut.epoch, cut.pass, cut.rows, cut.position.offset)
            })
            .collect();
        assert_eq!(
            read,
            [
                (0, 1, 10, 5, 100),
                (1, 1, 11, 5, 110),
                (2, 2, 11, 0, 110),
                (4, 3, 11, 0, 110),
                (5, 3, 12, 5, 120)
            ]
        );
    }
}
