//! Renaming rules: under which name a source table is at the targets.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;

use crate::table::{Table, TableName};

/// `[[rename]]`: one rule. Both parts of a name may hold one `*`, any text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// `schema.table` at the source.
    pub from: String,
    /// `schema.table` at the targets; a `*` stands for what the one in the same part of `from` matched.
    pub to: String,
}

/// All rules; the first one that matches a table counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Renames(pub Vec<Rule>);

impl Rule {
    /// Says what is wrong with the rule.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        let parts = |text: &str| {
            let (schema, table) = text.split_once('.')?;
            let stars = [schema, table].map(|part| part.matches('*').count());
            (!schema.is_empty() && !table.is_empty()).then_some(stars)
        };
        let (Some(from), Some(to)) = (parts(&self.from), parts(&self.to)) else {
            return Some("is not of the form schema.table");
        };
        if from.iter().chain(&to).any(|&stars| stars > 1) {
            return Some("has more than one * in a part of a name");
        }
        (from != to).then_some("needs a * in \"to\" where \"from\" has one, and nowhere else")
    }

    fn apply(&self, table: &TableName) -> Option<TableName> {
        let (schema, name) = self.from.split_once('.')?;
        let (to_schema, to_name) = self.to.split_once('.')?;
        Some(TableName {
            schema: part(schema, to_schema, &table.schema)?,
            name: part(name, to_name, &table.name)?,
        })
    }
}

/// Renames one part of a name; `None` where the pattern does not match it.
fn part(from: &str, to: &str, name: &str) -> Option<String> {
    match from.split_once('*') {
        None => (from == name).then(|| to.to_owned()),
        Some((before, after)) => {
            let rest = name.strip_prefix(before)?.strip_suffix(after)?;
            Some(to.replacen('*', rest, 1))
        }
    }
}

impl Renames {
    /// Returns the name of a source table at the targets.
    pub fn name(&self, table: &TableName) -> TableName {
        self.0.iter().find_map(|rule| rule.apply(table)).unwrap_or_else(|| table.clone())
    }

    /// Returns the table as it is at the targets.
    pub fn table<'a>(&self, table: &'a Table) -> Cow<'a, Table> {
        let name = self.name(&table.name);
        match name == table.name {
            true => Cow::Borrowed(table),
            false => Cow::Owned(Table { name, ..table.clone() }),
        }
    }

    /// Returns the table as it is at the targets.
    pub fn shared(&self, table: &Arc<Table>) -> Arc<Table> {
        match self.table(table) {
            Cow::Borrowed(_) => Arc::clone(table),
            Cow::Owned(renamed) => Arc::new(renamed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renames(rules: &[(&str, &str)]) -> Renames {
        let rule = |(from, to): &(&str, &str)| Rule { from: (*from).to_owned(), to: (*to).to_owned() };
        Renames(rules.iter().map(rule).collect())
    }

    #[test]
    fn the_first_rule_that_matches_counts() {
        let renames = renames(&[("a.b", "x.y"), ("a.*", "archive.*"), ("old_*.t*", "new.v2_*")]);
        assert!(renames.0[..2].iter().all(|rule| rule.problem().is_none()));
        assert!(renames.0[2].problem().is_some(), "two schemas would become one");
        for (from, to) in [
            ("a.b", "x.y"),
            ("a.bc", "archive.bc"),
            ("a.b.c", "archive.b.c"),
            ("b.b", "b.b"),
            ("a.*", "archive.*"),
        ] {
            let (schema, name) = from.split_once('.').unwrap();
            assert_eq!(renames.name(&TableName::new(schema, name)).to_string(), to, "{from}");
        }
    }

    #[test]
    fn rules_that_cannot_be_are_found() {
        let problem = |from, to| renames(&[(from, to)]).0[0].problem();
        for (from, to) in
            [("a.b", "b"), ("a.*", "b.c"), ("a.b", "b.*"), ("a.**", "b.**"), ("*.a", "a.*"), (".a", "a.b")]
        {
            assert!(problem(from, to).is_some(), "{from} {to}");
        }
        for (from, to) in [("a.b", "c.d"), ("*.*", "x_*.*_y"), ("a*.b", "*.b")] {
            assert_eq!(problem(from, to), None, "{from} {to}");
        }
    }
}
