//! How a table of the mirror follows DDL of the source (pure).
//!
//! Comments say what is what: a column's names the source's column by number, the table's the version that it was last
//! made for. They stay with a column that is renamed, so a change that was interrupted half-way goes on where it was.

use std::sync::Arc;

use super::plan::Existing;
use super::policy::Policies;
use super::rowbinary;
use super::sql::{self, quote};
use super::types::{Base, ColumnType};
use crate::config::OutOfRange;
use crate::table::{Column, Table};
use crate::wire::{Value, encode_value};

/// Returns what a column's comment says; `None` where the source's numbers are not known.
pub(super) fn column_mark(table: &Table, column: &Column) -> Option<String> {
    (table.relation != 0 && column.id != 0).then(|| format!("tripline {}.{}", table.relation, column.id))
}

/// Returns how the comments of all tables of the mirror begin that were made for a source table.
pub(super) fn relation_mark(relation: u32) -> String {
    format!("tripline {relation} version ")
}

/// Returns what a table's comment says; `None` where the source's numbers are not known.
pub(super) fn table_mark(table: &Table) -> Option<String> {
    (table.relation != 0).then(|| format!("{}{}", relation_mark(table.relation), table.version))
}

/// Reads a table's comment: object id at the source and version.
pub(super) fn made_for(comment: &str) -> Option<(u32, u32)> {
    let (relation, version) = comment.strip_prefix("tripline ")?.split_once(" version ")?;
    Some((relation.parse().ok()?, version.parse().ok()?))
}

/// A statement that lets the mirror follow.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Follow {
    /// Of definitions.
    Short(String),
    /// One that may go through the whole table.
    Long(String),
}

/// Returns the mirror's column for a column of `table`: the one marked so, or one of its name that is nobody else's.
fn column<'a>(existing: &'a Existing, table: &Table, column: &Column) -> Option<&'a str> {
    let mark = column_mark(table, column)?;
    let marked = existing.comments.iter().find(|(_, comment)| **comment == mark);
    let own = format!("tripline {}.", table.relation);
    let named =
        existing.comments.get_key_value(&column.name).filter(|(_, comment)| !comment.starts_with(&own));
    marked.or(named).map(|(name, _)| name.as_str())
}

/// Returns the statements that give the mirror's columns the names and types of `table`; what it lacks is added later.
pub(super) fn follow(target: &str, table: &Table, existing: &Existing, policies: &Policies) -> Vec<Follow> {
    if table.relation == 0 {
        return Vec::new();
    }
    let wanted = |source: &Column| {
        let key = table.key.contains(&source.name);
        let ty = ColumnType::for_column(source, key, policies.of(&table.name, &source.name, key));
        (ty, key)
    };
    let pairs: Vec<(&str, &Column)> =
        table.columns.iter().filter_map(|source| Some((column(existing, table, source)?, source))).collect();
    let fits = |name: &str, source: &Column| {
        let found = existing.column(name).and_then(ColumnType::parse);
        found.is_some_and(|found| found.accepts(source, wanted(source).1))
    };
    let key_moved =
        pairs.iter().any(|(name, source)| wanted(source).1 && (*name != source.name || !fits(name, source)));
    if key_moved {
        return rebuild(target, table, existing, policies, &pairs);
    }
    let mut steps = Vec::new();
    let mut alter = |what: String| steps.push(Follow::Short(format!("ALTER TABLE {target} {what}")));
    let is_marked = |name: &str| existing.comments.get(name).is_some_and(|c| c.starts_with("tripline "));
    for name in existing.comments.keys().filter(|name| is_marked(name)) {
        if !pairs.iter().any(|(claimed, _)| claimed == name) {
            alter(format!("DROP COLUMN {}", quote(name)));
        }
    }
    let renamed: Vec<&(&str, &Column)> = pairs.iter().filter(|(name, source)| *name != source.name).collect();
    let between = renamed.iter().any(|(_, source)| renamed.iter().any(|(name, _)| *name == source.name));
    let passing = |source: &Column| format!("_tripline_{}", source.id);
    for (name, source) in &renamed {
        let to = if between { passing(source) } else { source.name.clone() };
        alter(format!("RENAME COLUMN {} TO {}", quote(name), quote(&to)));
    }
    for (_, source) in renamed.iter().filter(|_| between) {
        alter(format!("RENAME COLUMN {} TO {}", quote(&passing(source)), quote(&source.name)));
    }
    for (name, source) in &pairs {
        let mark = column_mark(table, source).filter(|mark| existing.comments.get(*name) != Some(mark));
        if let Some(mark) = mark {
            alter(format!("COMMENT COLUMN {} {}", quote(&source.name), sql::literal(&mark)));
        }
    }
    for (name, source) in pairs.iter().filter(|(name, source)| !fits(name, source)) {
        let Some(found) = existing.column(name).and_then(ColumnType::parse) else { continue };
        let (ty, _) = wanted(source);
        // Where not every value has a form in the other type, a person decides: the check behind this says how.
        if ty.base.holds(found.base) && ty.array == found.array {
            let ty = ColumnType { nullable: !ty.array && (ty.nullable || found.nullable), ..ty };
            let what = format!("MODIFY COLUMN {} {ty}", quote(&source.name));
            steps.push(Follow::Long(format!("ALTER TABLE {target} {what}")));
        }
    }
    steps
}

/// Returns the statements that write the table anew: ClickHouse does not alter the columns of a sorting key.
fn rebuild(
    target: &str,
    table: &Table,
    existing: &Existing,
    policies: &Policies,
    pairs: &[(&str, &Column)],
) -> Vec<Follow> {
    let anew = format!("{}_tripline_anew`", target.strip_suffix('`').unwrap_or(target));
    let mut names = String::new();
    let mut values = String::new();
    for (name, source) in pairs {
        let key = table.key.contains(&source.name);
        let ty = ColumnType::for_column(source, key, policies.of(&table.name, &source.name, key));
        let convertible = existing
            .column(name)
            .and_then(ColumnType::parse)
            .is_some_and(|found| found == ty || ty.base.holds(found.base) && ty.array == found.array);
        if !convertible {
            // The check names the column.
            return Vec::new();
        }
        names.push_str(&format!("{}, ", quote(&source.name)));
        values.push_str(&format!("CAST({} AS {ty}), ", quote(name)));
    }
    let own = format!("{}, {}, {}", sql::VERSION, sql::DELETED, sql::SYNCED_AT);
    vec![
        Follow::Long(sql::drop_table(&anew)),
        Follow::Short(sql::create_table(&anew, table, policies)),
        Follow::Long(format!("INSERT INTO {anew} ({names}{own}) SELECT {values}{own} FROM {target}")),
        Follow::Short(format!("EXCHANGE TABLES {target} AND {anew}")),
        Follow::Long(sql::drop_table(&anew)),
    ]
}

/// Returns `table` as the mirror's columns are called, with the place of each in a message; columns that the mirror has
/// dropped since are left out. Those that it has gained get their default.
pub(super) fn older(table: &Table, existing: &Existing) -> (Arc<Table>, Vec<(String, usize)>) {
    let mut here = Table { columns: Vec::new(), key: Vec::new(), ..table.clone() };
    let mut members = Vec::new();
    for (hint, source) in table.columns.iter().enumerate() {
        if let Some(name) = column(existing, table, source) {
            here.columns.push(Column { name: name.to_owned(), ..source.clone() });
            members.push((source.name.clone(), hint));
        }
    }
    for key in &table.key {
        let at = members.iter().position(|(name, _)| name == key);
        here.key.push(at.map_or_else(|| key.clone(), |at| here.columns[at].name.clone()));
    }
    (Arc::new(here), members)
}

/// Returns the default of a column that existing rows got a value in, as an expression.
pub(super) fn default(source: &Column, ty: ColumnType) -> Option<String> {
    let text = source.initial.as_ref()?;
    let plain = ColumnType { nullable: false, low_cardinality: false, ..ty };
    match ty.base {
        _ if ty.array => None,
        Base::String => {
            let mut json = Vec::new();
            encode_value(source.kind(), text.as_bytes(), &mut json).ok()?;
            let mut bytes = Vec::new();
            let value = Value::from_json(std::str::from_utf8(&json).ok()?);
            rowbinary::encode(plain, source.kind(), value, OutOfRange::Error, &mut bytes).ok()?;
            // Behind the length, of which all bytes but the last have the highest bit.
            let length = bytes.iter().take_while(|byte| **byte >= 0x80).count() + 1;
            let hex: String = bytes[length..].iter().map(|byte| format!("{byte:02x}")).collect();
            Some(format!("unhex('{hex}')"))
        }
        Base::DateTime64 => Some(format!("parseDateTime64BestEffort({}, 6, 'UTC')", sql::literal(text))),
        _ => Some(format!("CAST({} AS {plain})", sql::literal(text))),
    }
}
