//! COPY text: one line a row, fields between tabs, `\N` for NULL, backslash escapes.

use std::borrow::Cow;

/// One field of a COPY line, still escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a>(pub &'a [u8]);

impl<'a> Field<'a> {
    /// Returns PostgreSQL's text of the value, `None` for NULL.
    pub fn text(self) -> Option<Cow<'a, [u8]>> {
        if self.0 == b"\\N" {
            return None;
        }
        Some(match memchr::memchr(b'\\', self.0) {
            None => Cow::Borrowed(self.0),
            Some(first) => Cow::Owned(unescape(self.0, first)),
        })
    }
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
}

impl<'a> Fields<'a> {
    /// Splits a line. A trailing newline is taken off.
    pub fn new(line: &'a [u8]) -> Self {
        Self { rest: Some(line.strip_suffix(b"\n").unwrap_or(line)) }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let rest = self.rest?;
        let field = match memchr::memchr(b'\t', rest) {
            Some(tab) => {
                self.rest = Some(&rest[tab + 1..]);
                &rest[..tab]
            }
            None => {
                self.rest = None;
                rest
            }
        };
        Some(Field(field))
    }
}
