//! What is done with a value that the type of its column cannot hold.

use std::collections::BTreeMap;

use crate::config::{Config, OutOfRange};
use crate::table::TableName;

/// What is configured for the columns of all tables.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    everywhere: OutOfRange,
    columns: BTreeMap<(String, String), OutOfRange>,
}

impl Policies {
    /// Takes `mirror.out_of_range` and what the tables say instead.
    pub fn new(config: &Config) -> Self {
        let of_table = |table: &crate::config::TableOverride| {
            let name = table.name.clone();
            let column =
                move |(column, policy): (&String, &OutOfRange)| ((name.clone(), column.clone()), *policy);
            table.out_of_range.iter().map(column).collect::<Vec<_>>()
        };
        Self {
            everywhere: config.mirror.out_of_range,
            columns: config.table.iter().flat_map(of_table).collect(),
        }
    }

    /// Returns the policy of a column. Of the key, only `string` can be followed: with the others two keys could become
    /// one.
    pub(super) fn of(&self, table: &TableName, column: &str, key: bool) -> OutOfRange {
        let chosen = self.columns.get(&(table.to_string(), column.to_owned())).copied();
        match chosen.unwrap_or(self.everywhere) {
            OutOfRange::Null | OutOfRange::Clamp if key => OutOfRange::Error,
            policy => policy,
        }
    }
}

/// Counts values that were kept by a policy. A batch that is applied again counts again.
pub(super) fn count(table: &TableName, column: &str, policy: OutOfRange, values: u64) {
    let labels =
        [("table", table.to_string()), ("column", column.to_owned()), ("policy", policy.to_string())];
    metrics::counter!("tripline_mirror_out_of_range_total", &labels).increment(values);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_has_its_own_policy_and_a_key_none_that_merges() {
        let mut config = Config::default();
        config.mirror.out_of_range = OutOfRange::Clamp;
        let own =
            BTreeMap::from([("born".to_owned(), OutOfRange::Null), ("id".to_owned(), OutOfRange::String)]);
        let table = TableName::new("public", "people");
        config.table = vec![crate::config::TableOverride {
            name: table.to_string(),
            out_of_range: own,
            ..crate::config::TableOverride::default()
        }];
        let policies = Policies::new(&config);
        assert_eq!(policies.of(&table, "born", false), OutOfRange::Null);
        assert_eq!(policies.of(&table, "born", true), OutOfRange::Error);
        assert_eq!(policies.of(&table, "id", true), OutOfRange::String);
        assert_eq!(policies.of(&table, "died", false), OutOfRange::Clamp);
        assert_eq!(policies.of(&TableName::new("sales", "people"), "born", false), OutOfRange::Clamp);
    }
}
