//! A batch as a list of inserts and truncates, every row encoded before the first one is sent.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::quality::RandomState;

use super::plan::TablePlan;
use crate::consume::{Batch, TargetError};
use crate::event::{Change, Op};
use crate::table::{Table, TableName};

/// One statement.
#[derive(Debug)]
pub(super) enum Step {
    /// Rows of one table.
    Insert {
        /// The table.
        plan: Arc<TablePlan>,
        /// Header and rows, ready to send.
        body: Vec<u8>,
        /// Names the content: equal for an equal body of this batch, different for any other.
        token: String,
    },
    /// A truncate of the source, or the end of copying all rows anew: rows with a lower version are gone.
    Truncate {
        /// The table.
        plan: Arc<TablePlan>,
        /// Its log row, or the number of the request.
        cdc_id: u64,
    },
}

/// Changes of one table between two truncates at one schema version, the last of each key.
struct Segment<'a> {
    table: &'a Arc<Table>,
    changes: Vec<&'a Change>,
    by_key: HashMap<&'a [u8], usize, RandomState>,
}

impl<'a> Segment<'a> {
    fn new(table: &'a Arc<Table>) -> Self {
        Self { table, changes: Vec::new(), by_key: HashMap::default() }
    }

    /// Adds a change in place of an earlier one of the same key, unless that has the higher version: a row that a
    /// snapshot read carries the version of its snapshot.
    fn push(&mut self, change: &'a Change) {
        let next = self.changes.len();
        let index = *self.by_key.entry(change.key()).or_insert(next);
        match self.changes.get_mut(index) {
            None => self.changes.push(change),
            Some(earlier) if earlier.cdc_id <= change.cdc_id => *earlier = change,
            Some(_) => {}
        }
    }
}

/// What is to be done with one table, in order.
enum Part<'a> {
    Rows(Segment<'a>),
    Truncate(&'a Change),
}

/// Returns the distinct tables and schema versions of a batch.
pub(super) fn tables(batch: &Batch) -> Vec<Arc<Table>> {
    let mut tables: Vec<Arc<Table>> = Vec::new();
    let swept = batch.sweeps.iter().map(|sweep| &sweep.table);
    for used in batch.changes.iter().map(|change| &change.table).chain(swept) {
        let known = |table: &&Arc<Table>| Arc::ptr_eq(table, used) || ***table == **used;
        // From the back, because neighbours mostly belong to the same table.
        if tables.iter().rev().find(known).is_none() {
            tables.push(Arc::clone(used));
        }
    }
    tables
}

/// Turns a batch into the statements of each table, in order. Between tables no order is needed.
///
/// Every value is encoded here, so that a change that cannot be taken is found before anything is sent.
pub(super) fn steps(
    batch: &Batch,
    nonce: u64,
    plan: impl Fn(&Table) -> Option<Arc<TablePlan>>,
) -> Result<Vec<Vec<Step>>, TargetError> {
    let mut lists: Vec<(&TableName, Vec<Part<'_>>)> = Vec::new();
    let mut by_name: HashMap<&TableName, usize> = HashMap::new();
    // Most changes share their table's Arc; its address spares hashing the name each time.
    let mut by_address: HashMap<*const Table, usize, RandomState> = HashMap::default();
    for change in &batch.changes {
        let index = *by_address.entry(Arc::as_ptr(&change.table)).or_insert_with(|| {
            *by_name.entry(&change.table.name).or_insert_with(|| {
                lists.push((&change.table.name, Vec::new()));
                lists.len() - 1
            })
        });
        let parts = &mut lists[index].1;
        if change.op == Op::Truncate {
            parts.push(Part::Truncate(change));
            continue;
        }
        match parts.last_mut() {
            Some(Part::Rows(segment)) if segment.table.version == change.table.version => {
                segment.push(change)
            }
            _ => {
                let mut segment = Segment::new(&change.table);
                segment.push(change);
                parts.push(Part::Rows(segment));
            }
        }
    }
    let planned = |table: &Table| {
        plan(table).ok_or_else(|| super::error::setup(format!("{} was not prepared", table.name)))
    };
    let step = |part: Part<'_>| match part {
        Part::Truncate(change) => Ok(Step::Truncate { plan: planned(&change.table)?, cdc_id: change.cdc_id }),
        Part::Rows(segment) => insert(batch, nonce, planned(segment.table)?, &segment.changes),
    };
    let list = |(_, parts): (_, Vec<Part<'_>>)| parts.into_iter().map(step).collect();
    let mut lists: Vec<Vec<Step>> = lists.into_iter().map(list).collect::<Result<_, _>>()?;
    for sweep in batch.sweeps.iter().filter(|sweep| sweep.ends) {
        // Rows of later changes have higher versions than the request: behind all of them is early enough.
        let end = Step::Truncate { plan: planned(&sweep.table)?, cdc_id: sweep.run };
        match by_name.get(&sweep.table.name) {
            Some(&index) => lists[index].push(end),
            None => lists.push(vec![end]),
        }
    }
    Ok(lists)
}

fn insert(batch: &Batch, nonce: u64, plan: Arc<TablePlan>, changes: &[&Change]) -> Result<Step, TargetError> {
    let bytes = changes.iter().map(|change| change.row_json().len() + 16).sum::<usize>();
    let mut body = Vec::with_capacity(plan.header.len() + bytes);
    body.extend_from_slice(&plan.header);
    for change in changes {
        plan.encode(change, &mut body)?;
    }
    let (first, last) = changes.first().zip(changes.last()).map_or((0, 0), |(a, b)| (a.cdc_id, b.cdc_id));
    let token = format!(
        "tripline-{nonce:016x}-{}-{}.{}.{}-{first}-{last}-{}-{}-{:08x}",
        batch.cut.pipeline,
        batch.cut.epoch,
        batch.cut.pass,
        batch.cut.part,
        changes.len(),
        body.len(),
        crc32c::crc32c(&body)
    );
    Ok(Step::Insert { plan, body, token })
}
