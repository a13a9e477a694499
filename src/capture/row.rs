//! How a captured row is read from its table: the same expressions in triggers, snapshots and comparisons.

use crate::selection::{Mask, Selection};
use crate::table::{Column, TableName, quote_ident, quote_literal};

use super::registry::Captured;
use super::template;

/// Returns a base type for SQL: `pg_catalog."int4"[]`. Quoted, it has no default length.
pub(super) fn base_type(base: &str) -> String {
    match base.strip_suffix("[]") {
        Some(element) => format!("pg_catalog.{}[]", quote_ident(element)),
        None => format!("pg_catalog.{}", quote_ident(base)),
    }
}

/// The table with the salt of hashes, which only the owner and those whom it lets read.
pub(super) fn salt_table(schema: &str) -> TableName {
    TableName::new(schema, "salt")
}

/// Tells whether a column's type is none of PostgreSQL's own, so that its text is logged: an enum, a composite, a type of an
/// extension. (A domain over text counts too.)
fn is_foreign(column: &Column) -> bool {
    matches!(column.base.as_str(), "text" | "text[]") && column.declared != column.base
}

/// Returns the text of a value as the type's output function writes it.
///
/// Never by a cast: whoever owns the type may give it one, and the functions would run that with the rights of the owner of
/// capture.
fn shown(reference: &str) -> String {
    format!("case when pg_catalog.num_nulls({reference}) = 0 then pg_catalog.format('%s', {reference}) end")
}

/// Returns the text of a value that is to be masked. Its column is described as text already, so the server is asked for the
/// type: `character` is without its padding, equal to the same `text`.
fn masked(reference: &str) -> String {
    let shown = shown(reference);
    format!(
        "case pg_catalog.pg_typeof({reference}) when 'pg_catalog.bpchar'::pg_catalog.regtype then pg_catalog.rtrim({shown}, ' ') \
         else {shown} end"
    )
}

/// Returns the SQL of a column's value `reference` as its base type.
fn plain(column: &Column, reference: &str) -> String {
    match column.base.as_str() {
        template::BASE => template::value(reference),
        "text" if is_foreign(column) => shown(reference),
        "text[]" if is_foreign(column) => format!("({})::{}", shown(reference), base_type(&column.base)),
        base => format!("{reference}::{}", base_type(base)),
    }
}

/// Returns the SQL of what is logged for a column of the row: `reference` is its value, `t."name"`.
pub(super) fn value(schema: &str, selection: &Selection, column: &Column, reference: &str) -> String {
    match selection.mask.get(&column.name) {
        None => plain(column, reference),
        Some(Mask::Value(text)) => format!("{}::{}", quote_literal(text), base_type(&column.base)),
        Some(Mask::Truncate(characters)) => {
            format!("pg_catalog.\"left\"({}, {characters})", masked(reference))
        }
        // The bytes of the text in the server's encoding: unlike a conversion, that cannot fail.
        Some(Mask::Hash) => format!(
            "pg_catalog.encode(pg_catalog.sha256(pg_catalog.decode(pg_catalog.replace((select s.salt from {} s) || \
             ({}), E'\\\\', E'\\\\\\\\'), 'escape')), 'hex')",
            salt_table(schema).quoted(),
            masked(reference)
        ),
    }
}

/// Returns the select list of a captured row `from`: every column's value under its name.
pub(super) fn list(schema: &str, selection: &Selection, columns: &[Column], from: &str) -> String {
    let named = columns.iter().map(|column| {
        let name = quote_ident(&column.name);
        format!("{} as {name}", value(schema, selection, column, &format!("{from}.{name}")))
    });
    named.collect::<Vec<_>>().join(", ")
}

/// Returns the filter in parentheses, where there is one. It names the row's columns without a qualifier.
pub(super) fn condition(selection: &Selection) -> Option<String> {
    // On lines of its own: it may end in a comment.
    selection.filter.as_ref().map(|filter| format!("(\n{filter}\n)"))
}

impl Captured {
    /// Returns the select list of a captured row over the source table's alias `from`: every column as it is logged,
    /// masked, under its name, in the order of the log table.
    ///
    /// Needs the settings of [`EXACT_TEXT`](crate::session::EXACT_TEXT); with hashes also SELECT on the table of the salt.
    pub fn row(&self, from: &str) -> String {
        list(&self.log_table.schema, &self.selection, &self.table.columns, from)
    }

    /// Returns the condition under which a row is captured, in parentheses, where there is one. It names columns without
    /// a qualifier, so no other relation may be in scope.
    pub fn filter(&self) -> Option<String> {
        condition(&self.selection)
    }

    /// Returns what stands behind `from` to read captured rows alone: the table, or a query in parentheses.
    pub fn relation(&self) -> String {
        let table = self.table.name.quoted();
        if self.selection.is_everything() {
            return table;
        }
        let filter = self.filter().map(|filter| format!(" where {filter}")).unwrap_or_default();
        format!("(select {} from {table} t{filter})", self.row("t"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_types_are_qualified_and_quoted() {
        assert_eq!(base_type("bit"), "pg_catalog.\"bit\"");
        assert_eq!(base_type("int4[]"), "pg_catalog.\"int4\"[]");
    }
}
