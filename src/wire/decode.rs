//! JSON back to PostgreSQL text, value by value.

use std::borrow::Cow;
use std::fmt;

use data_encoding::{BASE64, HEXLOWER};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::WireError;
use crate::table::{Kind, Scalar};

/// The columns of one row: the JSON object in `after` (or the key in `before`), in the order it was written.
#[derive(Debug)]
pub struct Row<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Row<'a> {
    /// Reads the object's members; values stay unread.
    pub fn parse(json: &'a [u8]) -> Result<Self, WireError> {
        serde_json::from_slice(json).map_err(WireError::json("row"))
    }

    /// Returns the value of a column. `hint` is where it usually stands: its index in the table's columns.
    pub fn get(&self, name: &str, hint: usize) -> Option<Value<'a>> {
        let found = match self.0.get(hint) {
            Some((column, value)) if column == name => Some(*value),
            _ => self.0.iter().find(|(column, _)| column == name).map(|(_, value)| *value),
        };
        found.map(|raw| Value(raw.get()))
    }

    /// Returns the number of members.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Row<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(16);
                while let Some((Str(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Members).map(Row)
    }
}

/// A string that borrows from the document where it holds no escapes.
#[derive(serde::Deserialize)]
struct Str<'a>(#[serde(borrow)] Cow<'a, str>);

/// One JSON value of a row, as it stands in the message.
#[derive(Clone, Copy)]
pub struct Value<'a>(&'a str);

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Value(…)")
    }
}

impl<'a> Value<'a> {
    /// Wraps one JSON value.
    pub fn from_json(json: &'a str) -> Self {
        Self(json)
    }

    /// Returns the JSON text.
    pub fn json(self) -> &'a str {
        self.0
    }

    /// Tells whether it is `null`.
    pub fn is_null(self) -> bool {
        self.0 == "null"
    }

    /// Returns the content of a JSON string, `None` when it is no string.
    pub fn as_str(self) -> Result<Option<Cow<'a, str>>, WireError> {
        if !self.0.starts_with('"') {
            return Ok(None);
        }
        let plain = &self.0[1..self.0.len() - 1];
        if memchr::memchr(b'\\', plain.as_bytes()).is_none() {
            return Ok(Some(Cow::Borrowed(plain)));
        }
        serde_json::from_str(self.0).map(|Str(text)| Some(text)).map_err(WireError::json("string"))
    }

    /// Returns the elements of a JSON array, `None` when it is no array.
    pub fn elements(self) -> Result<Option<Vec<Value<'a>>>, WireError> {
        if !self.0.starts_with('[') {
            return Ok(None);
        }
        let raw: Vec<&'a RawValue> = serde_json::from_str(self.0).map_err(WireError::json("array"))?;
        Ok(Some(raw.into_iter().map(|value| Value(value.get())).collect()))
    }

    /// Appends PostgreSQL's text of the value, as its input functions take it; returns false for NULL.
    pub fn to_postgres(self, kind: Kind, out: &mut Vec<u8>) -> Result<bool, WireError> {
        if self.is_null() {
            return Ok(false);
        }
        match kind {
            Kind::Scalar(scalar) => self.scalar_to_postgres(scalar, out)?,
            Kind::Array { element, delimiter, written } => match self.as_str()? {
                Some(literal) if delimiter == written => out.extend_from_slice(literal.as_bytes()),
                Some(literal) => delimit(literal.as_bytes(), delimiter, written, out),
                None => self.array_to_postgres(element, written, out)?,
            },
        }
        Ok(true)
    }

    fn scalar_to_postgres(self, scalar: Scalar, out: &mut Vec<u8>) -> Result<(), WireError> {
        let mismatch = |kind| WireError::Mismatch { kind };
        match scalar {
            Scalar::Bool => out.extend_from_slice(match self.0 {
                "true" => b"t",
                "false" => b"f",
                _ => return Err(mismatch("boolean")),
            }),
            Scalar::Int | Scalar::Float => match self.as_str()? {
                Some(text) => out.extend_from_slice(text.as_bytes()),
                None if self.0.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => {
                    out.extend_from_slice(self.0.as_bytes());
                }
                None => return Err(mismatch("number")),
            },
            Scalar::Bytea => {
                let text = self.as_str()?.ok_or(mismatch("bytea"))?;
                let bytes = BASE64.decode(text.as_bytes()).map_err(|_| mismatch("bytea"))?;
                out.extend_from_slice(b"\\x");
                let start = out.len();
                out.resize(start + HEXLOWER.encode_len(bytes.len()), 0);
                HEXLOWER.encode_mut(&bytes, &mut out[start..]);
            }
            Scalar::Timestamp | Scalar::TimestampTz | Scalar::Text => {
                out.extend_from_slice(self.as_str()?.ok_or(mismatch("text"))?.as_bytes());
            }
        }
        Ok(())
    }

    /// Writes nested JSON arrays as an array's literal.
    fn array_to_postgres(self, element: Scalar, delimiter: u8, out: &mut Vec<u8>) -> Result<(), WireError> {
        let elements = self.elements()?.ok_or(WireError::Mismatch { kind: "array" })?;
        out.push(b'{');
        for (i, value) in elements.into_iter().enumerate() {
            if i > 0 {
                out.push(delimiter);
            }
            if value.is_null() {
                out.extend_from_slice(b"NULL");
            } else if value.0.starts_with('[') {
                value.array_to_postgres(element, delimiter, out)?;
            } else {
                let mut text = Vec::new();
                value.scalar_to_postgres(element, &mut text)?;
                out.push(b'"');
                for byte in text {
                    if matches!(byte, b'"' | b'\\') {
                        out.push(b'\\');
                    }
                    out.push(byte);
                }
                out.push(b'"');
            }
        }
        out.push(b'}');
        Ok(())
    }
}

/// Appends an array's literal, bounds and all, with another delimiter. Elements are quoted, because what needs no quotes
/// beside one delimiter may need them beside the other.
fn delimit(literal: &[u8], delimiter: u8, written: u8, out: &mut Vec<u8>) {
    let mut at = literal.iter().position(|&byte| byte == b'=').map_or(0, |at| at + 1);
    out.extend_from_slice(&literal[..at]);
    while at < literal.len() {
        let start = at;
        at += match literal[at] {
            b'"' => {
                let mut escaped = false;
                let closes = |&byte: &u8| {
                    let closes = byte == b'"' && !escaped;
                    escaped = byte == b'\\' && !escaped;
                    closes
                };
                literal[at + 1..].iter().position(closes).map_or(literal.len() - at, |end| end + 2)
            }
            b'{' | b'}' => 1,
            byte if byte == delimiter => {
                out.push(written);
                at += 1;
                continue;
            }
            _ => literal[at..].iter().take_while(|&&byte| byte != b'}' && byte != delimiter).count(),
        };
        let part = &literal[start..at];
        if matches!(part, [b'"' | b'{' | b'}', ..] | b"NULL") {
            out.extend_from_slice(part);
        } else {
            out.push(b'"');
            out.extend_from_slice(part);
            out.push(b'"');
        }
    }
}
