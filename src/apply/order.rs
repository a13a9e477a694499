//! Orders tables so that foreign keys that are enforced meet their rows: parents before children.

use std::collections::{HashMap, HashSet};

/// Returns the positions of `tables` with every table behind those it references. Tables are `(oid, referenced oids)`;
/// otherwise the given order stays, and a circle is cut where it is met.
pub(crate) fn parents_first(tables: &[(u32, &[u32])]) -> Vec<usize> {
    let mut by_oid: HashMap<u32, Vec<usize>> = HashMap::new();
    for (position, (oid, _)) in tables.iter().enumerate() {
        by_oid.entry(*oid).or_default().push(position);
    }
    let mut order = Vec::with_capacity(tables.len());
    let mut entered = HashSet::new();
    for start in 0..tables.len() {
        // Each entry: a table, and how many of its parents have been looked at.
        let mut path = vec![(start, 0)];
        while let Some((table, parent)) = path.pop() {
            if parent == 0 && !entered.insert(table) {
                continue;
            }
            match tables[table].1.get(parent) {
                Some(oid) => {
                    path.push((table, parent + 1));
                    let above = by_oid.get(oid).into_iter().flatten();
                    path.extend(
                        above.filter(|above| !entered.contains(*above)).rev().map(|&above| (above, 0)),
                    );
                }
                None => order.push(table),
            }
        }
    }
    order
}

/// What the destination says about a table that is to be emptied.
#[derive(Debug, Clone, Default)]
pub(super) struct Emptying {
    /// Oid of the table.
    pub(super) oid: u32,
    /// Whether the role may TRUNCATE it.
    pub(super) may_truncate: bool,
    /// Oids of other tables with foreign keys to it.
    pub(super) referenced_by: Vec<u32>,
}

/// Returns which of `tables` one TRUNCATE can take: those that no table outside of it references.
pub(super) fn truncatable(tables: &[Emptying]) -> Vec<bool> {
    let mut take: Vec<bool> = tables.iter().map(|table| table.may_truncate).collect();
    loop {
        let taken: HashSet<u32> =
            tables.iter().zip(&take).filter(|(_, take)| **take).map(|(table, _)| table.oid).collect();
        let before = taken.len();
        for (table, take) in tables.iter().zip(&mut take) {
            *take &= table.referenced_by.iter().all(|oid| taken.contains(oid));
        }
        let after: HashSet<u32> =
            tables.iter().zip(&take).filter(|(_, take)| **take).map(|(table, _)| table.oid).collect();
        if after.len() == before {
            return take;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_stand_before_their_children() {
        let chain: [(u32, &[u32]); 3] = [(30, &[20]), (20, &[10, 99]), (10, &[])];
        assert_eq!(parents_first(&chain), [2, 1, 0]);
        let versions: [(u32, &[u32]); 3] = [(30, &[10]), (10, &[]), (10, &[])];
        assert_eq!(parents_first(&versions), [1, 2, 0]);
        let free: [(u32, &[u32]); 3] = [(3, &[]), (1, &[]), (2, &[])];
        assert_eq!(parents_first(&free), [0, 1, 2]);
    }

    #[test]
    fn a_circle_keeps_every_table_once() {
        let circle: [(u32, &[u32]); 3] = [(1, &[2]), (2, &[3]), (3, &[1])];
        let mut order = parents_first(&circle);
        order.sort_unstable();
        assert_eq!(order, [0, 1, 2]);
    }

    #[test]
    fn tables_referenced_from_outside_are_not_truncated() {
        let table = |oid, referenced_by: &[u32]| Emptying {
            oid,
            may_truncate: true,
            referenced_by: referenced_by.to_vec(),
        };
        assert_eq!(truncatable(&[table(1, &[2]), table(2, &[])]), [true, true]);
        assert_eq!(truncatable(&[table(1, &[2]), table(2, &[3])]), [false, false]);
        let forbidden = Emptying { may_truncate: false, ..table(2, &[]) };
        assert_eq!(truncatable(&[table(1, &[2]), forbidden]), [false, false]);
    }
}
