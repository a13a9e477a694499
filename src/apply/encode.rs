//! Writes values for the destination: as COPY text and as SQL literals, straight from the JSON of the messages.
//!
//! Either way PostgreSQL's input function of the destination column reads the text, with the column's length and
//! precision: a value that does not fit is an error, where a cast would cut it.

use bytes::BytesMut;

use crate::table::Kind;
use crate::wire::{Row, WireError, escape_copy, every};

/// One column to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    /// Name at the destination.
    pub(super) name: String,
    /// Name in the message.
    pub(super) member: String,
    /// Where it usually stands in the row's JSON object.
    pub(super) hint: usize,
    /// Shape of its values.
    pub(super) kind: Kind,
    /// The value for all rows instead: of a column that came after the message was written.
    pub(super) constant: Option<Option<String>>,
}

/// A row that cannot be written. Names the column, never the value.
#[derive(Debug, thiserror::Error)]
pub(super) enum EncodeError {
    /// The row is no JSON object.
    #[error("the row cannot be read")]
    Row(#[source] WireError),
    /// The message lacks a column that its schema version has.
    #[error("the message has no column \"{column}\"")]
    Missing {
        /// The column.
        column: String,
    },
    /// A value has another form than its type.
    #[error("column \"{column}\" cannot be read")]
    Value {
        /// The column.
        column: String,
        /// What is wrong.
        #[source]
        source: WireError,
    },
    /// A value holds a zero byte, which no PostgreSQL text can.
    #[error("column \"{column}\" holds a zero byte, which PostgreSQL cannot store")]
    Zero {
        /// The column.
        column: String,
    },
    /// A key column is NULL.
    #[error("key column \"{column}\" is NULL")]
    NullKey {
        /// The column.
        column: String,
    },
}

/// Reads one value; `None` for NULL. `scratch` holds what cannot be borrowed.
fn read<'s>(
    row: &Row<'s>,
    slot: &'s Slot,
    scratch: &'s mut Vec<u8>,
) -> Result<Option<&'s [u8]>, EncodeError> {
    if let Some(constant) = &slot.constant {
        return Ok(constant.as_deref().map(str::as_bytes));
    }
    let column = || slot.member.clone();
    let value = row.get(&slot.member, slot.hint).ok_or_else(|| EncodeError::Missing { column: column() })?;
    value.to_postgres(slot.kind, scratch).map_err(|source| EncodeError::Value { column: column(), source })
}

/// Refuses a value with a zero byte.
fn zero_free<'s>(text: &'s [u8], slot: &Slot) -> Result<&'s [u8], EncodeError> {
    match memchr::memchr(0, text) {
        Some(_) => Err(EncodeError::Zero { column: slot.member.clone() }),
        None => Ok(text),
    }
}

/// Appends the row as one line of COPY text.
pub(super) fn copy_line(
    json: &[u8],
    slots: &[Slot],
    scratch: &mut Vec<u8>,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let row = Row::parse(json).map_err(EncodeError::Row)?;
    for (i, slot) in slots.iter().enumerate() {
        if i > 0 {
            out.extend_from_slice(b"\t");
        }
        match read(&row, slot, scratch)? {
            Some(text) if every(text, |byte| byte >= 0x20 && byte != b'\\') => out.extend_from_slice(text),
            Some(text) => escape_copy(zero_free(text, slot)?, out),
            None => out.extend_from_slice(b"\\N"),
        }
    }
    out.extend_from_slice(b"\n");
    Ok(())
}

/// Appends the row as `('…',NULL,…)`. A literal without a type takes that of the column it goes to.
pub(super) fn literal_row(
    json: &[u8],
    slots: &[Slot],
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let row = Row::parse(json).map_err(EncodeError::Row)?;
    for (i, slot) in slots.iter().enumerate() {
        out.push(if i == 0 { b'(' } else { b',' });
        match read(&row, slot, scratch)? {
            Some(text) => literal(zero_free(text, slot)?, out),
            None => out.extend_from_slice(b"NULL"),
        }
    }
    out.push(b')');
    Ok(())
}

/// Appends `("id" operator(pg_catalog.=) '…' and …)`; `compare` holds one `"id" operator(…) ` for each key column.
pub(super) fn key_condition(
    json: &[u8],
    slots: &[Slot],
    compare: &[String],
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let row = Row::parse(json).map_err(EncodeError::Row)?;
    for (i, (slot, compare)) in slots.iter().zip(compare).enumerate() {
        out.extend_from_slice(if i == 0 { b"(" } else { b" and " });
        out.extend_from_slice(compare.as_bytes());
        let Some(text) = read(&row, slot, scratch)? else {
            return Err(EncodeError::NullKey { column: slot.name.clone() });
        };
        literal(zero_free(text, slot)?, out);
    }
    out.push(b')');
    Ok(())
}

/// Appends a literal as [`crate::table::quote_literal`] writes it, without a string in between.
fn literal(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'\'');
    let mut rest = text;
    while let Some(quote) = memchr::memchr(b'\'', rest) {
        out.extend_from_slice(&rest[..=quote]);
        out.push(b'\'');
        rest = &rest[quote + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'\'');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::table::{Scalar, quote_literal};
    use crate::wire::Fields;

    const TEXT: Kind = Kind::Scalar(Scalar::Text);

    fn slots(columns: &[(&str, Kind)]) -> Vec<Slot> {
        let slot = |(hint, &(name, kind)): (usize, &(&str, Kind))| Slot {
            name: name.into(),
            member: name.into(),
            hint,
            kind,
            constant: None,
        };
        columns.iter().enumerate().map(slot).collect()
    }

    fn literals(json: &str, slots: &[Slot]) -> Result<String, EncodeError> {
        let mut out = Vec::new();
        literal_row(json.as_bytes(), slots, &mut Vec::new(), &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn null_and_the_empty_string_stay_apart() {
        let slots = slots(&[("a", TEXT), ("b", TEXT)]);
        assert_eq!(literals(r#"{"a":null,"b":""}"#, &slots).unwrap(), "(NULL,'')");
        let mut out = BytesMut::new();
        copy_line(br#"{"a":null,"b":""}"#, &slots, &mut Vec::new(), &mut out).unwrap();
        assert_eq!(&out[..], b"\\N\t\n");
    }

    #[test]
    fn rows_that_cannot_be_written_name_the_column_and_no_value() {
        let slots = slots(&[("a", Kind::Scalar(Scalar::Int))]);
        let missing = literals(r#"{"b":1}"#, &slots).unwrap_err();
        assert_eq!(missing.to_string(), "the message has no column \"a\"");
        let wrong = literals(r#"{"a":[1]}"#, &slots).unwrap_err();
        assert_eq!(wrong.to_string(), "column \"a\" cannot be read");
        let zero = literals(r#"{"a":"x\u0000y"}"#, &super::tests::slots(&[("a", TEXT)])).unwrap_err();
        assert!(matches!(zero, EncodeError::Zero { .. }));
        let mut out = Vec::new();
        let null = key_condition(br#"{"a":null}"#, &slots, &["x".into()], &mut Vec::new(), &mut out);
        assert!(matches!(null, Err(EncodeError::NullKey { .. })));
    }

    #[test]
    fn key_conditions_compare_every_key_column() {
        let slots = slots(&[("a", TEXT), ("b", TEXT)]);
        let compare = ["\"a\" operator(c.=) ".to_owned(), "\"b\" operator(c.=) ".to_owned()];
        let mut out = Vec::new();
        key_condition(br#"{"a":"o'k","b":"2"}"#, &slots, &compare, &mut Vec::new(), &mut out).unwrap();
        let expected = r#"("a" operator(c.=) 'o''k' and "b" operator(c.=) '2')"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn copy_lines_read_back(a in "[^\0]*", b in prop::option::of("[\\\\\n\r\t.N'\"]{0,6}")) {
            let json = serde_json::json!({"a": a, "b": b}).to_string();
            let mut out = BytesMut::new();
            copy_line(json.as_bytes(), &slots(&[("a", TEXT), ("b", TEXT)]), &mut Vec::new(), &mut out).unwrap();
            prop_assert_eq!(memchr::memchr(b'\n', &out), Some(out.len() - 1), "one line");
            let back: Vec<_> = Fields::new(&out).map(|f| f.text().map(|t| t.into_owned())).collect();
            prop_assert_eq!(back, vec![Some(a.into_bytes()), b.map(String::into_bytes)]);
        }

        #[test]
        fn literals_are_quoted_as_everywhere(text in "[^\0]*|['\\\\]{0,5}") {
            let json = serde_json::json!({ "a": text }).to_string();
            let expected = format!("({})", quote_literal(&text));
            prop_assert_eq!(literals(&json, &slots(&[("a", TEXT)])).unwrap(), expected);
        }
    }
}
