//! Changes: what one log row says, on its way from the log table to the targets.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::table::Table;

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// The row came to be.
    Insert,
    /// The row has new values.
    Update,
    /// The row is gone.
    Delete,
    /// Every row of the table is gone.
    Truncate,
    /// The row as a snapshot read it.
    Read,
}

impl Op {
    /// Returns the operation of a log row's `cdc_op`: `I`, `U`, `D` or `T`.
    pub fn from_log(op: u8) -> Option<Self> {
        Some(match op {
            b'I' => Self::Insert,
            b'U' => Self::Update,
            b'D' => Self::Delete,
            b'T' => Self::Truncate,
            _ => return None,
        })
    }

    /// Returns the operation of an envelope's `op`: `c`, `u`, `d`, `t` or `r`.
    pub fn from_wire(op: &str) -> Option<Self> {
        Some(match op {
            "c" => Self::Insert,
            "u" => Self::Update,
            "d" => Self::Delete,
            "t" => Self::Truncate,
            "r" => Self::Read,
            _ => return None,
        })
    }

    /// Returns the letter that an envelope carries.
    pub fn to_wire(self) -> char {
        match self {
            Self::Insert => 'c',
            Self::Update => 'u',
            Self::Delete => 'd',
            Self::Truncate => 't',
            Self::Read => 'r',
        }
    }
}

/// One change as the consumer hands it to a target.
///
/// The row stays in the JSON of its message: [`crate::wire::Row`] reads the values. `Debug` prints no values.
#[derive(Clone)]
pub struct Change {
    /// Number of the log row.
    pub cdc_id: u64,
    /// The table, at the schema version that the message names.
    pub table: Arc<Table>,
    /// What happened.
    pub op: Op,
    /// Message key: the JSON object of the key columns. Equal keys are equal bytes.
    pub key: Box<[u8]>,
    /// Message value: the envelope.
    pub value: Box<[u8]>,
    /// Where in `value` the JSON object of the row stands: `after`, for a delete the key in `before`; empty for a
    /// truncate.
    pub row: Range<usize>,
}

impl Change {
    /// Returns the JSON object of the row (for a delete: of the key), empty for a truncate.
    pub fn row_json(&self) -> &[u8] {
        &self.value[self.row.clone()]
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change")
            .field("cdc_id", &self.cdc_id)
            .field("table", &self.table.name)
            .field("op", &self.op)
            .finish_non_exhaustive()
    }
}
