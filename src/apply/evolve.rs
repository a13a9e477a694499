//! How a destination table follows DDL of the source: from the shape that it was last made for to another (pure).
//!
//! Columns are known by their numbers: the destination notes which of its columns (`attnum`) holds which column of the
//! source, so a rename on either side is no riddle. Rows of an older version that come behind are written into the
//! newer table: renamed columns under their new names, dropped ones not at all, added ones with what existing rows got.

use serde::{Deserialize, Serialize};

use super::schema::{self, Found, FoundColumn, Shape, Unfit};
use crate::table::{Column, Table, TableName, quote_ident};

/// What a destination table was last made for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Made {
    /// The source table.
    pub(super) table: Table,
    /// For each of its columns the number of the destination's column.
    pub(super) numbers: Vec<i16>,
}

impl Made {
    /// Describes the destination as it is for `table` now; `None` when it cannot be told which columns are whose.
    pub(super) fn of(table: &Table, found: &Found) -> Option<Self> {
        let number = |column: &Column| found.columns.iter().find(|c| c.name == column.name).map(|c| c.number);
        let numbers = table.columns.iter().map(number).collect::<Option<_>>()?;
        (table.relation != 0).then(|| Self { table: table.clone(), numbers })
    }

    /// Tells whether the destination is ahead of this version.
    pub(super) fn is_newer_than(&self, table: &Table) -> bool {
        self.table.version > table.version
    }

    fn is_of(&self, table: &Table) -> bool {
        self.table.relation == table.relation
    }

    /// Finds the destination's column for a column of `table`.
    fn column<'a>(&self, table: &Table, column: &Column, found: &'a Found) -> Option<&'a FoundColumn> {
        let same = |known: &Column| match self.is_of(table) {
            true => known.id == column.id,
            false => known.name == column.name,
        };
        let at = self.table.columns.iter().position(same)?;
        found.columns.iter().find(|here| here.number == self.numbers[at])
    }
}

/// Returns the statements that turn the destination's table into one for `table`, in order. Columns are dropped only
/// `with_drops`: a table that people look after may keep them.
pub(super) fn statements(
    table: &Table,
    found: &Found,
    made: &Made,
    with_drops: bool,
) -> Result<Vec<String>, Unfit> {
    let here = |column: &Column| made.column(table, column, found);
    let alter = format!("alter table {}", table.name.quoted());
    let mut statements = Vec::new();
    let is_made = |here: &FoundColumn| made.numbers.contains(&here.number);
    let stays = |number: i16| {
        table.columns.iter().any(|column| here(column).is_some_and(|here| here.number == number))
    };
    for gone in found.columns.iter().filter(|here| is_made(here) && !stays(here.number)) {
        // A column of the same name that came since is another one.
        if with_drops || table.columns.iter().any(|column| column.name == gone.name) {
            statements.push(format!("{alter} drop column {}", quote_ident(&gone.name)));
        }
    }
    let renamed: Vec<(&FoundColumn, &Column)> = table
        .columns
        .iter()
        .filter_map(|column| Some((here(column)?, column)))
        .filter(|(here, column)| here.name != column.name)
        .collect();
    let taken = |name: &str| renamed.iter().any(|(here, _)| here.name == name);
    // Names that change hands take a step in between.
    let between = renamed.iter().any(|(_, column)| taken(&column.name));
    let rename =
        |from: &str, to: &str| format!("{alter} rename column {} to {}", quote_ident(from), quote_ident(to));
    for (here, column) in &renamed {
        let to = if between { format!("tripline_{}", here.number) } else { column.name.clone() };
        statements.push(rename(&here.name, &to));
    }
    if between {
        for (here, column) in &renamed {
            statements.push(rename(&format!("tripline_{}", here.number), &column.name));
        }
    }
    for column in &table.columns {
        let own = |found: &&FoundColumn| found.name == column.name && !is_made(found);
        match here(column).or_else(|| found.columns.iter().find(own)) {
            None => statements.extend(schema::add_column(&table.name, column)),
            Some(here) => statements.extend(retype(table, column, here, made)?),
        }
    }
    Ok(statements)
}

/// Returns the statement that follows ALTER TYPE, where the destination's column still has the type that the source's had.
fn retype(table: &Table, column: &Column, here: &FoundColumn, made: &Made) -> Result<Option<String>, Unfit> {
    let at = made.numbers.iter().position(|number| *number == here.number);
    let Some(old) = at.map(|at| &made.table.columns[at]) else { return Ok(None) };
    if old.declared == column.declared || here.declared != old.declared || here.generated {
        return Ok(None);
    }
    let name = quote_ident(&column.name);
    let labels = old.enum_labels.as_ref().zip(column.enum_labels.as_ref());
    let same_labels = labels.is_some_and(|(old, new)| old.iter().all(|label| new.contains(label)));
    let statement = |using: &str| {
        format!(
            "alter table {} alter column {name} type {} using {name}{using}::{}",
            table.name.quoted(),
            column.declared,
            column.declared
        )
    };
    if same_labels {
        return Ok(Some(statement("::text")));
    }
    if widens(&old.declared, &column.declared) {
        return Ok(Some(statement("")));
    }
    Err(Unfit::Retyped {
        table: table.name.clone(),
        column: column.name.clone(),
        here: here.declared.clone(),
        there: column.declared.clone(),
        statement: statement(""),
    })
}

/// Tells whether ALTER TYPE keeps every value and comes to the same ones here as at the source. The function `widens` in
/// `sql/capture/ddl/library.sql` decides whether the source logs its rows again: it may do so more often, never less.
pub fn widens(old: &str, new: &str) -> bool {
    let ((old_base, old_digits), (new_base, new_digits)) = (schema::split_type(old), schema::split_type(new));
    let free = new_digits.is_empty();
    let digit = |digits: &[u32], at: usize| digits.get(at).copied().unwrap_or(0);
    match (old_base.as_str(), new_base.as_str()) {
        _ if old == new => true,
        (
            "character varying"
            | "bit varying"
            | "timestamp without time zone"
            | "timestamp with time zone"
            | "time without time zone"
            | "time with time zone",
            same,
        ) if same == old_base => free || !old_digits.is_empty() && new_digits[0] >= old_digits[0],
        ("numeric", "numeric") => {
            let whole = |digits: &[u32]| i64::from(digit(digits, 0)) - i64::from(digit(digits, 1));
            free || !old_digits.is_empty()
                && digit(&new_digits, 1) >= digit(&old_digits, 1)
                && whole(&new_digits) >= whole(&old_digits)
        }
        ("smallint", "integer" | "bigint") | ("integer", "bigint") | ("real", "double precision") => true,
        ("smallint" | "integer" | "bigint", "numeric") => free,
        (
            "smallint" | "integer" | "bigint" | "numeric" | "uuid" | "boolean" | "text" | "character varying",
            "text" | "character varying",
        ) => free,
        _ => false,
    }
}

/// Decides how changes of a version that the destination has left behind are written.
pub(super) fn older_shape(table: &Table, found: &Found, made: &Made) -> Result<Shape, Unfit> {
    // As if the source's columns had the names that they have here.
    let mut here = Table { columns: Vec::new(), key: Vec::new(), ..table.clone() };
    let mut members: Vec<(String, usize)> = Vec::new();
    for (hint, column) in table.columns.iter().enumerate() {
        if let Some(found) = made.column(table, column, found) {
            here.columns.push(Column { name: found.name.clone(), ..column.clone() });
            members.push((column.name.clone(), hint));
        }
    }
    let known = here.columns.len();
    for (column, number) in made.table.columns.iter().zip(&made.numbers) {
        if let Some(found) = found.columns.iter().find(|found| found.number == *number)
            && !here.columns.iter().any(|column| column.name == found.name)
        {
            here.columns.push(Column { name: found.name.clone(), ..column.clone() });
        }
    }
    for key in &table.key {
        let at = members.iter().position(|(name, _)| name == key);
        here.key.push(at.map_or_else(|| key.clone(), |at| here.columns[at].name.clone()));
    }
    let target = Table { name: found.name.clone(), ..here.clone() };
    let mut shape = schema::shape(&target, found)?;
    for slot in shape.columns.iter_mut().chain(&mut shape.key) {
        let Some(at) = here.columns.iter().position(|column| column.name == slot.name) else { continue };
        match members.get(at).filter(|_| at < known) {
            Some((member, _)) => slot.member = member.clone(),
            None => slot.constant = Some(here.columns[at].initial.clone()),
        }
    }
    for slot in &mut shape.columns {
        if let Some((_, hint)) = members.iter().find(|(member, _)| *member == slot.member) {
            slot.hint = *hint;
        }
    }
    Ok(shape)
}

/// Returns the statements that give a table another name.
pub(super) fn rename_table(from: &TableName, to: &TableName) -> Vec<String> {
    let mut statements = Vec::new();
    let mut at = from.clone();
    if at.schema != to.schema {
        statements.push(format!("alter table {} set schema {}", at.quoted(), quote_ident(&to.schema)));
        at.schema.clone_from(&to.schema);
    }
    if at.name != to.name {
        statements.push(format!("alter table {} rename to {}", at.quoted(), quote_ident(&to.name)));
    }
    statements
}

#[cfg(test)]
#[path = "evolve_tests.rs"]
mod tests;
