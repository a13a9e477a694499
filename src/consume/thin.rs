//! Leaves out changes that a later one of the same key overtakes, so that a pass of many changes of few keys is a few batches.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use foldhash::quality::RandomState;

use crate::event::{Change, Op};
use crate::table::Table;

/// Removes what is overtaken inside `changes`; returns how many changes are left out.
///
/// The rest, folded, leaves what all of them leave. Applied one by one it may not: a unique value may pass from row to row in
/// between. Changes on both sides of a truncate or of DDL all stay.
pub(super) fn thin(changes: &mut Vec<Change>) -> usize {
    let Some(keep) = survivors(changes) else { return 0 };
    let before = changes.len();
    let mut keep = keep.into_iter();
    changes.retain(|_| keep.next().unwrap_or(true));
    before - changes.len()
}

/// Tells of each change whether it stays; `None` where all of them do.
fn survivors(changes: &[Change]) -> Option<Vec<bool>> {
    let mut tables: HashMap<*const Table, usize, RandomState> = HashMap::default();
    let mut shapes: Vec<&Arc<Table>> = Vec::new();
    let mut latest: HashMap<(usize, &[u8]), u64, RandomState> =
        HashMap::with_capacity_and_hasher(changes.len(), RandomState::default());
    let mut keep = vec![true; changes.len()];
    for (change, keep) in changes.iter().zip(&mut keep).rev() {
        let shape = &change.table;
        let table = match tables.entry(Arc::as_ptr(shape)) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                let other = |other: &&Arc<Table>| {
                    other.name == shape.name || shape.relation != 0 && other.relation == shape.relation
                };
                let same = shapes.iter().position(other);
                match same {
                    Some(same) if *shapes[same] != *shape => return None,
                    Some(_) => {}
                    None => shapes.push(shape),
                }
                *new.insert(same.unwrap_or(shapes.len() - 1))
            }
        };
        if change.op == Op::Truncate {
            return None;
        }
        match latest.entry((table, change.key())) {
            // A row that was copied stands behind changes with higher numbers, which ClickHouse goes by.
            Entry::Occupied(later) => *keep = *later.get() < change.cdc_id,
            Entry::Vacant(none) => drop(none.insert(change.cdc_id)),
        }
    }
    Some(keep)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::event::Images;
    use crate::table::TableName;

    fn table(name: &str, version: u32, relation: u32) -> Arc<Table> {
        let name = TableName::new("public", name);
        Arc::new(Table { name, version, columns: Vec::new(), key: Vec::new(), relation })
    }

    fn change(table: &Arc<Table>, cdc_id: u64, op: Op, key: u8) -> Change {
        Change::new(cdc_id, Arc::clone(table), op, Images::new(&[key], cdc_id.to_string().as_bytes()))
    }

    proptest! {
        #[test]
        fn the_last_change_of_every_key_stays(steps in prop::collection::vec((0usize..3, 0u8..6, 0u64..9), 0..60)) {
            // Two of them are the same table, as another part names it.
            let tables = [table("a", 1, 7), table("b", 1, 8), table("a", 1, 7)];
            let changes: Vec<Change> = steps
                .iter()
                .enumerate()
                .map(|(i, (t, key, back))| change(&tables[*t], (i as u64 + 10) - back, Op::Update, *key))
                .collect();
            let mut thinned = changes.clone();
            let left_out = thin(&mut thinned);
            prop_assert_eq!(thinned.len() + left_out, changes.len());
            let by_place = |changes: &[Change]| -> BTreeMap<(String, Vec<u8>), u64> {
                changes.iter().map(|c| ((c.table.name.name.clone(), c.key().to_vec()), c.cdc_id)).collect()
            };
            let by_number = |changes: &[Change]| {
                let mut highest = BTreeMap::new();
                for c in changes {
                    let highest = highest.entry((c.table.name.name.clone(), c.key().to_vec())).or_insert(0);
                    *highest = c.cdc_id.max(*highest);
                }
                highest
            };
            prop_assert_eq!(by_place(&thinned), by_place(&changes));
            prop_assert_eq!(by_number(&thinned), by_number(&changes));
            if steps.iter().all(|(_, _, back)| *back == 0) {
                prop_assert_eq!(thinned.len(), by_place(&changes).len());
            }
        }
    }

    #[test]
    fn beside_a_truncate_or_another_shape_all_stay() {
        let (a, altered, renamed) = (table("a", 1, 7), table("a", 2, 7), table("b", 2, 7));
        let twice =
            |table: &Arc<Table>| vec![change(table, 1, Op::Insert, 1), change(table, 2, Op::Update, 1)];
        assert_eq!(thin(&mut twice(&a)), 1);
        for more in [
            change(&altered, 3, Op::Update, 1),
            change(&renamed, 3, Op::Update, 2),
            change(&a, 3, Op::Truncate, 0),
        ] {
            let mut changes = twice(&a);
            changes.push(more);
            assert_eq!((thin(&mut changes), changes.len()), (0, 3));
        }
    }
}
