//! `tripline verify`: what it finds, and what it never claims.

mod errors;
mod live;
mod planted;
mod selected;

use serde_json::Value;

use crate::db::value;
use crate::pipeline::harness::Pipeline;

/// What one run of `verify --json` said.
pub(crate) struct Verified {
    pub(crate) code: Option<i32>,
    pub(crate) answer: Value,
}

/// Runs `verify --json` with further arguments.
pub(crate) async fn verify(pipeline: &Pipeline, arguments: &str) -> Verified {
    let ended = pipeline.command(&format!("verify --json {arguments}")).await;
    let line = ended.text.lines().find(|line| line.starts_with('{'));
    let answer = line.unwrap_or_else(|| panic!("no JSON in\n{}", ended.text));
    Verified { code: ended.code, answer: serde_json::from_str(answer).unwrap() }
}

impl Verified {
    /// What was said of one table at one target.
    pub(crate) fn of(&self, table: &str, target: &str) -> &Value {
        let tables = self.answer["tables"].as_array().unwrap();
        let found = tables.iter().find(|report| report["table"] == table && report["target"] == target);
        found.unwrap_or_else(|| panic!("{table} at {target} is not in {:#}", self.answer))
    }

    /// What differs there, each as `missing {"id":1}`, sorted.
    pub(crate) fn differing(&self, table: &str, target: &str) -> Vec<String> {
        let report = self.of(table, target);
        let keys = report["keys"].as_array().unwrap_or_else(|| panic!("{report:#}"));
        let name = |key: &Value| format!("{} {}", key["difference"].as_str().unwrap(), key["key"]);
        let mut named: Vec<String> = keys.iter().map(name).collect();
        named.sort();
        if named.len() < 10 {
            assert_eq!(report["differing"], named.len(), "{report:#}");
        }
        named
    }

    /// Sums a number over all tables of a target.
    fn sum(&self, target: &str, what: &str) -> u64 {
        let tables = self.answer["tables"].as_array().unwrap().iter();
        tables.filter(|report| report["target"] == target).map(|report| report[what].as_u64().unwrap()).sum()
    }
}

/// Compares everything when nobody writes: all rows were compared at both targets, and nothing differs.
pub(crate) async fn all_equal(pipeline: &Pipeline) -> u64 {
    pipeline.caught_up().await;
    let verified = verify(pipeline, "").await;
    assert_eq!(
        (verified.code, &verified.answer["verdict"]),
        (Some(0), &"equal".into()),
        "{:#}",
        verified.answer
    );
    let mut rows = 0;
    for table in
        crate::db::rows(&pipeline.from, "select format('%I.%I', schema_name, table_name) from cdc.tables")
            .await
    {
        rows += value(&pipeline.from, &format!("select count(*) from {}", table[0]))
            .await
            .parse::<u64>()
            .unwrap();
    }
    for target in ["postgres", "clickhouse"] {
        assert_eq!(
            (verified.sum(target, "rows"), verified.sum(target, "in_flight")),
            (rows, 0),
            "{:#}",
            verified.answer
        );
    }
    rows
}
