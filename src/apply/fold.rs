//! Folds a batch: of several changes of one key only the last counts.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::quality::RandomState;

use crate::event::{Change, Op};
use crate::table::{Table, TableName};

/// What is left of a batch: first the truncates, then all deletes, then all upserts.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Tables that were truncated, in the order of the source. Nothing older than the truncate is left of them.
    pub(super) truncated: Vec<Arc<Table>>,
    /// Every table of the batch at each of its versions, also those of which nothing is left.
    pub(super) tables: Vec<Arc<Table>>,
    /// DDL in the middle gave tables or key columns other names or types: keys cannot be told from each other by their
    /// bytes, and the changes have to be applied one by one.
    pub(super) in_order: bool,
    /// What is left, by table and schema version, in the order in which they first appear.
    pub(super) groups: Vec<Group>,
}

/// The changes of one table at one schema version, as indexes into the batch, in the order of the batch.
#[derive(Debug)]
pub(super) struct Group {
    /// The table at the version that the messages name.
    pub(super) table: Arc<Table>,
    /// Changes whose key goes away.
    pub(super) deletes: Vec<usize>,
    /// Changes whose row is there afterwards.
    pub(super) upserts: Vec<usize>,
    /// Bytes of the rows in `upserts` and of the keys in `deletes`.
    pub(super) bytes: usize,
    /// Every row of `upserts` came to be in this batch, or was copied, and is named once: none of them is expected at the
    /// destination.
    pub(super) fresh: bool,
}

/// What is known of a table, whatever its version, while the batch is walked backwards.
#[derive(Default)]
struct Seen<'a> {
    keys: HashSet<&'a [u8], RandomState>,
    truncated: bool,
    /// A key has more than one change.
    repeats: bool,
}

/// Folds changes to the last one of each table and key.
///
/// Rows keep the order of the batch: keys that grow then meet the destination's index in order, and nothing is to be
/// gained by sorting, since one applier alone writes.
pub(super) fn fold(changes: &[Change]) -> Plan {
    let mut plan = Plan::default();
    let mut tables: Vec<Seen<'_>> = Vec::new();
    let mut by_name: HashMap<&TableName, usize> = HashMap::new();
    let mut by_version: HashMap<(usize, u32), usize> = HashMap::new();
    // Most changes share their table's Arc; its address spares hashing the name each time.
    let mut by_address: HashMap<*const Table, (usize, usize), RandomState> = HashMap::default();
    for (index, change) in changes.iter().enumerate().rev() {
        let (table, group) = *by_address.entry(Arc::as_ptr(&change.table)).or_insert_with(|| {
            let table = *by_name.entry(&change.table.name).or_insert_with(|| {
                tables.push(Seen::default());
                tables.len() - 1
            });
            let group = *by_version.entry((table, change.table.version)).or_insert_with(|| {
                let table = Arc::clone(&change.table);
                plan.groups.push(Group {
                    table,
                    deletes: Vec::new(),
                    upserts: Vec::new(),
                    bytes: 0,
                    fresh: true,
                });
                plan.groups.len() - 1
            });
            (table, group)
        });
        let seen = &mut tables[table];
        if seen.truncated {
            continue;
        }
        if change.op == Op::Truncate {
            seen.truncated = true;
            plan.truncated.push(Arc::clone(&change.table));
            continue;
        }
        if !seen.keys.insert(change.key()) {
            seen.repeats = true;
            continue;
        }
        let group = &mut plan.groups[group];
        group.bytes += change.row_json().len();
        match change.op {
            Op::Delete => group.deletes.push(index),
            op => {
                group.fresh &= op != Op::Update;
                group.upserts.push(index);
            }
        }
    }
    plan.truncated.reverse();
    plan.groups.reverse();
    plan.tables = plan.groups.iter().map(|group| Arc::clone(&group.table)).collect();
    for group in &mut plan.groups {
        let seen = by_name.get(&group.table.name).map(|&table| &tables[table]);
        // Behind its truncate a table is empty: there is nothing left to delete.
        if seen.is_some_and(|seen| seen.truncated) {
            group.deletes.clear();
        }
        group.fresh &= seen.is_some_and(|seen| !seen.repeats);
        group.deletes.reverse();
        group.upserts.reverse();
    }
    plan.in_order = plan.tables.iter().enumerate().any(|(i, a)| plan.tables[..i].iter().any(|b| moved(a, b)));
    plan.groups.retain(|group| !group.deletes.is_empty() || !group.upserts.is_empty());
    plan
}

/// Tells whether two shapes are one table with keys of different form, or two tables that share a name one after the other.
fn moved(a: &Table, b: &Table) -> bool {
    let key = |table: &Table| -> Vec<(String, String)> {
        let columns = table.key_indexes().into_iter().map(|i| &table.columns[i]);
        columns.map(|column| (column.name.clone(), column.base.clone())).collect()
    };
    match (a.relation != 0 && a.relation == b.relation, a.name == b.name) {
        (true, true) => key(a) != key(b),
        (same_relation, same_name) => same_relation || same_name && a.relation != b.relation,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::event::Images;

    fn tables() -> Vec<Arc<Table>> {
        [("a", 1), ("a", 2), ("b", 1)]
            .map(|(name, version)| {
                let name = TableName::new("public", name);
                Arc::new(Table { name, version, columns: Vec::new(), key: Vec::new(), relation: 0 })
            })
            .to_vec()
    }

    fn change(index: usize, table: &Arc<Table>, op: Op, key: u8) -> Change {
        let images = match op {
            Op::Truncate => Images::new(b"", b""),
            _ => Images::new(&[key], index.to_string().as_bytes()),
        };
        Change::new(index as u64, Arc::clone(table), op, images)
    }

    type State = BTreeMap<(String, Vec<u8>), Vec<u8>>;

    fn truncate(state: &mut State, table: &Table) {
        state.retain(|(name, _), _| *name != table.name.name);
    }

    fn apply(state: &mut State, change: &Change) {
        let key = (change.table.name.name.clone(), change.key().to_vec());
        match change.op {
            Op::Truncate => truncate(state, &change.table),
            Op::Delete => drop(state.remove(&key)),
            _ => drop(state.insert(key, change.row_json().to_vec())),
        }
    }

    fn changes() -> impl Strategy<Value = Vec<Change>> {
        let op = prop_oneof![
            4 => Just(Op::Insert), 4 => Just(Op::Update), 4 => Just(Op::Delete), 1 => Just(Op::Truncate),
            1 => Just(Op::Read),
        ];
        prop::collection::vec((0usize..3, op, 0u8..6), 0..40).prop_map(|steps| {
            let tables = tables();
            steps.into_iter().enumerate().map(|(i, (t, op, key))| change(i, &tables[t], op, key)).collect()
        })
    }

    proptest! {
        #[test]
        fn a_folded_batch_leaves_what_its_changes_leave(before in changes(), batch in changes()) {
            let mut expected = State::new();
            before.iter().for_each(|change| apply(&mut expected, change));
            let mut folded = expected.clone();
            batch.iter().for_each(|change| apply(&mut expected, change));

            let plan = fold(&batch);
            plan.truncated.iter().for_each(|table| truncate(&mut folded, table));
            for group in &plan.groups {
                group.deletes.iter().for_each(|&i| apply(&mut folded, &batch[i]));
            }
            let mut keys = HashSet::new();
            for &i in plan.groups.iter().flat_map(|group| &group.upserts) {
                prop_assert!(keys.insert((&batch[i].table.name, batch[i].key())), "one upsert a key");
                apply(&mut folded, &batch[i]);
            }
            prop_assert_eq!(folded, expected);
        }
    }

    #[test]
    fn versions_of_a_table_stay_apart_but_share_their_keys() {
        let tables = tables();
        let batch = [
            change(0, &tables[0], Op::Insert, 1),
            change(1, &tables[0], Op::Insert, 2),
            change(2, &tables[1], Op::Update, 1),
        ];
        let plan = fold(&batch);
        let left: Vec<_> = plan.groups.iter().map(|g| (g.table.version, g.upserts.clone())).collect();
        assert_eq!(left, [(1, vec![1]), (2, vec![2])]);
    }
}
