//! Windows: rows of the log, encoded as messages while they are read.

use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;
use time::{Date, Month};

use crate::event::Op;
use crate::position::{Position, Snapshot};
use crate::wire::{Field, Fields, Origin, WireError};

use super::{LogTable, TailError};

/// One message, ready to be sent: where its key and value stand in [`Window::bytes`].
#[derive(Debug, Clone)]
pub struct Message {
    /// Index of the table in [`Window::tables`].
    pub table: usize,
    /// Number of the log row.
    pub cdc_id: u64,
    /// Transaction that wrote the log row.
    pub txid: u64,
    /// When it was logged, microseconds since 1970.
    pub at_micros: i64,
    /// What happened.
    pub op: Op,
    /// The key.
    pub key: Range<usize>,
    /// The value.
    pub value: Range<usize>,
}

/// One part of a pass: what is published together. `Debug` prints no row values.
#[derive(Clone)]
pub struct Window {
    /// Number of the pass.
    pub pass: u64,
    /// Number of this part, from 0.
    pub part: u32,
    /// True for the last part of the pass.
    pub done: bool,
    /// Where the pipeline stands once this part is published.
    pub position: Position,
    /// Snapshot T of the pass.
    pub until: Snapshot,
    /// The source's clock when this window was opened, microseconds since 1970.
    pub source_micros: i64,
    /// The tables that [`Message::table`] counts.
    pub tables: Arc<Vec<LogTable>>,
    /// The messages in `cdc_id` order.
    pub messages: Vec<Message>,
    /// Keys and values, one behind the other.
    pub bytes: Vec<u8>,
    /// The chunk of existing rows that the messages end with, [`Op::Read`] each.
    pub chunk: Option<ReadChunk>,
}

/// A chunk of a table's existing rows, as snapshot T of the pass shows them.
#[derive(Debug, Clone, Copy)]
pub struct ReadChunk {
    /// Number of the request.
    pub run: u64,
    /// Index of the table in [`Window::tables`].
    pub table: usize,
    /// The first chunk of the request.
    pub begins: bool,
    /// The last one.
    pub ends: bool,
    /// Rows that no chunk and no change names are to be removed behind the last one.
    pub sweeps: bool,
}

impl std::fmt::Debug for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Window")
            .field("pass", &self.pass)
            .field("part", &self.part)
            .field("done", &self.done)
            .field("messages", &self.messages.len())
            .finish_non_exhaustive()
    }
}

/// Fields in front of the table's own: cdc_id, table index, cdc_txid, cdc_op, cdc_at.
const META: usize = 5;

/// The columns of a row; those of most tables fit where no memory has to be asked for.
type Columns<'a> = SmallVec<[Field<'a>; 32]>;

/// Collects COPY lines as messages.
#[derive(Debug)]
pub(super) struct WindowBuilder {
    pub(super) tables: Arc<Vec<LogTable>>,
    pub(super) pass: u64,
    pub(super) now_millis: i64,
    pub(super) messages: Vec<Message>,
    pub(super) bytes: Vec<u8>,
}

impl WindowBuilder {
    /// Encodes one line; returns its `cdc_id`.
    pub(super) fn push(&mut self, line: &[u8]) -> Result<u64, TailError> {
        let mut fields = Fields::new(line);
        let mut meta = [Field::default(); META];
        for field in &mut meta {
            *field = fields.next().ok_or_else(|| TailError::Line)?;
        }
        let cdc_id = number(meta[0])?;
        let index = number(meta[1])? as usize;
        let txid = number(meta[2])?;
        let op = meta[3].raw().first().and_then(|&op| Op::from_log(op));
        let at_micros = micros(meta[4].raw());
        let table = self.tables.get(index).ok_or_else(|| TailError::Line)?;
        let wrong = |source: WireError| TailError::Row { table: table.table.name.clone(), cdc_id, source };
        let (Some(op), Some(at_micros)) = (op, at_micros) else {
            return Err(wrong(WireError::Text { kind: "cdc_op or cdc_at" }));
        };
        if table.table.is_append_only() && matches!(op, Op::Update | Op::Delete) {
            return Err(TailError::NotAppended { table: table.table.name.clone(), cdc_id });
        }
        let columns: Columns<'_> = fields.take(table.encoder.width()).collect();
        let origin = Origin { cdc_id, txid, pass: self.pass, at_micros, now_millis: self.now_millis };
        self.add(index, op, line, &columns, origin)?;
        Ok(cdc_id)
    }

    /// Encodes one line of a table's existing rows.
    pub(super) fn push_read(
        &mut self,
        index: usize,
        line: &[u8],
        version: u64,
        at_micros: i64,
    ) -> Result<(), TailError> {
        // Behind the row may stand what the next chunk goes on from.
        let columns: Columns<'_> = Fields::new(line).take(self.tables[index].encoder.width()).collect();
        let (txid, now_millis) = (0, self.now_millis);
        let origin = Origin { cdc_id: version, txid, pass: self.pass, at_micros, now_millis };
        self.add(index, Op::Read, line, &columns, origin)
    }

    /// Says which row and column a field that is not UTF-8 belongs to, by the numbers in front of the row.
    pub(super) fn not_utf8(&self, cdc_id: Option<u64>, index: Option<u64>, field: usize) -> TailError {
        let table = index.and_then(|index| self.tables.get(index as usize));
        let (Some(cdc_id), Some(table)) = (cdc_id, table) else { return TailError::Line };
        let column = field.checked_sub(META).and_then(|column| table.table.columns.get(column));
        let column = column.map(|column| column.name.clone()).unwrap_or_default();
        TailError::Row { table: table.table.name.clone(), cdc_id, source: WireError::Encoding { column } }
    }

    /// Encodes the columns of `line`.
    fn add(
        &mut self,
        index: usize,
        op: Op,
        line: &[u8],
        columns: &[Field<'_>],
        origin: Origin,
    ) -> Result<(), TailError> {
        let Origin { cdc_id, txid, at_micros, .. } = origin;
        let table = &self.tables[index];
        let wrong = |source: WireError| TailError::Row { table: table.table.name.clone(), cdc_id, source };
        if std::str::from_utf8(line).is_err() {
            let broken =
                |field: &Field<'_>| field.text().is_some_and(|text| std::str::from_utf8(&text).is_err());
            let at = columns.iter().position(broken).and_then(|at| table.table.columns.get(at));
            let column = at.map(|column| column.name.clone()).unwrap_or_default();
            return Err(wrong(WireError::Encoding { column }));
        }
        let start = self.bytes.len();
        table.encoder.key(op, columns, cdc_id, &mut self.bytes).map_err(wrong)?;
        let middle = self.bytes.len();
        table.encoder.value(op, columns, origin, &mut self.bytes).map_err(wrong)?;
        let (key, value) = (start..middle, middle..self.bytes.len());
        self.messages.push(Message { table: index, cdc_id, txid, at_micros, op, key, value });
        Ok(())
    }
}

fn number(field: Field<'_>) -> Result<u64, TailError> {
    let text = std::str::from_utf8(field.raw()).ok();
    text.and_then(|text| text.parse().ok()).ok_or_else(|| TailError::Line)
}

/// Reads `2026-11-21 09:00:00.123456+00` as microseconds since 1970.
fn micros(text: &[u8]) -> Option<i64> {
    let digits = |range: Range<usize>| -> Option<i64> {
        text.get(range)?
            .iter()
            .try_fold(0i64, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
    };
    let month = Month::try_from(digits(5..7)? as u8).ok()?;
    let date = Date::from_calendar_date(digits(0..4)? as i32, month, digits(8..10)? as u8).ok()?;
    let days = i64::from(date.to_julian_day()) - 2_440_588;
    let seconds = days * 86_400 + digits(11..13)? * 3_600 + digits(14..16)? * 60 + digits(17..19)?;
    let fraction = match text.get(19) {
        Some(b'.') => text[20..].iter().take_while(|b| b.is_ascii_digit()).count(),
        _ => 0,
    };
    let mut micros = if fraction > 0 { digits(20..20 + fraction)? } else { 0 };
    for _ in fraction..6 {
        micros *= 10;
    }
    Some(seconds * 1_000_000 + micros)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Table, TableName};
    use crate::wire::TableEncoder;

    fn builder(key: &[&str]) -> WindowBuilder {
        let column = |name: &str| crate::table::Column::new(name, "text", "text");
        let name = TableName::new("public", "t");
        let columns = vec![column("id"), column("body")];
        let key = key.iter().map(|key| (*key).to_owned()).collect();
        let table = Table { name, version: 1, columns, key, relation: 0 };
        let log_table = TableName::new("cdc", "t_cdc");
        let encoder = TableEncoder::new(&table, "shop", "shop");
        let tables =
            Arc::new(vec![LogTable { table, log_table, rows: crate::capture::LogRows::default(), encoder }]);
        WindowBuilder { tables, pass: 1, now_millis: 0, messages: Vec::new(), bytes: Vec::new() }
    }

    #[test]
    fn what_is_no_insert_halts_a_table_without_a_key() {
        for (op, halts) in [("I", false), ("T", false), ("U", true), ("D", true)] {
            let line = format!("7\t0\t1\t{op}\t2026-11-21 09:00:00+00\t1\ta");
            assert!(builder(&["id"]).push(line.as_bytes()).is_ok(), "{op}");
            let pushed = builder(&[]).push(line.as_bytes());
            let halted =
                matches!(&pushed, Err(TailError::NotAppended { cdc_id: 7, table }) if table.name == "t");
            assert_eq!((halted, pushed.is_err()), (halts, halts), "{op}");
        }
    }

    #[test]
    fn bytes_that_are_no_utf8_are_refused_by_column() {
        let mut builder = builder(&["id"]);
        assert_eq!(builder.push("7\t0\t1\tI\t2026-11-21 09:00:00+00\t1\tä".as_bytes()).unwrap(), 7);
        let error = builder.push(b"8\t0\t1\tI\t2026-11-21 09:00:00+00\t1\t\xe4").unwrap_err();
        let wrong = |source: &WireError| matches!(source, WireError::Encoding { column } if column == "body");
        assert!(matches!(&error, TailError::Row { cdc_id: 8, source, .. } if wrong(source)), "{error:?}");
        let error = builder.not_utf8(Some(8), Some(0), META + 1);
        assert!(matches!(&error, TailError::Row { cdc_id: 8, source, .. } if wrong(source)), "{error:?}");
        assert!(matches!(builder.not_utf8(None, Some(0), 0), TailError::Line));
    }

    #[test]
    fn timestamps_of_the_log_are_microseconds() {
        assert_eq!(micros(b"1970-01-01 00:00:00+00"), Some(0));
        assert_eq!(micros(b"2026-11-21 09:00:00.5+00"), Some(1_795_251_600_500_000));
        assert_eq!(micros(b"infinity"), None);
    }
}
