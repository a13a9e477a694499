//! Changes: what one log row says, on its way from the log table to the targets.

use std::fmt;
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
    images: Images,
}

impl Change {
    /// Puts a change together.
    pub fn new(cdc_id: u64, table: Arc<Table>, op: Op, images: Images) -> Self {
        Self { cdc_id, table, op, images }
    }

    /// Returns the message key: the JSON object of the key columns. Equal keys are equal bytes.
    pub fn key(&self) -> &[u8] {
        &self.images.bytes[..self.images.key]
    }

    /// Returns the JSON object of the row (for a delete: of the key), empty for a truncate.
    pub fn row_json(&self) -> &[u8] {
        &self.images.bytes[self.images.key..]
    }

    /// Returns the bytes of key and row together.
    pub fn bytes(&self) -> usize {
        self.images.bytes.len()
    }
}

/// Key and row of a change in one piece of memory: what is kept of a message. `Debug` prints no values.
#[derive(Clone)]
pub struct Images {
    bytes: Box<[u8]>,
    /// Where the row begins.
    key: usize,
}

impl Images {
    /// Copies the message's key, and of its value the JSON object of the row: `after`, for a delete the key in `before`;
    /// nothing for a truncate.
    pub fn new(key: &[u8], row: &[u8]) -> Self {
        Self { bytes: [key, row].concat().into(), key: key.len() }
    }
}

impl fmt::Debug for Images {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Images").finish_non_exhaustive()
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
