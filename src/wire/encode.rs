//! PostgreSQL text to JSON, value by value, exact.

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};

use super::WireError;
use crate::table::{Kind, Scalar};

/// Appends the JSON form of a value, given PostgreSQL's text of it under the settings of the tail's session.
pub fn encode_value(kind: Kind, text: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
    match kind {
        Kind::Scalar(scalar) => encode_scalar(scalar, text, out),
        Kind::Array { element, delimiter, .. } => encode_array(element, delimiter, text, out),
    }
}

fn encode_scalar(scalar: Scalar, text: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
    match scalar {
        Scalar::Bool => match text {
            b"t" => out.extend_from_slice(b"true"),
            b"f" => out.extend_from_slice(b"false"),
            _ => return Err(WireError::Text { kind: "boolean" }),
        },
        Scalar::Int => out.extend_from_slice(text),
        Scalar::Float => match text.last() {
            Some(b'0'..=b'9') => out.extend_from_slice(text),
            _ => encode_string(text, out),
        },
        Scalar::Timestamp => encode_timestamp(text, b"", out),
        Scalar::TimestampTz => encode_timestamp(text, b"+00", out),
        Scalar::Bytea => {
            let hex = text.strip_prefix(b"\\x").ok_or(WireError::Text { kind: "bytea" })?;
            let bytes = HEXLOWER_PERMISSIVE.decode(hex).map_err(|_| WireError::Text { kind: "bytea" })?;
            out.push(b'"');
            let start = out.len();
            out.resize(start + BASE64.encode_len(bytes.len()), 0);
            BASE64.encode_mut(&bytes, &mut out[start..]);
            out.push(b'"');
        }
        Scalar::Text => encode_string(text, out),
    }
    Ok(())
}

/// Writes `2026-11-21 09:00:00.5` as `2026-11-21T09:00:00.500000Z`; infinity, BC and years of more than four digits
/// stay as PostgreSQL writes them.
fn encode_timestamp(text: &[u8], zone: &[u8], out: &mut Vec<u8>) {
    let parts = text.strip_suffix(zone).filter(|plain| {
        plain.len() >= 19
            && plain[10] == b' '
            && plain[4] == b'-'
            && plain.last().is_some_and(u8::is_ascii_digit)
            && (plain.len() == 19 || plain[19] == b'.')
    });
    let Some(plain) = parts else { return encode_string(text, out) };
    out.push(b'"');
    out.extend_from_slice(&plain[..10]);
    out.push(b'T');
    out.extend_from_slice(&plain[11..19]);
    out.push(b'.');
    let fraction = plain.get(20..).unwrap_or_default();
    out.extend_from_slice(fraction);
    out.extend(std::iter::repeat_n(b'0', 6usize.saturating_sub(fraction.len())));
    out.extend_from_slice(b"Z\"");
}

/// Bytes that JSON wants escaped: 0 none, `u` as `\u00xx`, else the letter behind the backslash.
static ESCAPES: [u8; 256] = {
    let mut table = [0u8; 256];
    let mut i = 0;
    while i < 0x20 {
        table[i] = b'u';
        i += 1;
    }
    table[0x08] = b'b';
    table[0x09] = b't';
    table[0x0a] = b'n';
    table[0x0c] = b'f';
    table[0x0d] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
};

/// Tells whether every byte is `fine`. Looks at whole blocks, a few instructions for each: the usual text has no exception.
pub(crate) fn every(text: &[u8], fine: impl Fn(u8) -> bool + Copy) -> bool {
    let all = |block: &[u8]| block.iter().fold(true, |all, &byte| all & fine(byte));
    let mut blocks = text.chunks_exact(16);
    blocks.by_ref().all(all) && all(blocks.remainder())
}

/// Appends a JSON string.
pub fn encode_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    if every(text, |byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        out.extend_from_slice(text);
        out.push(b'"');
        return;
    }
    let mut start = 0;
    for (i, &byte) in text.iter().enumerate() {
        let escape = ESCAPES[byte as usize];
        if escape == 0 {
            continue;
        }
        out.extend_from_slice(&text[start..i]);
        start = i + 1;
        out.extend_from_slice(&[b'\\', escape]);
        if escape == b'u' {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(&[b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    out.extend_from_slice(&text[start..]);
    out.push(b'"');
}

/// Writes `{1,NULL,{…}}` as nested JSON arrays; a literal with explicit bounds (`[0:1]={…}`) as a string.
fn encode_array(element: Scalar, delimiter: u8, text: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
    if text.first() == Some(&b'[') {
        encode_string(text, out);
        return Ok(());
    }
    let bad = WireError::Text { kind: "array" };
    let mut item = Vec::new();
    let mut depth = 0usize;
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'{' => {
                out.push(b'[');
                depth += 1;
                at += 1;
            }
            b'}' => {
                out.push(b']');
                depth = depth.checked_sub(1).ok_or(WireError::Text { kind: "array" })?;
                at += 1;
            }
            byte if byte == delimiter => {
                out.push(b',');
                at += 1;
            }
            b'"' => {
                at = quoted_element(text, at + 1, &mut item).ok_or(WireError::Text { kind: "array" })?;
                encode_scalar(element, &item, out)?;
            }
            _ => {
                let end = text[at..].iter().position(|&b| b == delimiter || b == b'}');
                let end = at + end.ok_or(WireError::Text { kind: "array" })?;
                match &text[at..end] {
                    b"NULL" => out.extend_from_slice(b"null"),
                    plain => encode_scalar(element, plain, out)?,
                }
                at = end;
            }
        }
    }
    if depth == 0 && !text.is_empty() { Ok(()) } else { Err(bad) }
}

/// Reads a quoted element that starts at `at` (behind its quote) into `item`; returns where the text goes on.
fn quoted_element(text: &[u8], mut at: usize, item: &mut Vec<u8>) -> Option<usize> {
    item.clear();
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => {
                item.push(*text.get(at + 1)?);
                at += 2;
            }
            &byte => {
                item.push(byte);
                at += 1;
            }
        }
    }
}
