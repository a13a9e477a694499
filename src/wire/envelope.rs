//! The envelope of a data message (Debezium's form, without its schema) and the key beside it.

use std::ops::Range;

use memchr::memrchr_iter;

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

    /// Appends the message key: the JSON object of the key columns, or of the `cdc_id` where there are none; `{}` for a
    /// truncate.
    pub fn key(&self, op: Op, fields: &[Field<'_>], cdc_id: u64, out: &mut Vec<u8>) -> Result<(), WireError> {
        out.push(b'{');
        if op != Op::Truncate {
            if self.key.is_empty() {
                number(out, br#""cdc_id":"#, cdc_id as i64);
            }
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
            Op::Delete => self.key(op, fields, at.cdc_id, out)?,
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

/// What the publisher puts in front of an envelope: which record of the cuts topic has to name the message, or it does
/// not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Of the publisher.
    pub epoch: u64,
    /// Number of the pass.
    pub pass: u64,
    /// Number of the part inside the pass.
    pub part: u32,
    /// Schema version of the table.
    pub version: u32,
}

impl Stamp {
    /// Returns the beginning of an envelope; what stands behind the brace of an envelope without a stamp follows.
    pub fn prefix(&self) -> Vec<u8> {
        let Self { epoch, pass, part, version } = self;
        format!(r#"{{"cut":{{"epoch":{epoch},"pass":{pass},"part":{part},"schema_version":{version}}},"#)
            .into()
    }
}

/// An envelope, read without looking into the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// `None` before it is published.
    pub stamp: Option<Stamp>,
    /// Number of the log row.
    pub cdc_id: u64,
    /// What happened.
    pub op: Op,
    /// Where in the value the JSON object of the row stands, for a delete that of its key; empty for a truncate.
    pub row: Range<usize>,
}

impl Envelope {
    /// Reads what [`TableEncoder::value`] wrote, with a stamp in front of it or without. `None` where it is anything else:
    /// the members stand in one order and nothing stands between them.
    ///
    /// The row is not looked at. Quotes inside JSON strings are escaped, so a member's name with its quotes cannot stand
    /// inside a value.
    pub fn read(value: &[u8]) -> Option<Self> {
        let mut front = Reader(value.strip_prefix(b"{")?);
        let stamp = front.stamp();
        let images = value.len() - front.0.len();
        let origin = images + rfind_object(front.0, br#","source":"#)?;
        let mut back = Reader(&value[origin..]);
        let members = memrchr_iter(b',', back.0).find(|&at| back.0[at..].starts_with(br#","cdc_id":"#))?;
        back.0 = &back.0[members..];
        back.literal(br#","cdc_id":"#)?;
        let cdc_id = back.number()?;
        back.literal(br#"},"op":""#)?;
        let op = Op::from_wire(std::str::from_utf8(back.0.get(..1)?).ok()?)?;
        back.0 = &back.0[1..];
        back.literal(br#"","ts_ms":"#)?;
        back.digits(true)?;
        let (before, after): (&[u8], &[u8]) = match op {
            Op::Delete => (br#""before":"#, br#","after":null"#),
            _ => (br#""before":null,"after":"#, b""),
        };
        let row = value[images..origin].strip_prefix(before)?.strip_suffix(after)?;
        let start = images + before.len();
        let (row, complete) = match op {
            Op::Truncate => (0..0, row == b"null"),
            _ => (start..start + row.len(), row.starts_with(b"{") && row.ends_with(b"}")),
        };
        (complete && back.0 == b"}").then_some(Self { stamp, cdc_id, op, row })
    }
}

/// Returns where the last `name` with an object behind it begins.
fn rfind_object(text: &[u8], name: &[u8]) -> Option<usize> {
    let mut braces = memrchr_iter(b'{', text);
    braces.find_map(|brace| brace.checked_sub(name.len()).filter(|&at| text[at..brace] == *name))
}

/// Takes what is expected off the front.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn literal(&mut self, text: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(text)?;
        Some(())
    }

    fn digits(&mut self, signed: bool) -> Option<&str> {
        let sign = usize::from(signed && self.0.first() == Some(&b'-'));
        let digits = self.0[sign..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (text, rest) = self.0.split_at(sign + digits);
        self.0 = rest;
        if digits > 0 { std::str::from_utf8(text).ok() } else { None }
    }

    fn number<N: std::str::FromStr>(&mut self) -> Option<N> {
        self.digits(false)?.parse().ok()
    }

    /// Takes a stamp off, where there is one.
    fn stamp(&mut self) -> Option<Stamp> {
        let mut rest = Reader(self.0);
        rest.literal(br#""cut":{"epoch":"#)?;
        let epoch = rest.number()?;
        rest.literal(br#","pass":"#)?;
        let pass = rest.number()?;
        rest.literal(br#","part":"#)?;
        let part = rest.number()?;
        rest.literal(br#","schema_version":"#)?;
        let version = rest.number()?;
        rest.literal(b"},")?;
        self.0 = rest.0;
        Some(Stamp { epoch, pass, part, version })
    }
}
