//! Formats on the wire: COPY text from the log tables, JSON on the topics, PostgreSQL's text again at the targets.
//!
//! Everything here is pure: bytes in, bytes out. PostgreSQL is the codec; JSON only carries its text.

mod copy;
mod encode;
mod decode;
mod envelope;
mod cut;
mod topics;

pub(crate) use copy::escape_copy;
pub use copy::{Field, Fields};
pub use cut::{CUT_FORMAT, Chunk, Cut, NoCut, Range, Step};
pub use decode::{Row, Value};
pub(crate) use encode::every;
pub use encode::{encode_string, encode_value};
pub use envelope::{Envelope, Origin, Stamp, TableEncoder};
pub use topics::{cuts_topic, data_topic, schemas_topic};

/// A value or message that does not have the form it should have. Never prints the value itself.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// PostgreSQL's text of a value is not as expected.
    #[error("the text of a {kind} value is not in the expected form")]
    Text {
        /// What it was read as.
        kind: &'static str,
    },
    /// A value is not UTF-8, which JSON has to be: PostgreSQL checks neither `"char"` nor databases without an encoding.
    #[error(
        "column \"{column}\" holds bytes that are not UTF-8; correct the value and write the row again, or leave the \
         table out"
    )]
    Encoding {
        /// The column.
        column: String,
    },
    /// A COPY line has too few or too many fields.
    #[error("a row of the log has {found} fields instead of {expected}")]
    Fields {
        /// Fields that the query selects.
        expected: usize,
        /// Fields that came.
        found: usize,
    },
    /// A JSON document could not be read. The cause names line and column, not content.
    #[error("not the JSON that tripline writes ({what}), at column {column}")]
    Json {
        /// What was being read.
        what: &'static str,
        /// Where it stopped.
        column: usize,
    },
    /// A value has a JSON type that its column cannot have.
    #[error("a {kind} column cannot hold this kind of JSON value")]
    Mismatch {
        /// What the column is.
        kind: &'static str,
    },
}

impl WireError {
    fn json(what: &'static str) -> impl Fn(serde_json::Error) -> Self {
        move |error| Self::Json { what, column: error.column() }
    }
}

#[cfg(test)]
mod tests;
