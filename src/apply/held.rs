//! Deletes that wait for the end of their pass.
//!
//! Where the destination's foreign keys act (ON DELETE CASCADE, SET NULL, SET DEFAULT) a delete takes rows along that
//! reference its own. The source may have moved those before, in a change that a batch folds away or that is yet to
//! come. At the end of the pass nothing that stays references a row that is gone: whatever went with it at the source has
//! a delete of its own.

use std::collections::HashMap;

use crate::event::{Change, Op};
use crate::table::TableName;

/// The deletes at hand, by table and key.
#[derive(Debug, Default)]
pub(super) struct Held(HashMap<(TableName, Box<[u8]>), Change>);

impl Held {
    /// Returns `changes` without the deletes in tables that `cascades` names, which are held; with `release` those that
    /// count come behind the others.
    pub(super) fn arrange(
        &mut self,
        changes: &[Change],
        cascades: impl Fn(&TableName) -> bool,
        release: bool,
    ) -> Vec<Change> {
        let mut arranged = Vec::with_capacity(changes.len());
        for change in changes {
            let name = &change.table.name;
            if cascades(name) {
                let key = (name.clone(), change.key().into());
                match change.op {
                    Op::Delete => {
                        self.0.insert(key, change.clone());
                        continue;
                    }
                    Op::Truncate => self.0.retain(|(table, _), _| table != name),
                    _ => drop(self.0.remove(&key)),
                }
            }
            arranged.push(change.clone());
        }
        if release {
            let mut deletes: Vec<Change> = self.0.drain().map(|(_, change)| change).collect();
            deletes.sort_unstable_by_key(|change| change.cdc_id);
            arranged.append(&mut deletes);
        }
        arranged
    }

    /// Tells whether no delete is held.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets everything: the transaction that it belongs to is gone.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::Images;
    use crate::table::Table;

    /// A change of `p`, whose rows take others along, or of `c`.
    fn change(cdc_id: u64, table: &str, op: Op, key: u8) -> Change {
        let name = TableName::new("public", table);
        let table = Arc::new(Table { name, version: 1, columns: Vec::new(), key: Vec::new(), relation: 0 });
        Change::new(cdc_id, table, op, Images::new(&[key], b""))
    }

    fn arrange(held: &mut Held, changes: &[Change], release: bool) -> Vec<u64> {
        let arranged = held.arrange(changes, |name| name.name == "p", release);
        arranged.iter().map(|change| change.cdc_id).collect()
    }

    #[test]
    fn deletes_come_at_the_end_of_the_pass_where_they_still_count() {
        let mut held = Held::default();
        let first = [
            change(1, "p", Op::Delete, 1),
            change(2, "c", Op::Delete, 1),
            change(3, "p", Op::Delete, 2),
            change(4, "p", Op::Delete, 3),
            change(5, "p", Op::Insert, 3),
        ];
        assert_eq!(arrange(&mut held, &first, false), [2, 5]);
        assert!(!held.is_empty());
        let second =
            [change(6, "p", Op::Insert, 2), change(7, "c", Op::Update, 4), change(8, "p", Op::Delete, 0)];
        assert_eq!(arrange(&mut held, &second, true), [6, 7, 1, 8]);
        assert!(held.is_empty());
    }

    #[test]
    fn a_truncate_is_enough() {
        let mut held = Held::default();
        let changes =
            [change(1, "p", Op::Delete, 1), change(2, "p", Op::Truncate, 0), change(3, "p", Op::Delete, 2)];
        assert_eq!(arrange(&mut held, &changes, true), [2, 3]);
    }
}
