//! The bytes of the offset file. Pure: no I/O.
//!
//! The file is JSON, but it is read as bytes of one fixed form around the state:
//!
//! ```text
//! {
//!   "crc32c": "<8 lower-case hexadecimal digits>",
//!   "state": <the state, indented>
//! }
//! ```
//!
//! Everything around the state is compared byte for byte, the digits too (so an `a` that became an `A` is seen), and
//! the digits are the CRC-32C of the state's bytes as they stand, which notices every single flipped bit. A JSON
//! reader that skips white space or folds escapes would not.

use serde::Deserialize;

use super::{FORMAT, Stored};

const HEAD: &[u8] = b"{\n  \"crc32c\": \"";
const MIDDLE: &[u8] = b"\",\n  \"state\": ";
const TAIL: &[u8] = b"\n}\n";
const DIGITS: usize = 8;

/// What is wrong with the bytes of an offset file.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// There are none.
    #[error("it is empty")]
    Empty,
    /// They do not have the form that is written: cut off, edited, or something else altogether.
    #[error("its {bytes} bytes do not have the form of an offset file (cut off or edited)")]
    Form {
        /// How many bytes there are.
        bytes: usize,
    },
    /// The state does not have the checksum that stands before it.
    #[error("its checksum says {written}, its contents have {computed}")]
    Checksum {
        /// The checksum in the file.
        written: String,
        /// The checksum of the contents.
        computed: String,
    },
    /// The checksum is right, but the state does not read as one.
    #[error("its checksum is right, but its contents do not read: {0}")]
    State(serde_json::Error),
}

/// Why bytes do not decode.
#[derive(Debug)]
pub(super) enum Undecodable {
    /// They are not what was written.
    Damaged(Damage),
    /// They are intact and of this format, which is not ours.
    Version(u32),
}

/// Writes the file's bytes.
pub(super) fn encode(stored: &Stored) -> Result<Vec<u8>, serde_json::Error> {
    // Strings hold no raw line feeds in JSON, so all of these are layout.
    let state = serde_json::to_string_pretty(stored)?.replace('\n', "\n  ");
    let crc = checksum(state.as_bytes());
    Ok([HEAD, crc.as_bytes(), MIDDLE, state.as_bytes(), TAIL].concat())
}

/// Reads the file's bytes back; refuses whatever [`encode`] cannot have written.
pub(super) fn decode(bytes: &[u8]) -> Result<Stored, Undecodable> {
    if bytes.is_empty() {
        return Err(Undecodable::Damaged(Damage::Empty));
    }
    let (written, state) = split(bytes).ok_or(Undecodable::Damaged(Damage::Form { bytes: bytes.len() }))?;
    let computed = checksum(state);
    if written != computed.as_bytes() {
        let written = written.escape_ascii().to_string();
        return Err(Undecodable::Damaged(Damage::Checksum { written, computed }));
    }
    let unreadable = |error| Undecodable::Damaged(Damage::State(error));
    let version: Version = serde_json::from_slice(state).map_err(unreadable)?;
    if version.format != FORMAT {
        return Err(Undecodable::Version(version.format));
    }
    serde_json::from_slice(state).map_err(unreadable)
}

/// The one member that every format has: it is read before the rest.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

/// Splits the file into checksum and state.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (written, rest) = bytes.strip_prefix(HEAD)?.split_at_checked(DIGITS)?;
    Some((written, rest.strip_prefix(MIDDLE)?.strip_suffix(TAIL)?))
}

fn checksum(state: &[u8]) -> String {
    format!("{:08x}", crc32c::crc32c(state))
}
