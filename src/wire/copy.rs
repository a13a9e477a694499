//! COPY text: one line a row, fields between tabs, `\N` for NULL, backslash escapes.

use std::borrow::Cow;

use bytes::BufMut;

/// One field of a COPY line, still escaped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Field<'a> {
    raw: &'a [u8],
    /// Somewhere in its line is a backslash.
    escapes: bool,
}

impl<'a> Field<'a> {
    /// Returns the field as it stands in the line.
    pub fn raw(self) -> &'a [u8] {
        self.raw
    }

    /// Returns PostgreSQL's text of the value, `None` for NULL.
    pub fn text(self) -> Option<Cow<'a, [u8]>> {
        if !self.escapes {
            return Some(Cow::Borrowed(self.raw));
        }
        if self.raw == b"\\N" {
            return None;
        }
        Some(match memchr::memchr(b'\\', self.raw) {
            None => Cow::Borrowed(self.raw),
            Some(first) => Cow::Owned(unescape(self.raw, first)),
        })
    }
}

/// Appends a text with the escapes that a reader of COPY text undoes.
pub(crate) fn escape_copy(text: &[u8], out: &mut impl BufMut) {
    let mut start = 0;
    for (i, &byte) in text.iter().enumerate() {
        let letter = match byte {
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            _ => continue,
        };
        out.put_slice(&text[start..i]);
        out.put_slice(&[b'\\', letter]);
        start = i + 1;
    }
    out.put_slice(&text[start..]);
}

fn unescape(raw: &[u8], first: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(raw.len());
    text.extend_from_slice(&raw[..first]);
    let mut bytes = raw[first..].iter();
    while let Some(&byte) = bytes.next() {
        if byte != b'\\' {
            text.push(byte);
            continue;
        }
        text.extend(bytes.next().map(|&escaped| match escaped {
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 0x0b,
            other => other,
        }));
    }
    text
}

/// The fields of one COPY line, without its newline.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: Option<&'a [u8]>,
    escapes: bool,
}

impl<'a> Fields<'a> {
    /// Splits a line. A trailing newline is taken off.
    pub fn new(line: &'a [u8]) -> Self {
        let escapes = memchr::memchr(b'\\', line).is_some();
        Self { rest: Some(line.strip_suffix(b"\n").unwrap_or(line)), escapes }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let rest = self.rest?;
        let raw = match memchr::memchr(b'\t', rest) {
            Some(tab) => {
                self.rest = Some(&rest[tab + 1..]);
                &rest[..tab]
            }
            None => {
                self.rest = None;
                rest
            }
        };
        Some(Field { raw, escapes: self.escapes })
    }
}
