//! The last way to apply a batch: change by change, where those that cannot be applied yet wait for others.
//!
//! The log's order is one that the source accepted, but for the rows of one statement: they stand in any order there, also
//! where the source took them in an order that keeps unique values apart. So a change that a constraint refuses is put off
//! until others are applied; changes of one key keep their order.
//!
//! Where deletes take other rows along they come last, and the row of a key that has changed meets the old one, if that
//! has a unique value beside its key. Then the old row itself takes the new key, and what references it stays.

use std::collections::HashSet;

use tokio_postgres::SimpleQueryMessage;

use super::super::encode::{key_condition, literal_row};
use super::super::script::Label;
use super::super::sql;
use super::attempt::Work;
use super::error::Failure;
use super::run::{Buffers, run};
use crate::event::{Change, Op};
use crate::table::{Table, TableName};

impl Work<'_> {
    /// Applies what it can, again and again, until nothing is left or nothing moves any more.
    pub(super) async fn patient(&self, buffers: &mut Buffers) -> Result<(), Failure> {
        self.send(Label::Open, sql::BACK, buffers).await?;
        let changes = &self.batch.changes;
        // Deletes that take other rows along: the batch is arranged so that they come last.
        let last = changes.iter().rev().take_while(|change| self.takes_along(change)).count();
        let end = changes.len() - last;
        let mut at = 0;
        while at < end {
            let truncates = changes[at..end].iter().take_while(|change| change.op == Op::Truncate).count();
            if truncates > 0 {
                let tables: Vec<&Table> =
                    changes[at..at + truncates].iter().map(|change| &*change.table).collect();
                buffers.script.clear();
                self.empty(&tables, Label::Change(at), buffers);
                run(self.client, &buffers.script).await?;
                at += truncates;
            }
            // Nothing passes a truncate.
            let rows = changes[at..end].iter().take_while(|change| change.op != Op::Truncate).count();
            self.settle((at..at + rows).collect(), end, buffers).await?;
            at += rows;
        }
        self.settle((end..changes.len()).collect(), end, buffers).await?;
        buffers.script.clear();
        self.close(buffers);
        run(self.client, &buffers.script).await
    }

    fn takes_along(&self, change: &Change) -> bool {
        change.op == Op::Delete && !self.replica && self.tables.cascades(&change.table.name)
    }

    /// Applies these changes in rounds; fails with the first refusal of a round in which nothing moved.
    async fn settle(&self, mut rest: Vec<usize>, end: usize, buffers: &mut Buffers) -> Result<(), Failure> {
        let mut released = HashSet::new();
        while !rest.is_empty() {
            let mut first = None;
            let mut waiting: HashSet<(&TableName, &[u8])> = HashSet::new();
            let mut left = Vec::new();
            for &index in &rest {
                let change = &self.batch.changes[index];
                let key = (&change.table.name, change.key());
                if waiting.contains(&key) {
                    left.push(index);
                    continue;
                }
                match self.one(index, buffers).await {
                    Ok(()) => {}
                    Err(failure) if failure.is_order() => {
                        self.send(Label::Open, sql::BACK_ONE, buffers).await?;
                        if failure.is_conflict() && self.rekey(index, end, buffers).await? {
                            continue;
                        }
                        waiting.insert(key);
                        left.push(index);
                        first.get_or_insert(failure);
                    }
                    Err(failure) => return Err(failure),
                }
            }
            if left.len() == rest.len() {
                // What overtook them may hold what they need on their way: only where a key ends is needed.
                left = self.last_of_each_key(&rest);
            }
            match first {
                Some(failure) if left.len() == rest.len() => {
                    if !self.release(&rest, end, &mut released, buffers).await? {
                        return Err(failure);
                    }
                }
                _ => rest = left,
            }
        }
        Ok(())
    }

    /// Applies one of the deletes from `end` on before its turn, where nothing else moves any more: its row may hold the
    /// value that one of `rest` needs. Only where nothing that is yet to be changed could be taken along.
    async fn release(
        &self,
        rest: &[usize],
        end: usize,
        released: &mut HashSet<usize>,
        buffers: &mut Buffers,
    ) -> Result<bool, Failure> {
        let oid = |index: usize| self.prepared(&self.batch.changes[index].table).shape.oid;
        let waiting: HashSet<u32> = rest.iter().map(|&index| oid(index)).collect();
        for index in end..self.batch.changes.len() {
            let table = oid(index);
            if !waiting.contains(&table) || !released.insert(index) {
                continue;
            }
            let label = Label::Change(index);
            let taken = self
                .client
                .query(include_str!("../../../sql/apply/taken_along.sql"), &[&table])
                .await
                .map_err(|error| Failure::Server { label, error })?;
            if taken.iter().any(|row| waiting.contains(&row.get(0))) {
                continue;
            }
            match self.one(index, buffers).await {
                Ok(()) => return Ok(true),
                Err(failure) if failure.is_order() => self.send(Label::Open, sql::BACK_ONE, buffers).await?,
                Err(failure) => return Err(failure),
            }
        }
        Ok(false)
    }

    fn last_of_each_key(&self, rest: &[usize]) -> Vec<usize> {
        let mut keys = HashSet::new();
        let key = |index: &usize| {
            let change = &self.batch.changes[*index];
            (&change.table.name, change.key())
        };
        let mut last: Vec<usize> =
            rest.iter().rev().copied().filter(|index| keys.insert(key(index))).collect();
        last.reverse();
        last
    }

    async fn one(&self, index: usize, buffers: &mut Buffers) -> Result<(), Failure> {
        let (change, label) = (&self.batch.changes[index], Label::Change(index));
        buffers.script.clear();
        buffers.script.push(label, sql::ONE);
        match change.op {
            Op::Delete => self.delete_literally(label, change, &[index], buffers)?,
            _ => self.upsert_literally(label, change, &[index], buffers)?,
        }
        buffers.script.push(label, sql::KEEP_ONE);
        run(self.client, &buffers.script).await
    }

    /// Turns a row that is to go, one of the deletes from `end` on, into the row of this change; tells whether there is
    /// one that can.
    async fn rekey(&self, index: usize, end: usize, buffers: &mut Buffers) -> Result<bool, Failure> {
        let change = &self.batch.changes[index];
        if change.op == Op::Delete {
            return Ok(false);
        }
        for (offset, gone) in self.batch.changes[end..].iter().enumerate() {
            if gone.table.name != change.table.name {
                continue;
            }
            let label = Label::Change(index);
            self.send(label, sql::ONE, buffers).await?;
            buffers.script.clear();
            self.update_literally(index, end + offset, buffers)?;
            let moved = self.client.simple_query(buffers.script.text()).await;
            let back = match moved.map_err(|error| Failure::Server { label, error }) {
                Ok(answer) => answer.iter().all(|m| !matches!(m, SimpleQueryMessage::CommandComplete(1))),
                Err(failure) if failure.is_order() => true,
                Err(failure) => return Err(failure),
            };
            self.send(label, if back { sql::BACK_ONE } else { sql::KEEP_ONE }, buffers).await?;
            if !back {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes one UPDATE that makes the row of a delete the row of another change.
    fn update_literally(&self, index: usize, gone: usize, buffers: &mut Buffers) -> Result<(), Failure> {
        let [new, old] = [index, gone].map(|index| &self.batch.changes[index]);
        let (to, from) = (self.prepared(&new.table), self.prepared(&old.table));
        let Buffers { script, scratch, .. } = buffers;
        let written = script.write(Label::Change(index), |out| {
            out.extend_from_slice(to.texts.update.as_bytes());
            literal_row(new.row_json(), &to.shape.columns, scratch, out)?;
            out.extend_from_slice(b" where ");
            key_condition(old.row_json(), &from.shape.key, &from.texts.equals, scratch, out)
        });
        written.map_err(|error| Failure::Encode { change: index, error })
    }

    async fn send(&self, label: Label, statement: &str, buffers: &mut Buffers) -> Result<(), Failure> {
        buffers.script.clear();
        buffers.script.push(label, statement);
        run(self.client, &buffers.script).await
    }
}
