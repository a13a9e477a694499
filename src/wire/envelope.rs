//! The envelope of a data message (Debezium's form, without its schema) and the key beside it.

use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Field, WireError, encode_string, encode_value};
use crate::event::Op;
use crate::table::{Kind, Table};

/// What an envelope's `source` says beside the table: where and when the change was logged.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// Number of the log row.
    pub cdc_id: u64,
    /// Transaction that wrote it.
    pub txid: u64,
    /// Number of the pass that publishes it.
    pub pass: u64,
    /// The source's clock at capture, microseconds since 1970.
    pub at_micros: i64,
    /// The publisher's clock, milliseconds since 1970.
    pub now_millis: i64,
}

/// Writes keys and envelopes of one table, with all that never changes prepared.
#[derive(Debug, Clone)]
pub struct TableEncoder {
    /// Per column `"name":` with a comma before it (but for the first), and the kind.
    columns: Vec<(Vec<u8>, Kind)>,
    /// Per key column its index and the prepared name.
    key: Vec<(usize, Vec<u8>)>,
    /// The part of `source` that is the same for all messages of the table.
    source: Vec<u8>,
}

impl TableEncoder {
    /// Prepares the encoder of a table in database `db` for pipeline `pipeline`.
    pub fn new(table: &Table, pipeline: &str, db: &str) -> Self {
        let member = |first: bool, name: &str| {
            let mut out = if first { Vec::new() } else { vec![b','] };
            encode_string(name.as_bytes(), &mut out);
            out.push(b':');
            out
        };
        let columns = &table.columns;
        let keys = table.key_indexes();
        let mut source = Vec::new();
        for (name, value) in [
            (r#""version":"#, env!("CARGO_PKG_VERSION")),
            (r#","connector":"#, "tripline"),
            (r#","name":"#, pipeline),
            (r#","db":"#, db),
            (r#","schema":"#, &table.name.schema),
            (r#","table":"#, &table.name.name),
        ] {
            source.extend_from_slice(name.as_bytes());
            encode_string(value.as_bytes(), &mut source);
        }
        Self {
            columns: columns.iter().enumerate().map(|(i, c)| (member(i == 0, &c.name), c.kind())).collect(),
            key: keys.iter().enumerate().map(|(i, &k)| (k, member(i == 0, &columns[k].name))).collect(),
            source,
        }
    }

    /// Returns the number of columns that a log row of this table has.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// Appends the message key: the JSON object of the key columns; `{}` for a truncate.
    pub fn key(&self, op: Op, fields: &[Field<'_>], out: &mut Vec<u8>) -> Result<(), WireError> {
        out.push(b'{');
        if op != Op::Truncate {
            for (column, name) in &self.key {
                self.member(name, *column, fields, out)?;
            }
        }
        out.push(b'}');
        Ok(())
    }

    /// Appends the message value.
    pub fn value(
        &self,
        op: Op,
        fields: &[Field<'_>],
        at: Origin,
        out: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        out.extend_from_slice(br#"{"before":"#);
        match op {
            Op::Delete => self.key(op, fields, out)?,
            _ => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(br#","after":"#);
        match op {
            Op::Delete | Op::Truncate => out.extend_from_slice(b"null"),
            Op::Insert | Op::Update | Op::Read => self.row(fields, out)?,
        }
        out.extend_from_slice(br#","source":{"#);
        out.extend_from_slice(&self.source);
        out.extend_from_slice(match op {
            Op::Read => br#","snapshot":"true""#,
            _ => br#","snapshot":"false""#,
        });
        number(out, br#","ts_ms":"#, at.at_micros.div_euclid(1000));
        number(out, br#","sequence":"[\""#, at.pass as i64);
        number(out, br#"\",\""#, at.cdc_id as i64);
        number(out, br#"\"]","txId":"#, at.txid as i64);
        number(out, br#","cdc_id":"#, at.cdc_id as i64);
        out.extend_from_slice(br#"},"op":""#);
        out.push(op.to_wire() as u8);
        number(out, br#"","ts_ms":"#, at.now_millis);
        out.push(b'}');
        Ok(())
    }

    /// Appends the JSON object of a row.
    pub fn row(&self, fields: &[Field<'_>], out: &mut Vec<u8>) -> Result<(), WireError> {
        out.push(b'{');
        for (column, (name, _)) in self.columns.iter().enumerate() {
            self.member(name, column, fields, out)?;
        }
        out.push(b'}');
        Ok(())
    }

    fn member(
        &self,
        name: &[u8],
        column: usize,
        fields: &[Field<'_>],
        out: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        out.extend_from_slice(name);
        let wrong = WireError::Fields { expected: self.columns.len(), found: fields.len() };
        match fields.get(column).ok_or(wrong)?.text() {
            Some(text) => encode_value(self.columns[column].1, &text, out),
            None => {
                out.extend_from_slice(b"null");
                Ok(())
            }
        }
    }
}

fn number(out: &mut Vec<u8>, before: &[u8], value: i64) {
    out.extend_from_slice(before);
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// An envelope's parts that targets need, read without looking into the row.
#[derive(Debug, Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    before: Option<&'a RawValue>,
    #[serde(borrow)]
    after: Option<&'a RawValue>,
    #[serde(borrow)]
    op: &'a str,
}

/// Reads an envelope: its operation, and where in `value` the JSON object of the row stands.
pub fn split_envelope(value: &[u8]) -> Result<(Op, Range<usize>), WireError> {
    let envelope: Envelope<'_> = serde_json::from_slice(value).map_err(WireError::json("envelope"))?;
    let op = Op::from_wire(envelope.op).ok_or(WireError::Mismatch { kind: "op" })?;
    let row = match op {
        Op::Insert | Op::Update | Op::Read => envelope.after.ok_or(WireError::Mismatch { kind: "after" })?,
        Op::Delete => envelope.before.ok_or(WireError::Mismatch { kind: "before" })?,
        Op::Truncate => return Ok((op, 0..0)),
    };
    let start = row.get().as_ptr() as usize - value.as_ptr() as usize;
    Ok((op, start..start + row.get().len()))
}
