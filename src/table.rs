//! Captured tables: their names, columns and keys, as the registry, the topics and the targets know them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Quotes an SQL identifier. The one place where identifiers become SQL.
pub fn quote_ident(name: &str) -> String {
    let mut quoted = String::with_capacity(name.len() + 2);
    quoted.push('"');
    for c in name.chars() {
        if c == '"' {
            quoted.push('"');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

/// Quotes a string as an SQL literal (for sessions with `standard_conforming_strings = on`).
pub fn quote_literal(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for c in text.chars() {
        if c == '\'' {
            quoted.push('\'');
        }
        quoted.push(c);
    }
    quoted.push('\'');
    quoted
}

/// The name of a table: schema and relation, unquoted, as the catalog holds them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableName {
    /// Schema, for example `public`.
    pub schema: String,
    /// Relation, for example `orders`.
    pub name: String,
}

impl TableName {
    /// Builds a name from its two parts.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: schema.into(), name: name.into() }
    }

    /// Returns `"schema"."name"`, ready for SQL.
    pub fn quoted(&self) -> String {
        format!("{}.{}", quote_ident(&self.schema), quote_ident(&self.name))
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// How capture works for a table (docs/architecture.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CaptureMode {
    /// AFTER STATEMENT triggers that read each touched key again. The default.
    Reread,
    /// AFTER ROW triggers that read the key again: for partitioned tables.
    Row,
    /// AFTER STATEMENT triggers straight from the transition tables: only where no user trigger writes the table.
    Statement,
}

impl fmt::Display for CaptureMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reread => "reread",
            Self::Row => "row",
            Self::Statement => "statement",
        })
    }
}

/// One column of a captured table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Name, unquoted.
    pub name: String,
    /// Type as the source declares it, by `format_type` with an empty search path: `numeric(10,2)`, `public.mood`.
    #[serde(rename = "type")]
    pub declared: String,
    /// Type in the log table: a `pg_catalog` type name such as `int4` or `timestamptz`, with `[]` behind it for
    /// arrays; `text` for everything outside `pg_catalog`. Domains are resolved.
    pub base: String,
    /// Delimiter of the array type's text form; `,` but for `box[]`.
    #[serde(default = "comma", skip_serializing_if = "is_comma")]
    pub delimiter: char,
    /// True when the source column is declared NOT NULL.
    pub not_null: bool,
    /// Labels in order when the declared type is an enum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enum_labels: Option<Vec<String>>,
    /// True for a generated column, which the source computes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub generated: bool,
    /// Number of the column in its table (`attnum`), which a rename keeps; 0 where an older release did not record it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub id: i16,
    /// Value in PostgreSQL's text form that rows got when the column was added to them; `None` where they got NULL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial: Option<String>,
}

fn comma() -> char {
    ','
}

fn is_comma(c: &char) -> bool {
    *c == ','
}

fn is_zero(id: &i16) -> bool {
    *id == 0
}

fn is_unknown(relation: &u32) -> bool {
    *relation == 0
}

/// How a value of a column travels in JSON (see [`crate::wire`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar {
    /// `true`, `false`.
    Bool,
    /// int2, int4, int8, oid: a JSON number.
    Int,
    /// float4, float8: a JSON number, or `"NaN"`, `"Infinity"`, `"-Infinity"`.
    Float,
    /// timestamp: RFC 3339 with `Z`, or PostgreSQL's text where RFC 3339 has no form.
    Timestamp,
    /// timestamptz, in UTC: the same.
    TimestampTz,
    /// bytea: base64 in a string.
    Bytea,
    /// Everything else: PostgreSQL's own text in a string (numeric, json, uuid, interval, date…).
    Text,
}

/// Shape of a column's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A single value.
    Scalar(Scalar),
    /// An array: JSON arrays, nested for dimensions.
    Array {
        /// How the elements travel.
        element: Scalar,
        /// Delimiter of PostgreSQL's text form in the log.
        delimiter: u8,
        /// Delimiter of the text form that the destination's type takes.
        written: u8,
    },
}

impl Column {
    /// Returns a nullable column of no table in particular.
    pub fn new(name: &str, declared: &str, base: &str) -> Self {
        Self {
            name: name.into(),
            declared: declared.into(),
            base: base.into(),
            delimiter: ',',
            not_null: false,
            enum_labels: None,
            generated: false,
            id: 0,
            initial: None,
        }
    }

    /// Returns the shape of this column's values, from [`Column::base`].
    pub fn kind(&self) -> Kind {
        match self.base.strip_suffix("[]") {
            Some(element) => {
                let delimiter = self.delimiter as u8;
                Kind::Array { element: scalar(element), delimiter, written: delimiter }
            }
            None => Kind::Scalar(scalar(&self.base)),
        }
    }
}

fn scalar(base: &str) -> Scalar {
    match base {
        "bool" => Scalar::Bool,
        "int2" | "int4" | "int8" | "oid" => Scalar::Int,
        "float4" | "float8" => Scalar::Float,
        "timestamp" => Scalar::Timestamp,
        "timestamptz" => Scalar::TimestampTz,
        "bytea" => Scalar::Bytea,
        _ => Scalar::Text,
    }
}

/// A captured table at one schema version: what the registry holds and the schemas topic publishes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Schema and name at the source.
    #[serde(flatten)]
    pub name: TableName,
    /// Version of this shape; grows by one with every change of columns or key.
    pub version: u32,
    /// Columns in the order of the log table.
    pub columns: Vec<Column>,
    /// Names of the key columns, in key order; empty for a table that is append-only.
    pub key: Vec<String>,
    /// Object id of the table at the source, within which [`Column::id`] means something; 0 where an older release did
    /// not record it.
    #[serde(default, skip_serializing_if = "is_unknown")]
    pub relation: u32,
}

impl Table {
    /// Tells whether nothing but rows (and TRUNCATE) comes of this table, because no key tells them apart.
    pub fn is_append_only(&self) -> bool {
        self.key.is_empty()
    }

    /// Returns the positions of the key columns in [`Table::columns`], in key order.
    pub fn key_indexes(&self) -> Vec<usize> {
        self.key.iter().filter_map(|key| self.columns.iter().position(|column| column.name == *key)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_quoted() {
        assert_eq!(quote_ident("a"), "\"a\"");
        assert_eq!(quote_ident("we\"ird"), "\"we\"\"ird\"");
        assert_eq!(TableName::new("s.x", "Order Lines").quoted(), "\"s.x\".\"Order Lines\"");
    }

    #[test]
    fn literals_are_quoted() {
        assert_eq!(quote_literal("o'clock"), "'o''clock'");
    }

    #[test]
    fn kinds_follow_the_base_type() {
        let column = |base: &str| Column::new("c", base, base);
        assert_eq!(column("int8").kind(), Kind::Scalar(Scalar::Int));
        assert_eq!(column("numeric").kind(), Kind::Scalar(Scalar::Text));
        assert_eq!(
            column("bytea[]").kind(),
            Kind::Array { element: Scalar::Bytea, delimiter: b',', written: b',' }
        );
    }
}
