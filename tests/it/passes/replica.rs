//! A destination in memory, and the checks that every window goes through on its way there.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tripline::event::Op;
use tripline::position::{Position, Snapshot};
use tripline::tail::{Message, Window};

use super::{id_and_v, row_json};

/// Rows by table and key.
pub(super) type State = BTreeMap<String, BTreeMap<i32, Option<String>>>;

/// What must not happen, counted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Faults {
    /// Rows that were handed out twice.
    pub(super) twice: u64,
    /// Rows behind a younger one of their key.
    pub(super) per_key_order: u64,
    /// Rows that do not follow their predecessor within a pass.
    pub(super) pass_order: u64,
    /// Rows at or below an offset that was handed out before: a restart would have lost them.
    pub(super) below_offset: u64,
    /// Windows that do not follow the one before by pass and part, or do not end at their T.
    pub(super) numbering: u64,
    /// Passes after which the replica was not what the source had been at T.
    pub(super) unequal: u64,
    /// Rows of the log that were never handed out.
    pub(super) lost: u64,
    /// Rows that were handed out and are not in the log.
    pub(super) invented: u64,
}

/// The destination.
#[derive(Debug)]
pub(super) struct Replica {
    state: State,
    seen: BTreeSet<u64>,
    /// Youngest row of each table and key.
    youngest: HashMap<(String, i32), u64>,
    /// Where a restart resumes: the position of the last window.
    pub(super) position: Position,
    last_in_pass: u64,
    pub(super) faults: Faults,
    /// The first fault that was found.
    pub(super) first: Option<String>,
    /// Rows below the highest one that an earlier window handed out.
    pub(super) late: u64,
    pub(super) windows: u64,
    /// Passes of more than one window.
    pub(super) long_passes: u64,
}

impl Replica {
    pub(super) fn new(tables: &[&str]) -> Self {
        Self {
            state: tables.iter().map(|&table| (table.to_owned(), BTreeMap::new())).collect(),
            seen: BTreeSet::new(),
            youngest: HashMap::new(),
            position: Position::start(),
            last_in_pass: 0,
            faults: Faults::default(),
            first: None,
            late: 0,
            windows: 0,
            long_passes: 0,
        }
    }

    /// Returns the highest row that was handed out.
    pub(super) fn highest(&self) -> u64 {
        self.seen.last().copied().unwrap_or(0)
    }

    /// Returns the rows that were handed out.
    pub(super) fn rows(&self) -> usize {
        self.seen.len()
    }

    fn fault(&mut self, count: fn(&mut Faults) -> &mut u64, by: usize, what: impl FnOnce() -> String) {
        if by > 0 {
            *count(&mut self.faults) += by as u64;
            self.first.get_or_insert_with(what);
        }
    }

    /// Takes a window over.
    pub(super) fn publish(&mut self, window: &Window) {
        self.follow(window);
        let highest = self.highest();
        for message in &window.messages {
            let id = message.cdc_id;
            let at = || format!("cdc_id {id} of pass {} part {}", window.pass, window.part);
            self.late += u64::from(id < highest);
            self.fault(
                |f| &mut f.pass_order,
                usize::from(id <= self.last_in_pass),
                || format!("{} is out of order", at()),
            );
            self.fault(
                |f| &mut f.below_offset,
                usize::from(id <= self.position.offset),
                || format!("{} is below the offset", at()),
            );
            let new = self.seen.insert(id);
            self.fault(|f| &mut f.twice, usize::from(!new), || format!("{} came before", at()));
            self.last_in_pass = id;
            self.apply(window, message);
        }
        self.position = window.position.clone();
        self.windows += 1;
        self.long_passes += u64::from(window.part == 1);
    }

    /// Checks that a window continues where the last one ended.
    fn follow(&mut self, window: &Window) {
        let (before, after) = (&self.position, &window.position);
        let first = before.inside.is_none();
        let expected = before.inside.as_ref().map_or((before.pass + 1, 0), |i| (before.pass, i.part));
        let same_until = before.inside.as_ref().is_none_or(|inside| inside.until == window.until);
        let ends = match &after.inside {
            None => window.done && after.base == window.until,
            // Between passes B may move by itself, while nothing is there to read.
            Some(inside) => {
                !window.done && (first || after.base == before.base) && inside.until == window.until
            }
        };
        let good = (window.pass, window.part) == expected
            && after.pass == window.pass
            && after.offset >= before.offset
            && same_until
            && ends;
        let found = format!("{window:?} leads from {before:?} to {after:?}");
        self.fault(|f| &mut f.numbering, usize::from(!good), || found);
        if first {
            self.last_in_pass = 0;
        }
    }

    fn apply(&mut self, window: &Window, message: &Message) {
        let table = window.tables[message.table].table.name.name.clone();
        let rows = self.state.entry(table.clone()).or_default();
        if message.op == Op::Truncate {
            rows.clear();
            return;
        }
        let (id, v) = id_and_v(row_json(window, message));
        match message.op {
            Op::Delete => drop(rows.remove(&id)),
            _ => drop(rows.insert(id, v)),
        }
        let youngest = self.youngest.insert((table, id), message.cdc_id).unwrap_or(0);
        self.fault(
            |f| &mut f.per_key_order,
            usize::from(youngest > message.cdc_id),
            || format!("cdc_id {} came behind {youngest} of the same key", message.cdc_id),
        );
    }

    /// Compares with what the source had at T, at the end of a pass.
    pub(super) fn compare(&mut self, until: &Snapshot, source: &State) {
        let unlike: Vec<String> = source
            .iter()
            .flat_map(|(table, rows)| {
                let mine = &self.state[table];
                let keys: BTreeSet<_> = rows.keys().chain(mine.keys()).collect();
                keys.into_iter().filter(|key| rows.get(key) != mine.get(key)).map(move |key| {
                    format!("{table} {key}: source {:?}, replica {:?}", rows.get(key), mine.get(key))
                })
            })
            .collect();
        self.fault(
            |f| &mut f.unequal,
            usize::from(!unlike.is_empty()),
            || format!("unequal at {until}: {}", unlike[..unlike.len().min(5)].join("; ")),
        );
    }

    /// Compares what was handed out with all rows of the log.
    pub(super) fn account(&mut self, log: &BTreeSet<u64>) {
        let lost: Vec<u64> = log.difference(&self.seen).copied().collect();
        let invented: Vec<u64> = self.seen.difference(log).copied().collect();
        self.fault(|f| &mut f.lost, lost.len(), || format!("lost: {lost:?}"));
        self.fault(|f| &mut f.invented, invented.len(), || format!("not in the log: {invented:?}"));
    }
}
