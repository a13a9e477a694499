//! A table at the source against its mirror in ClickHouse.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use serde_json::value::RawValue;

use super::cut::{self, Base};
use super::postgres::Side;
use super::rounds::{Compared, Difference, NAMED, in_rounds};
use super::{VerifyError, sql};
use crate::capture::Captured;
use crate::config::{self, Config};
use crate::consume::GroupOffsets;
use crate::event::Op;
use crate::mirror::{BUCKETS, Bucket, Digest, Mirrored, Policies};
use crate::table::{Column, quote_ident};
use crate::wire::{Field, Fields, Row, TableEncoder, WireError, cuts_topic};

/// Rows whose hashes are held at a time.
const ROWS_AT_A_TIME: u64 = 1_000_000;
/// Buckets in one statement, whose length ClickHouse limits.
const BUCKETS_AT_A_TIME: usize = 20_000;

/// Compares one table; the session is free.
pub(super) async fn compare(
    config: &Config,
    clickhouse: &config::ClickHouse,
    source: &Side,
    offsets: &GroupOffsets,
    captured: &Captured,
) -> Result<Compared, VerifyError> {
    let table = Arc::new(captured.table.clone());
    let name = config.rename.name(&table.name);
    let mirror = Mirrored::open(clickhouse, &Policies::new(config), &name, &table).await?;
    let encoder = TableEncoder::new(&table, "", "");
    let looker = Looker { config, source, offsets, captured, mirror: &mirror, encoder: &encoder };
    in_rounds(&captured.table.name, async |waiting: Option<Vec<Digest>>| {
        let found = looker.round(waiting).await;
        // Nothing is held while this waits for the next round, and after an error the session is used again.
        let ended = source.end().await;
        let found = found?;
        ended.map(|()| found)
    })
    .await
}

/// What all looks at one table have in common.
struct Looker<'a> {
    config: &'a Config,
    source: &'a Side,
    offsets: &'a GroupOffsets,
    captured: &'a Captured,
    mirror: &'a Mirrored,
    encoder: &'a TableEncoder,
}

impl Looker<'_> {
    async fn round(
        &self,
        waiting: Option<Vec<Digest>>,
    ) -> Result<Option<(Compared, Vec<Digest>)>, VerifyError> {
        let copied = self.source.copied(self.config, self.captured).await?;
        // Before anything of the mirror is read: it holds at least this.
        let base = tokio::task::block_in_place(|| self.base())?;
        copied.accept(&base)?;
        let mut found = Compared { pass: base.pass, ..Compared::default() };
        let (groups, waiting) = match waiting {
            Some(waiting) => {
                let buckets: HashSet<usize> = waiting.iter().map(|key| key.bucket()).collect();
                let buckets: Vec<usize> = buckets.into_iter().collect();
                let groups = buckets.chunks(BUCKETS_AT_A_TIME).map(<[usize]>::to_vec).collect();
                (groups, Some(waiting.into_iter().collect()))
            }
            None => match self.suspects(&base, &mut found).await? {
                Some(groups) => (groups, None),
                None => return Ok(None),
            },
        };
        let mut in_flight = Vec::new();
        for group in groups {
            match self.group(&base, &group, waiting.as_ref(), &mut found).await? {
                Some(moving) => in_flight.extend(moving),
                None => return Ok(None),
            }
        }
        Ok(Some((found, in_flight)))
    }

    fn base(&self) -> Result<Base, VerifyError> {
        let positions = self.offsets.load()?;
        let next = positions.get(&(cuts_topic(self.config.topic_prefix()), 0));
        let next = next.ok_or_else(|| VerifyError::NothingApplied {
            target: "clickhouse",
            pipeline: self.config.pipeline.clone(),
        })?;
        cut::base(self.config, "clickhouse", *next)
    }

    /// Compares all buckets; returns those that differ or hold keys in flight, in groups that fit into memory, and counts
    /// the rows of the others as compared. `None` when all keys are in flight.
    async fn suspects(
        &self,
        base: &Base,
        found: &mut Compared,
    ) -> Result<Option<Vec<Vec<usize>>>, VerifyError> {
        let theirs = self.mirror.buckets().await?;
        let Some(in_flight) = self.open(base).await? else { return Ok(None) };
        let mut ours = vec![Bucket::default(); BUCKETS];
        let mut misfits = HashSet::new();
        self.scan(|_, key, row| {
            let bucket = key.bucket();
            match row {
                Some(row) => ours[bucket].add(row),
                None => drop(misfits.insert(bucket)),
            }
            Ok(())
        })
        .await?;
        let moving: HashSet<usize> = in_flight.iter().map(|key| key.bucket()).collect();
        let mut groups = Vec::new();
        let (mut group, mut held) = (Vec::new(), 0);
        for (number, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            if ours == theirs && !moving.contains(&number) && !misfits.contains(&number) {
                found.rows += ours.rows;
                continue;
            }
            if group.len() == BUCKETS_AT_A_TIME || (held > 0 && held + theirs.rows > ROWS_AT_A_TIME) {
                groups.push(std::mem::take(&mut group));
                held = 0;
            }
            held += theirs.rows;
            group.push(number);
        }
        if !group.is_empty() {
            groups.push(group);
        }
        Ok(Some(groups))
    }

    /// Compares the rows of buckets, of the keys that wait alone when there are such; returns the keys in flight, or
    /// `None` when all are.
    async fn group(
        &self,
        base: &Base,
        buckets: &[usize],
        waiting: Option<&HashSet<Digest>>,
        found: &mut Compared,
    ) -> Result<Option<Vec<Digest>>, VerifyError> {
        let mut chosen = vec![false; BUCKETS];
        buckets.iter().for_each(|&bucket| chosen[bucket] = true);
        let wanted = |key: &Digest| chosen[key.bucket()] && waiting.is_none_or(|keys| keys.contains(key));
        let theirs = self.mirror.rows(buckets).await?;
        let Some(in_flight) = self.open(base).await? else { return Ok(None) };
        let still = |key: &Digest| wanted(key) && !in_flight.contains(key);
        // Without a key of its own a row may be there several times.
        let mut there: HashMap<Digest, (Digest, u64)> = HashMap::new();
        for (key, row) in theirs.into_iter().filter(|(key, _)| still(key)) {
            there.entry(key).or_insert((row, 0)).1 += 1;
        }
        self.scan(|json, key, row| {
            if !still(&key) {
                return Ok(());
            }
            found.rows += 1;
            match there.get_mut(&key).filter(|(_, times)| *times > 0) {
                None => found.note(Difference::Missing, || self.name(json, key)),
                Some((there, times)) => {
                    *times -= 1;
                    match Some(*there) == row {
                        true => Ok(()),
                        false => found.note(Difference::Changed, || self.name(json, key)),
                    }
                }
            }
        })
        .await?;
        let extra = there.into_iter().flat_map(|(key, (_, times))| (0..times).map(move |_| key));
        let extra: Vec<Digest> = extra.collect();
        if self.captured.table.is_append_only() {
            for key in extra {
                found.note(Difference::Extra, || self.name(&[], key))?;
            }
        } else if !extra.is_empty() {
            let names = self.mirror.names(&extra[..extra.len().min(NAMED)]).await?;
            for name in &names {
                found.note(Difference::Extra, || self.raw(name.trim_end().as_bytes()))?;
            }
            // A row that went away since has no name any more.
            found.differing += (extra.len() - names.len()) as u64;
        }
        Ok(Some(in_flight.into_iter().filter(wanted).collect()))
    }

    /// Names a row by its key, or by its hash where it has none.
    fn name(&self, json: &[u8], key: Digest) -> Result<Box<RawValue>, VerifyError> {
        match self.captured.table.is_append_only() {
            true => super::row_name(&self.captured.table.name, &key.hex()),
            false => self.raw(json),
        }
    }

    fn raw(&self, json: &[u8]) -> Result<Box<RawValue>, VerifyError> {
        super::raw(&self.captured.table.name, json.to_vec())
    }

    fn row_error(&self, source: WireError) -> VerifyError {
        VerifyError::Row { table: self.captured.table.name.clone(), source }
    }

    /// Opens the source's transaction and returns the keys in flight; `None` when the table was truncated or is locked.
    async fn open(&self, base: &Base) -> Result<Option<HashSet<Digest>>, VerifyError> {
        let Captured { table, log_table, .. } = self.captured;
        if !self.source.begin(&[&table.name, log_table]).await? {
            return Ok(None);
        }
        let (snapshot, system) = self.source.snapshot().await?;
        base.accept(&snapshot, system)?;
        self.source.has_log_behind(self.config, "clickhouse", base).await?;
        let tells = |column: &Column| table.is_append_only() || table.key.contains(&column.name);
        let columns = table.columns.iter().map(|column| match tells(column) {
            true => format!("t.{}", quote_ident(&column.name)),
            false => "null".to_owned(),
        });
        let columns: Vec<String> = columns.collect();
        let mut keys = HashSet::new();
        let mut lines = self.source.copy(&sql::copy_in_flight(self.captured, &columns, base)).await?;
        while let Some(line) = lines.try_next().await? {
            let mut fields = Fields::new(&line);
            if fields.next().is_some_and(|op| op.raw() == b"T") {
                return Ok(None);
            }
            let (_, key) = self.key(&fields.collect::<Vec<_>>())?;
            keys.extend(key);
        }
        Ok(Some(keys))
    }

    /// Returns JSON and hash of the key in a row of the log or of the table; of the whole row where it has none.
    fn key(&self, fields: &[Field<'_>]) -> Result<(Vec<u8>, Option<Digest>), VerifyError> {
        let mut json = Vec::new();
        let written = match self.captured.table.is_append_only() {
            true => self.encoder.row(fields, &mut json),
            false => self.encoder.key(Op::Read, fields, 0, &mut json),
        };
        written.map_err(|error| self.row_error(error))?;
        let hash = self.mirror.key(&Row::parse(&json).map_err(|error| self.row_error(error))?);
        Ok((json, hash))
    }

    /// Reads the whole table and ends the transaction: the key as JSON, its hash, and the row's unless the mirror could
    /// not hold it.
    async fn scan(
        &self,
        mut each: impl FnMut(&[u8], Digest, Option<Digest>) -> Result<(), VerifyError>,
    ) -> Result<(), VerifyError> {
        let table = &self.captured.table;
        let columns: Vec<String> =
            table.columns.iter().map(|column| format!("t.{}", quote_ident(&column.name))).collect();
        let mut lines = self.source.copy(&sql::copy_table(&self.captured.relation(), &columns)).await?;
        let mut json = Vec::new();
        while let Some(line) = lines.try_next().await? {
            let fields: Vec<Field<'_>> = Fields::new(&line).collect();
            let (key_json, key) = self.key(&fields)?;
            json.clear();
            self.encoder.row(&fields, &mut json).map_err(|error| self.row_error(error))?;
            let row = self.mirror.row(&Row::parse(&json).map_err(|error| self.row_error(error))?);
            // A key that the mirror cannot hold is in no bucket of its own; it is missing wherever it is looked for.
            each(&key_json, key.unwrap_or(Digest::NOWHERE), row.filter(|_| key.is_some()))?;
        }
        drop(lines);
        self.source.end().await
    }
}
