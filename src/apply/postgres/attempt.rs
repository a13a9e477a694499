//! One attempt to apply a batch: folded, or change by change.
//!
//! Rows that are not expected at the destination go into their table by COPY; others by COPY into a stage, from which one
//! statement upserts them; a few of them as literals.

use tokio_postgres::Client;

use super::super::encode::{key_condition, literal_row};
use super::super::fold::{Group, Plan};
use super::super::order::{Emptying, truncatable};
use super::super::script::Label;
use super::super::sql;
use super::error::Failure;
use super::prepared::{Insert, Prepared, Stage, Tables};
use super::run::{Buffers, copy, run};
use crate::consume::Batch;
use crate::event::{Change, Op};
use crate::failpoint;
use crate::table::Table;

/// Rows of a table from which COPY is faster than literals: two round trips and emptying the stage, against parsing
/// every row as SQL. Measured to be even between 100 and 200.
pub(super) const BULK_ROWS: usize = 100;
/// Bytes from which COPY is used whatever the number of rows: statements must stay far below the server's limit.
pub(super) const BULK_BYTES: usize = 256 << 10;
/// Bytes of statements that the folded way sends at a time: only without stages does it come to more.
const SCRIPT_BYTES: usize = 4 << 20;
/// Bytes of statements that the change-by-change way sends at a time.
const EXACT_BYTES: usize = 256 << 10;

/// What both ways need.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work<'a> {
    pub(super) client: &'a Client,
    pub(super) pipeline: &'a str,
    pub(super) batch: &'a Batch,
    pub(super) plan: &'a Plan,
    /// Groups of the plan, parents first.
    pub(super) order: &'a [usize],
    pub(super) tables: &'a Tables,
    /// Of the truncated tables, in the plan's order.
    pub(super) emptying: &'a [Emptying],
    /// The transaction is open, with other batches of the same pass.
    pub(super) continues: bool,
    /// Commit at the end of the batch, or keep the transaction open.
    pub(super) commit: bool,
    /// The destination's foreign keys and ordinary triggers are quiet.
    pub(super) replica: bool,
    /// Other processes apply other partitions: there is no cut to note.
    pub(super) shared: bool,
}

/// Tells whether a group goes through stages.
pub(super) fn is_bulk(group: &Group, may_stage: bool) -> bool {
    may_stage && (group.upserts.len().max(group.deletes.len()) >= BULK_ROWS || group.bytes >= BULK_BYTES)
}

impl<'a> Work<'a> {
    /// Returns what is prepared for a table: the caller has prepared all of the batch's.
    pub(super) fn prepared(&self, table: &Table) -> &'a Prepared {
        self.tables.get(table).expect("apply() prepares every table of the batch first")
    }

    /// Applies the folded batch. Small batches are one round trip.
    pub(super) async fn folded(&self, buffers: &mut Buffers) -> Result<(), Failure> {
        buffers.script.clear();
        self.open(buffers);
        // Stages first: nobody sees them, and all that follows is one round trip again.
        for (index, group) in self.groups() {
            let prepared = self.prepared(&group.table);
            let upserts = prepared.upserts.as_ref().filter(|_| self.insert(group).is_none());
            let stages = [
                (prepared.deletes.as_ref(), &prepared.shape.key, &group.deletes),
                (upserts, &prepared.shape.columns, &group.upserts),
            ];
            for (stage, slots, rows) in stages {
                let Some(stage) = stage.filter(|_| self.is_staged(group, rows)) else { continue };
                self.flush(buffers).await?;
                copy(
                    self.client,
                    Label::Group(index),
                    &stage.copy,
                    slots,
                    &self.batch.changes,
                    rows,
                    buffers,
                )
                .await?;
            }
        }
        let truncated: Vec<&Table> = self.plan.truncated.iter().map(|table| &**table).collect();
        self.empty(&truncated, Label::Truncates, buffers);
        self.delete(false, buffers).await?;
        for (index, group) in self.groups() {
            if let Some(insert) = self.insert(group) {
                buffers.script.push(Label::Group(index), &insert.check);
                self.flush(buffers).await?;
                let (changes, slots) = (&self.batch.changes, &self.prepared(&group.table).shape.columns);
                copy(
                    self.client,
                    Label::Insert(index),
                    &insert.copy,
                    slots,
                    changes,
                    &group.upserts,
                    buffers,
                )
                .await?;
                continue;
            }
            let label = Label::Group(index);
            match &self.prepared(&group.table).upserts {
                Some(stage) if self.is_staged(group, &group.upserts) => {
                    self.apply_stage(label, stage, buffers)
                }
                _ => {
                    for rows in group.upserts.chunks(BULK_ROWS) {
                        self.upsert_literally(label, &self.batch.changes[rows[0]], rows, buffers)?;
                        self.send_if_large(SCRIPT_BYTES, buffers).await?;
                    }
                }
            }
        }
        // What references these rows now is not to be touched: by now nothing does that is to stay.
        self.delete(true, buffers).await?;
        self.close(buffers);
        run(self.client, &buffers.script).await
    }

    /// Deletes what is gone, children first: from tables whose rows take others with them, or from the other tables.
    async fn delete(&self, cascading: bool, buffers: &mut Buffers) -> Result<(), Failure> {
        for (index, group) in self.groups().rev() {
            let (label, prepared) = (Label::Group(index), self.prepared(&group.table));
            if cascading != (prepared.shape.cascades && !self.replica) {
                continue;
            }
            match &prepared.deletes {
                Some(stage) if self.is_staged(group, &group.deletes) => {
                    self.apply_stage(label, stage, buffers)
                }
                _ => {
                    for rows in group.deletes.chunks(BULK_ROWS) {
                        self.delete_literally(label, &self.batch.changes[rows[0]], rows, buffers)?;
                        self.send_if_large(SCRIPT_BYTES, buffers).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Applies change by change in the order of the batch; `opened` after an attempt that failed.
    pub(super) async fn exact(&self, buffers: &mut Buffers, opened: bool) -> Result<(), Failure> {
        buffers.script.clear();
        if opened {
            buffers.script.push(Label::Open, sql::BACK);
        } else {
            self.open(buffers);
        }
        let changes = &self.batch.changes;
        let mut at = 0;
        while at < changes.len() {
            let (change, label) = (&changes[at], Label::Change(at));
            at += 1;
            let one = [at - 1];
            match change.op {
                Op::Truncate => {
                    let more = changes[at..].iter().take_while(|change| change.op == Op::Truncate).count();
                    let tables: Vec<&Table> =
                        changes[at - 1..at + more].iter().map(|change| &*change.table).collect();
                    self.empty(&tables, label, buffers);
                    at += more;
                }
                Op::Delete => self.delete_literally(label, change, &one, buffers)?,
                _ => self.upsert_literally(label, change, &one, buffers)?,
            }
            self.send_if_large(EXACT_BYTES, buffers).await?;
        }
        self.close(buffers);
        run(self.client, &buffers.script).await
    }

    /// Returns the groups with their indexes in the plan, parents first.
    fn groups(&self) -> impl DoubleEndedIterator<Item = (usize, &'a Group)> + use<'a> {
        let plan = self.plan;
        self.order.iter().map(move |&group| (group, &plan.groups[group]))
    }

    /// Returns what brings the rows of a group into their table without a stage in between, where that is likely
    /// to work.
    fn insert(&self, group: &Group) -> Option<&'a Insert> {
        let insert = self.prepared(&group.table).insert.as_ref();
        insert.filter(|_| group.fresh && !self.batch.thinned && self.is_staged(group, &group.upserts))
    }

    /// Tells whether these rows of a group go through its stage.
    fn is_staged(&self, group: &Group, rows: &[usize]) -> bool {
        is_bulk(group, true) && (rows.len() >= BULK_ROWS || (group.bytes >= BULK_BYTES && !rows.is_empty()))
    }

    /// Sends what is written when it has grown to `bytes`.
    async fn send_if_large(&self, bytes: usize, buffers: &mut Buffers) -> Result<(), Failure> {
        if buffers.script.len() >= bytes { self.flush(buffers).await } else { Ok(()) }
    }

    /// Sends what is written.
    async fn flush(&self, buffers: &mut Buffers) -> Result<(), Failure> {
        if buffers.script.len() > 0 {
            run(self.client, &buffers.script).await?;
            buffers.script.clear();
        }
        Ok(())
    }

    fn open(&self, buffers: &mut Buffers) {
        let script = &mut buffers.script;
        script.push(Label::Open, if self.continues { sql::NEXT } else { sql::BEGIN });
        if !self.batch.progress.is_empty() {
            script.push(
                Label::Positions,
                &sql::move_positions(
                    self.pipeline,
                    &self.batch.progress,
                    self.batch.covered,
                    self.batch.cut.epoch,
                ),
            );
        }
        if !self.continues {
            script.push(Label::Open, sql::DEFER);
        }
        script.push(Label::Open, sql::SAVEPOINT);
    }

    pub(super) fn close(&self, buffers: &mut Buffers) {
        let script = &mut buffers.script;
        for (index, sweep) in self.batch.sweeps.iter().enumerate() {
            let label = Label::Sweep(index);
            let target = &self.prepared(&sweep.table).shape.target;
            if sweep.begins {
                script.push(label, &sql::begin_sweep(self.pipeline, sweep, target));
            }
            if sweep.ends {
                script.push(label, &sql::known_sweep(self.pipeline, sweep));
                script.push(label, &sql::end_sweep(self.pipeline, sweep, target));
            }
        }
        if !self.commit {
            script.push(Label::Close, if self.continues { sql::KEEP_NEXT } else { sql::KEEP });
            return;
        }
        script.push(Label::Close, sql::CHECK);
        if !self.shared {
            script.push(Label::Close, &sql::note_cut(self.pipeline, &self.batch.cut));
        }
        script.push(Label::Commit, "commit");
        failpoint::hit("apply::before-commit");
    }

    /// Applies what a stage holds. The commit empties it; before that, the next batch needs it empty.
    fn apply_stage(&self, label: Label, stage: &Stage, buffers: &mut Buffers) {
        buffers.script.push(label, &stage.apply);
        if !self.commit {
            buffers.script.push(label, &stage.empty);
        }
    }

    /// Empties tables: one TRUNCATE for all that can be, DELETE for those that others reference.
    ///
    /// TRUNCATE refuses a table whose foreign keys are yet to be checked: where they are active it can only come first.
    pub(super) fn empty(&self, tables: &[&Table], label: Label, buffers: &mut Buffers) {
        let first = !self.continues && label == Label::Truncates;
        let known = |table: &&Table| {
            let oid = self.prepared(table).shape.oid;
            self.emptying.iter().find(|known| known.oid == oid).cloned().unwrap_or_default()
        };
        let emptying: Vec<Emptying> = tables.iter().map(known).collect();
        let mut take = truncatable(&emptying);
        if !first && !self.replica {
            take.fill(false);
        }
        let names = |wanted: bool| {
            let chosen = tables.iter().zip(&take).filter(move |(_, take)| **take == wanted);
            chosen.map(|(table, _)| self.prepared(table).shape.target.clone())
        };
        let truncate: Vec<String> = names(true).collect();
        if !truncate.is_empty() {
            buffers.script.push(label, &format!("truncate {}", truncate.join(", ")));
        }
        let mut delete: Vec<String> = names(false).map(|name| format!("delete from {name}")).collect();
        if let Some(last) = delete.pop() {
            // One statement: foreign keys between them are looked at when all of them are empty.
            let others: Vec<String> =
                delete.iter().enumerate().map(|(i, delete)| format!("emptied_{i} as ({delete})")).collect();
            let with = if others.is_empty() { String::new() } else { format!("with {} ", others.join(", ")) };
            buffers.script.push(label, &(with + &last));
        }
    }

    /// Writes one DELETE for the keys of `rows`, all of `first`'s table and version.
    pub(super) fn delete_literally(
        &self,
        label: Label,
        first: &Change,
        rows: &[usize],
        buffers: &mut Buffers,
    ) -> Result<(), Failure> {
        let Prepared { shape, texts, .. } = self.prepared(&first.table);
        let Buffers { script, scratch, .. } = buffers;
        let mut at = rows[0];
        let written = script.write(label, |out| {
            out.extend_from_slice(texts.delete.as_bytes());
            for (i, &row) in rows.iter().enumerate() {
                at = row;
                out.extend_from_slice(if i == 0 { b"" } else { b" or " });
                let json = self.batch.changes[row].row_json();
                key_condition(json, &shape.key, &texts.equals, scratch, out)?;
            }
            Ok(())
        });
        written.map_err(|error| Failure::Encode { change: at, error })
    }

    /// Writes one upsert for `rows`, all of `first`'s table and version.
    pub(super) fn upsert_literally(
        &self,
        label: Label,
        first: &Change,
        rows: &[usize],
        buffers: &mut Buffers,
    ) -> Result<(), Failure> {
        let Prepared { shape, texts, .. } = self.prepared(&first.table);
        let Buffers { script, scratch, .. } = buffers;
        let mut at = rows[0];
        let written = script.write(label, |out| {
            out.extend_from_slice(texts.insert.as_bytes());
            for (i, &row) in rows.iter().enumerate() {
                at = row;
                out.extend_from_slice(if i == 0 { b"values " } else { b"," });
                literal_row(self.batch.changes[row].row_json(), &shape.columns, scratch, out)?;
            }
            out.extend_from_slice(texts.on_conflict.as_bytes());
            Ok(())
        });
        written.map_err(|error| Failure::Encode { change: at, error })
    }
}
