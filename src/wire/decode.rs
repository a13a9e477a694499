//! JSON back to PostgreSQL text, value by value.

use std::borrow::Cow;
use std::fmt;

use data_encoding::{BASE64, HEXLOWER};
use memchr::{memchr2, memchr3};
use serde_json::value::RawValue;

use super::WireError;
use crate::table::{Kind, Scalar};

/// The columns of one row: the JSON object in `after` (or the key in `before`), in the order it was written.
#[derive(Debug)]
pub struct Row<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

impl<'a> Row<'a> {
    /// Reads the object's members as the publisher writes them, without space between them; values stay unread.
    pub fn parse(json: &'a [u8]) -> Result<Self, WireError> {
        let wrong = |column: usize| WireError::Json { what: "row", column: column + 1 };
        let text = std::str::from_utf8(json).map_err(|error| wrong(error.valid_up_to()))?;
        let byte = |at: usize| json.get(at).copied();
        let expect = |at: usize, wanted: u8| match byte(at) {
            Some(found) if found == wanted => Ok(at + 1),
            _ => Err(wrong(at)),
        };
        let mut members = Vec::with_capacity(16);
        let mut at = expect(0, b'{')?;
        while byte(at) != Some(b'}') || !members.is_empty() {
            let end = value_end(json, expect(at, b'"')? - 1).ok_or(wrong(at))?;
            let name = Value(&text[at..end]).as_str()?.ok_or(wrong(at))?;
            at = expect(end, b':')?;
            let end = value_end(json, at).ok_or(wrong(at))?;
            members.push((name, Value(&text[at..end])));
            at = end;
            match byte(at) {
                Some(b',') => at += 1,
                Some(b'}') => break,
                _ => return Err(wrong(at)),
            }
        }
        match at + 1 == json.len() {
            true => Ok(Self(members)),
            false => Err(wrong(at + 1)),
        }
    }

    /// Returns the value of a column. `hint` is where it usually stands: its index in the table's columns.
    pub fn get(&self, name: &str, hint: usize) -> Option<Value<'a>> {
        match self.0.get(hint) {
            Some((column, value)) if column == name => Some(*value),
            _ => self.0.iter().find(|(column, _)| column == name).map(|(_, value)| *value),
        }
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

/// Returns the end of the JSON value that begins at `at`; `None` where there is none, or no end.
fn value_end(json: &[u8], mut at: usize) -> Option<usize> {
    match json.get(at)? {
        b'"' => string_end(json, at),
        b'[' | b'{' => {
            let mut depth = 0usize;
            loop {
                match json.get(at)? {
                    b'"' => at = string_end(json, at)? - 1,
                    b'[' | b'{' => depth += 1,
                    b']' | b'}' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
        }
        b'-' | b'0'..=b'9' => Some(at + memchr3(b',', b'}', b']', &json[at..])?),
        _ => {
            let literals: [&[u8]; 3] = [b"null", b"true", b"false"];
            literals.iter().find(|literal| json[at..].starts_with(literal)).map(|literal| at + literal.len())
        }
    }
}

/// Returns the end of the JSON string that begins at `at`.
fn string_end(json: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        at += memchr2(b'"', b'\\', json.get(at..)?)?;
        match json[at] {
            b'"' => return Some(at + 1),
            _ => at += 2,
        }
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

    /// Returns PostgreSQL's text of the value, as its input functions take it, `None` for NULL. What cannot be borrowed from
    /// the message is written to `scratch`.
    pub fn to_postgres<'s>(self, kind: Kind, scratch: &'s mut Vec<u8>) -> Result<Option<&'s [u8]>, WireError>
    where
        'a: 's,
    {
        if self.is_null() {
            return Ok(None);
        }
        scratch.clear();
        match kind {
            Kind::Scalar(scalar) => return self.scalar_to_postgres(scalar, scratch).map(Some),
            Kind::Array { element, delimiter, written } => match self.as_str()? {
                Some(literal) if delimiter == written => scratch.extend_from_slice(literal.as_bytes()),
                Some(literal) => delimit(literal.as_bytes(), delimiter, written, scratch),
                None => self.array_to_postgres(element, written, scratch)?,
            },
        }
        Ok(Some(scratch))
    }

    fn scalar_to_postgres<'s>(self, scalar: Scalar, scratch: &'s mut Vec<u8>) -> Result<&'s [u8], WireError>
    where
        'a: 's,
    {
        let mismatch = |kind| WireError::Mismatch { kind };
        let text = match scalar {
            Scalar::Bool => {
                return match self.0 {
                    "true" => Ok(b"t"),
                    "false" => Ok(b"f"),
                    _ => Err(mismatch("boolean")),
                };
            }
            Scalar::Int | Scalar::Float => match self.as_str()? {
                Some(text) => text,
                None if self.0.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => Cow::Borrowed(self.0),
                None => return Err(mismatch("number")),
            },
            Scalar::Bytea => {
                let text = self.as_str()?.ok_or(mismatch("bytea"))?;
                let bytes = BASE64.decode(text.as_bytes()).map_err(|_| mismatch("bytea"))?;
                scratch.extend_from_slice(b"\\x");
                let start = scratch.len();
                scratch.resize(start + HEXLOWER.encode_len(bytes.len()), 0);
                HEXLOWER.encode_mut(&bytes, &mut scratch[start..]);
                return Ok(scratch);
            }
            Scalar::Timestamp | Scalar::TimestampTz | Scalar::Text => {
                self.as_str()?.ok_or(mismatch("text"))?
            }
        };
        Ok(match text {
            Cow::Borrowed(text) => text.as_bytes(),
            Cow::Owned(text) => {
                scratch.extend_from_slice(text.as_bytes());
                scratch
            }
        })
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
                let mut scratch = Vec::new();
                out.push(b'"');
                for &byte in value.scalar_to_postgres(element, &mut scratch)? {
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
