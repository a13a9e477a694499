//! A table at the source against the same table at the destination.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::HEXLOWER;
use serde_json::value::RawValue;

use super::VerifyError;
use super::cut::{self, Base};
use super::form::{self, Here};
use super::postgres::{Bucket, KeyHash, Line, Lines, Side};
use super::rounds::{Compared, Difference, in_rounds};
use super::sql::{Texts, Wanted};
use crate::capture::Captured;
use crate::config::Config;
use crate::table::{Table, TableName};
use crate::wire::{encode_string, encode_value};

/// Compares one table; both sessions are free.
pub(super) async fn compare(
    config: &Config,
    source: &Side,
    destination: &Side,
    captured: &Captured,
) -> Result<Compared, VerifyError> {
    let there = config.rename.name(&captured.table.name);
    let here = destination.columns(&there).await?;
    let (ours, theirs, left_out) = prepare(captured, &there, &here)?;
    in_rounds(&captured.table.name, async |waiting: Option<Vec<KeyHash>>| {
        let round =
            Round { config, source, destination, captured, there: &there, ours: &ours, theirs: &theirs };
        let found = round.run(waiting).await;
        // Nothing is held while this waits for the next round, and after an error the sessions are used again.
        let ended = source.end().await.and(destination.end().await);
        let found = found?;
        ended?;
        Ok(found.map(|(found, in_flight)| (Compared { left_out: left_out.clone(), ..found }, in_flight)))
    })
    .await
}

/// Prepares the statements for the source and for the destination; returns them and the names of the columns that the
/// destination computes.
fn prepare(
    captured: &Captured,
    there: &TableName,
    here: &[Here],
) -> Result<(Texts, Texts, Vec<String>), VerifyError> {
    let table = &captured.table;
    let name = || there.clone();
    if here.is_empty() {
        return Err(VerifyError::NoTable(name()));
    }
    let (mut columns, mut left_out, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    for column in &table.columns {
        match here.iter().find(|here| here.name == column.name) {
            None => missing.push(column.name.clone()),
            Some(here) if here.generated => left_out.push(column.name.clone()),
            Some(here) => {
                let form = form::form(column, here);
                columns.push(form::Compared { column: column.clone(), form });
            }
        }
    }
    if !missing.is_empty() {
        return Err(VerifyError::NoColumns { table: name(), columns: missing.join(", ") });
    }
    let mut key = Vec::with_capacity(table.key.len());
    for column in &table.key {
        let found = columns.iter().find(|compared| compared.column.name == *column);
        key.push(found.ok_or_else(|| VerifyError::GeneratedKey { table: name(), column: column.clone() })?);
    }
    if table.is_append_only() {
        // Rows are told apart by nothing but all that is compared: equal ones are counted.
        key.extend(&columns);
    }
    let texts = |relation| Texts::new(relation, &columns, &key, !table.is_append_only());
    Ok((texts(captured.relation()), texts(there.quoted()), left_out))
}

/// One look at both sides.
struct Round<'a> {
    config: &'a Config,
    source: &'a Side,
    destination: &'a Side,
    captured: &'a Captured,
    /// The table at the destination.
    there: &'a TableName,
    ours: &'a Texts,
    theirs: &'a Texts,
}

impl Round<'_> {
    async fn run(
        &self,
        waiting: Option<Vec<KeyHash>>,
    ) -> Result<Option<(Compared, Vec<KeyHash>)>, VerifyError> {
        let Some(base) = self.open().await? else { return Ok(None) };
        let Some(in_flight) = self.source.in_flight(self.ours, self.captured, &base).await? else {
            return Ok(None);
        };
        let (wanted, keys, in_flight) = match waiting {
            None => (Wanted::AllBut, in_flight.clone(), in_flight),
            Some(waiting) => {
                let moving: BTreeSet<&KeyHash> = in_flight.iter().collect();
                let (still, now): (Vec<_>, Vec<_>) =
                    waiting.into_iter().partition(|key| moving.contains(key));
                (Wanted::Only, now, still)
            }
        };
        let (ours, theirs) = tokio::try_join!(
            self.source.digest(self.ours, wanted, &keys),
            self.destination.digest(self.theirs, wanted, &keys)
        )?;
        let rows = ours.iter().map(|(_, bucket)| bucket.rows as u64).sum();
        let mut found = Compared { rows, pass: base.pass, ..Compared::default() };
        let buckets = differing(ours, theirs);
        if !buckets.is_empty() {
            let (ours, theirs) = tokio::try_join!(
                self.source.rows(self.ours, wanted, &keys, &buckets),
                self.destination.rows(self.theirs, wanted, &keys, &buckets)
            )?;
            merge(&self.captured.table, ours, theirs, &mut found).await?;
        }
        Ok(Some((found, in_flight)))
    }

    /// Opens both transactions, the destination's first; returns what the destination holds. `None` when a table is
    /// locked.
    async fn open(&self) -> Result<Option<Base>, VerifyError> {
        let Captured { table, log_table, .. } = self.captured;
        let copied = self.source.copied(self.config, self.captured).await?;
        if !self.destination.begin(&[self.there]).await? {
            return Ok(None);
        }
        let prefix = self.config.topic_prefix();
        let (epoch, pass, next) = self.destination.applied(&self.config.pipeline, prefix).await?;
        // Only now, so that this snapshot shows all that the destination's does.
        if !self.source.begin(&[&table.name, log_table]).await? {
            return Ok(None);
        }
        let (snapshot, system) = self.source.snapshot().await?;
        let base = tokio::task::block_in_place(|| cut::base(self.config, "postgres", next))?;
        if (base.epoch as i64, base.pass as i64) != (epoch, pass) {
            return Err(VerifyError::OtherCut { offset: next - 1, applied: pass, epoch, found: base.pass });
        }
        base.accept(&snapshot, system)?;
        self.source.has_log_behind(self.config, "postgres", &base).await?;
        copied.accept(&base)?;
        Ok(Some(base))
    }
}

/// Returns the buckets that are not the same on both sides.
fn differing(ours: Vec<(i32, Bucket)>, theirs: Vec<(i32, Bucket)>) -> Vec<i32> {
    let mut theirs: BTreeMap<i32, Bucket> = theirs.into_iter().collect();
    let mut buckets: Vec<i32> = ours
        .into_iter()
        .filter(|(number, bucket)| theirs.remove(number).as_ref() != Some(bucket))
        .map(|(number, _)| number)
        .collect();
    buckets.extend(theirs.into_keys());
    buckets
}

/// Walks along both sides, which come in the same order, and notes what differs.
async fn merge(
    table: &Table,
    mut ours: Lines<'_>,
    mut theirs: Lines<'_>,
    found: &mut Compared,
) -> Result<(), VerifyError> {
    let (mut our, mut their) = (ours.next().await?, theirs.next().await?);
    loop {
        let order = match (&our, &their) {
            (None, None) => return Ok(()),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(our), Some(their)) => our.key.cmp(&their.key),
        };
        let differs = match order {
            std::cmp::Ordering::Less => Some((Difference::Missing, &our)),
            std::cmp::Ordering::Greater => Some((Difference::Extra, &their)),
            std::cmp::Ordering::Equal => {
                let same = our.as_ref().map(|line| &line.row) == their.as_ref().map(|line| &line.row);
                (!same).then_some((Difference::Changed, &our))
            }
        };
        if let Some((difference, Some(line))) = differs {
            found.note(difference, || key_json(table, line))?;
        }
        if order.is_le() {
            our = ours.next().await?;
        }
        if order.is_ge() {
            their = theirs.next().await?;
        }
    }
}

/// Returns the key as on the topic; where there is none, the hash of the row.
fn key_json(table: &Table, line: &Line) -> Result<Box<RawValue>, VerifyError> {
    if table.is_append_only() {
        return super::row_name(&table.name, &HEXLOWER.encode(&line.key));
    }
    let mut json = vec![b'{'];
    for (at, (index, text)) in table.key_indexes().into_iter().zip(&line.names).enumerate() {
        let column = &table.columns[index];
        if at > 0 {
            json.push(b',');
        }
        encode_string(column.name.as_bytes(), &mut json);
        json.push(b':');
        let text = text.as_deref().unwrap_or_default().as_bytes();
        let start = json.len();
        // Another type at the destination may print another text: that is the name then.
        let encoded = encode_value(column.kind(), text, &mut json);
        if encoded.is_err() || serde_json::from_slice::<&RawValue>(&json[start..]).is_err() {
            json.truncate(start);
            encode_string(text, &mut json);
        }
    }
    json.push(b'}');
    super::raw(&table.name, json)
}
