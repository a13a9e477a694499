//! What is done with a value that the type of its column cannot hold.

use std::collections::BTreeMap;

use crate::config::{Config, OutOfRange};
use crate::table::TableName;
use crate::telemetry::catalog;

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
    metrics::counter!(catalog::OUT_OF_RANGE, &labels).increment(values);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex};

    use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};

    use super::super::plan::{Existing, TablePlan};
    use super::*;
    use crate::event::{Change, Images, Op};
    use crate::table::{Column, Table};

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

    /// Counters by their keys.
    #[derive(Default)]
    struct Counters(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

    impl metrics::Recorder for Counters {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(Arc::clone(self.0.lock().unwrap().entry(key.to_string()).or_default()))
        }
        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::noop()
        }
        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    /// Counts what is kept of rows with the columns `day` (a date) and `days` (dates) in columns of these types.
    fn counted(policy: OutOfRange, types: [&str; 2], rows: &[&str]) -> Vec<(String, u64)> {
        let column = |name: &str, base: &str| Column { not_null: true, ..Column::new(name, base, base) };
        let table = Arc::new(Table {
            name: TableName::new("public", "t"),
            version: 1,
            columns: vec![column("id", "int4"), column("day", "date"), column("days", "date[]")],
            key: vec!["id".into()],
            relation: 0,
        });
        let columns = [("id", "Int32"), ("day", types[0]), ("days", types[1])];
        let columns = columns.map(|(name, ty)| (name.to_owned(), ty.to_owned())).to_vec();
        let existing = Existing { columns, ..Existing::default() };
        let policies = Policies { everywhere: policy, columns: BTreeMap::new() };
        let plan = TablePlan::new("t".into(), &table, &existing, &policies, None).unwrap();
        let counters = Counters::default();
        metrics::with_local_recorder(&counters, || {
            for row in rows {
                let change = Change::new(1, Arc::clone(&table), Op::Insert, Images::new(b"", row.as_bytes()));
                plan.encode(&change, &mut Vec::new()).unwrap();
            }
        });
        let counters = counters.0.into_inner().unwrap();
        counters.into_iter().map(|(key, count)| (key, count.load(Ordering::Relaxed))).collect()
    }

    #[test]
    fn every_value_that_a_policy_keeps_is_counted_and_no_other() {
        let rows = [
            r#"{"id":1,"day":"2026-01-01","days":["infinity","1899-12-31",null]}"#,
            r#"{"id":2,"day":"infinity","days":[]}"#,
            r#"{"id":3,"day":"0044-03-15 BC","days":["2026-01-01"]}"#,
        ];
        let name = |column: &str, policy: &str| {
            let labels = format!("table = public.t, column = {column}, policy = {policy}");
            format!("Key(tripline_mirror_out_of_range_total, [{labels}])")
        };
        let typed = ["Nullable(Date32)", "Array(Nullable(Date32))"];
        for (policy, types, arrays) in [
            (OutOfRange::Null, typed, 2),
            (OutOfRange::Clamp, typed, 2),
            // The array is text as a whole.
            (OutOfRange::String, ["String", "String"], 1),
        ] {
            let policy_name = policy.to_string();
            let expected = [(name("day", &policy_name), 2), (name("days", &policy_name), arrays)];
            assert_eq!(counted(policy, types, &rows), expected);
        }
        let inside = [r#"{"id":1,"day":"2026-01-01","days":[null]}"#];
        assert!(counted(OutOfRange::Clamp, typed, &inside).is_empty());
        assert!(counted(OutOfRange::String, ["String", "String"], &inside).is_empty());
    }
}
