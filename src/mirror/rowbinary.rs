//! Values to ClickHouse's RowBinary, straight from the JSON of the message.
//!
//! A value is written exactly or refused, unless the column's policy lets something stand in for it; then the caller
//! is told so.

use data_encoding::BASE64;

use super::decimal;
use super::types::{Base, ColumnType};
use crate::config::OutOfRange;
use crate::table::{Kind, Scalar};
use crate::wire::{Value, WireError};

/// Why a value has no form in its column. Says what is wrong with it, never what it is.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cause {
    /// NULL where there is no room for it.
    #[error("the value is NULL")]
    Null,
    /// A date or time outside what `Date32` and `DateTime64` promise.
    #[error("the value lies outside the years 1900 to 2299")]
    Years,
    /// `infinity` in a date or time.
    #[error("the value is infinite")]
    Infinite,
    /// NaN or infinity in a numeric.
    #[error("the value is NaN or infinite")]
    NotFinite,
    /// Too many digits for the `Decimal`.
    #[error("the value has more digits than the type")]
    Digits,
    /// A number outside the integer type, or no number at all.
    #[error("the value is no number of this type")]
    NotANumber,
    /// An array in an array.
    #[error("the array has more than one dimension")]
    Dimensions,
    /// An array that does not begin at 1.
    #[error("the array has explicit bounds")]
    Bounds,
    /// Text that is not what the type on the source prints.
    #[error("the text of the value is not in the expected form")]
    Form,
    /// The message does not hold the column.
    #[error("the message does not hold the column")]
    Missing,
    /// Broken JSON.
    #[error(transparent)]
    Wire(#[from] WireError),
}

impl Cause {
    /// Tells whether the value is a good one that the type cannot hold: what policies are about.
    pub(super) fn is_range(&self) -> bool {
        matches!(self, Self::Years | Self::Infinite | Self::NotFinite | Self::Digits)
    }
}

/// Appends a value of a source column of kind `kind` to a column of type `ty`. Returns how many values `policy` let pass
/// that are not what the source holds.
pub(super) fn encode(
    ty: ColumnType,
    kind: Kind,
    value: Value<'_>,
    policy: OutOfRange,
    out: &mut Vec<u8>,
) -> Result<u64, Cause> {
    if value.is_null() {
        if !ty.nullable {
            return Err(Cause::Null);
        }
        out.push(1);
        return Ok(0);
    }
    match kind {
        Kind::Scalar(scalar) => encode_one(ty.base, ty.nullable, scalar, value, policy, out),
        Kind::Array { element, .. } if ty.array => encode_array(ty.base, element, value, policy, out),
        Kind::Array { .. } => {
            if ty.nullable {
                out.push(0);
            }
            encode_text(value, out).map(|()| 0)
        }
    }
}

/// Appends one value or element that is not NULL, or what `policy` puts in its place.
fn encode_one(
    base: Base,
    nullable: bool,
    scalar: Scalar,
    value: Value<'_>,
    policy: OutOfRange,
    out: &mut Vec<u8>,
) -> Result<u64, Cause> {
    let start = out.len();
    if nullable {
        out.push(0);
    }
    let value_at = out.len();
    match encode_base(base, scalar, value, out) {
        Ok(()) => Ok(0),
        Err(cause) if cause.is_range() && policy == OutOfRange::Null && nullable => {
            out.truncate(start);
            out.push(1);
            Ok(1)
        }
        Err(cause) if cause.is_range() && policy == OutOfRange::Clamp => {
            out.truncate(value_at);
            clamp(base, &value.as_str()?.ok_or(Cause::Form)?, cause, out)?;
            Ok(1)
        }
        Err(cause) => Err(cause),
    }
}

/// Appends the end of a type's range that is nearest to the value; NaN and lost digits have none.
fn clamp(base: Base, text: &str, cause: Cause, out: &mut Vec<u8>) -> Result<(), Cause> {
    // A year before 1900, BC among them, stands lower than any that is refused for being late.
    let year = || text.split('-').next().and_then(|year| year.parse::<u64>().ok());
    let low = text.starts_with('-') || text.ends_with("BC") || year().is_some_and(|year| year < 1900);
    match base {
        Base::Date32 => {
            out.extend_from_slice(&date(if low { b"1900-01-01" } else { b"2299-12-31" })?.to_le_bytes())
        }
        Base::DateTime64 => {
            let end: &[u8] =
                if low { b"1900-01-01T00:00:00.000000Z" } else { b"2299-12-31T23:59:59.999999Z" };
            out.extend_from_slice(&timestamp(end)?.to_le_bytes());
        }
        Base::Decimal { precision, scale } if text.ends_with("Infinity") => {
            let nines = |count: u8| "9".repeat(usize::from(count));
            let sign = if text.starts_with('-') { "-" } else { "" };
            let end = format!("{sign}0{}.{}", nines(precision - scale), nines(scale));
            decimal::encode(&end, precision, scale, out)?;
        }
        _ => return Err(cause),
    }
    Ok(())
}

/// Appends what a column of type `ty` holds in a row that is gone: NULL, or the type's default.
pub(super) fn encode_default(ty: ColumnType, out: &mut Vec<u8>) {
    let width = match ty.base {
        _ if ty.nullable => return out.push(1),
        _ if ty.array => 1,
        Base::String | Base::Bool => 1,
        Base::Int16 => 2,
        Base::Int32 | Base::UInt32 | Base::Float32 | Base::Date32 => 4,
        Base::Int64 | Base::Float64 | Base::DateTime64 => 8,
        Base::Uuid => 16,
        Base::Decimal { precision: ..=9, .. } => 4,
        Base::Decimal { precision: ..=18, .. } => 8,
        Base::Decimal { precision: ..=38, .. } => 16,
        Base::Decimal { .. } => 32,
    };
    out.resize(out.len() + width, 0);
}

/// Appends a length as RowBinary writes it: 7 bits a byte, lowest first.
pub(super) fn encode_len(mut len: usize, out: &mut Vec<u8>) {
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
}

/// Appends a string with its length.
pub(super) fn encode_str(text: &[u8], out: &mut Vec<u8>) {
    encode_len(text.len(), out);
    out.extend_from_slice(text);
}

fn encode_base(base: Base, scalar: Scalar, value: Value<'_>, out: &mut Vec<u8>) -> Result<(), Cause> {
    match base {
        Base::String if scalar == Scalar::Bytea => return encode_bytes(value, out),
        Base::String => return encode_text(value, out),
        Base::Int16 => out.extend_from_slice(&integer::<i16>(value)?.to_le_bytes()),
        Base::Int32 => out.extend_from_slice(&integer::<i32>(value)?.to_le_bytes()),
        Base::Int64 => out.extend_from_slice(&integer::<i64>(value)?.to_le_bytes()),
        Base::UInt32 => out.extend_from_slice(&integer::<u32>(value)?.to_le_bytes()),
        Base::Float32 => out.extend_from_slice(&float::<f32>(value)?.to_le_bytes()),
        Base::Float64 => out.extend_from_slice(&float::<f64>(value)?.to_le_bytes()),
        Base::Bool => out.push(match value.json() {
            "true" => 1,
            "false" => 0,
            _ => return Err(Cause::Form),
        }),
        Base::Decimal { precision, scale } => {
            let text = value.as_str()?.ok_or(Cause::Form)?;
            decimal::encode(&text, precision, scale, out)?;
        }
        Base::Date32 => {
            let text = value.as_str()?.ok_or(Cause::Form)?;
            out.extend_from_slice(&date(text.as_bytes())?.to_le_bytes());
        }
        Base::DateTime64 => {
            let text = value.as_str()?.ok_or(Cause::Form)?;
            out.extend_from_slice(&timestamp(text.as_bytes())?.to_le_bytes());
        }
        Base::Uuid => {
            let text = value.as_str()?.ok_or(Cause::Form)?;
            let uuid = uuid(text.as_bytes()).ok_or(Cause::Form)?;
            // Two 64-bit halves, the first one first, each of them little endian.
            out.extend_from_slice(&((uuid >> 64) as u64).to_le_bytes());
            out.extend_from_slice(&(uuid as u64).to_le_bytes());
        }
    }
    Ok(())
}

fn encode_array(
    base: Base,
    scalar: Scalar,
    value: Value<'_>,
    policy: OutOfRange,
    out: &mut Vec<u8>,
) -> Result<u64, Cause> {
    let elements = value.elements()?.ok_or(Cause::Bounds)?;
    let mut replaced = 0;
    encode_len(elements.len(), out);
    for element in elements {
        if element.is_null() {
            out.push(1);
        } else if element.json().starts_with('[') {
            return Err(Cause::Dimensions);
        } else {
            replaced += encode_one(base, true, scalar, element, policy, out)?;
        }
    }
    Ok(replaced)
}

/// Appends the content of a JSON string, or the JSON itself where it is none: numbers, booleans, arrays.
fn encode_text(value: Value<'_>, out: &mut Vec<u8>) -> Result<(), Cause> {
    match value.as_str()? {
        Some(text) => encode_str(text.as_bytes(), out),
        None => encode_str(value.json().as_bytes(), out),
    }
    Ok(())
}

/// Appends the bytes that stand in base64.
fn encode_bytes(value: Value<'_>, out: &mut Vec<u8>) -> Result<(), Cause> {
    let text = value.as_str()?.ok_or(Cause::Form)?;
    let padding = text.bytes().rev().take_while(|&byte| byte == b'=').count();
    let room = BASE64.decode_len(text.len()).map_err(|_| Cause::Form)?;
    let len = room.checked_sub(padding).ok_or(Cause::Form)?;
    encode_len(len, out);
    let start = out.len();
    out.resize(start + room, 0);
    let decoded = BASE64.decode_mut(text.as_bytes(), &mut out[start..]).map_err(|_| Cause::Form)?;
    out.truncate(start + decoded);
    if decoded == len { Ok(()) } else { Err(Cause::Form) }
}

fn integer<T: std::str::FromStr>(value: Value<'_>) -> Result<T, Cause> {
    value.json().parse().map_err(|_| Cause::NotANumber)
}

/// Reads a JSON number, or NaN and the infinities, which travel as strings.
fn float<T: std::str::FromStr>(value: Value<'_>) -> Result<T, Cause> {
    let parsed = match value.as_str()? {
        Some(text) => text.parse(),
        None => value.json().parse(),
    };
    parsed.map_err(|_| Cause::NotANumber)
}

/// What stands where a plain date should: `infinity`, a BC date, a year of five digits, or nonsense.
fn unusual(text: &[u8]) -> Cause {
    match text {
        b"infinity" | b"-infinity" => Cause::Infinite,
        [b'0'..=b'9', ..] => Cause::Years,
        _ => Cause::Form,
    }
}

/// Reads `2026-11-21`: days since 1970.
fn date(text: &[u8]) -> Result<i32, Cause> {
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1] = *text else { return Err(unusual(text)) };
    let (Some(year), Some(month), Some(day)) =
        (number(&[y0, y1, y2, y3]), number(&[m0, m1]), number(&[d0, d1]))
    else {
        return Err(unusual(text));
    };
    if !(1900..=2299).contains(&year) {
        return Err(Cause::Years);
    }
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return Err(Cause::Form);
    }
    // Years begin in March, so that the leap day is the last one (Howard Hinnant's days_from_civil).
    let shifted = if month > 2 { year } else { year - 1 };
    let (era, of_era) = (shifted / 400, shifted % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Ok((era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year) as i32 - 719_468)
}

/// Reads `2026-11-21T09:00:00.500000Z`: microseconds since 1970.
fn timestamp(text: &[u8]) -> Result<i64, Cause> {
    let [day @ .., b'T', h0, h1, b':', m0, m1, b':', s0, s1, b'.', f0, f1, f2, f3, f4, f5, b'Z'] = text
    else {
        return Err(unusual(text));
    };
    let days = date(day)?;
    let fields = (
        number(&[*h0, *h1]),
        number(&[*m0, *m1]),
        number(&[*s0, *s1]),
        number(&[*f0, *f1, *f2, *f3, *f4, *f5]),
    );
    let (Some(hours), Some(minutes), Some(seconds), Some(micros)) = fields else { return Err(Cause::Form) };
    if hours > 23 || minutes > 59 || seconds > 59 {
        return Err(Cause::Form);
    }
    let of_day = i64::from(hours * 3600 + minutes * 60 + seconds);
    Ok((i64::from(days) * 86_400 + of_day) * 1_000_000 + i64::from(micros))
}

/// Reads up to six decimal digits.
fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |sum, &byte| byte.is_ascii_digit().then(|| sum * 10 + u32::from(byte - b'0')))
}

/// Reads `00112233-4455-6677-8899-aabbccddeeff`.
fn uuid(text: &[u8]) -> Option<u128> {
    if text.len() != 36 {
        return None;
    }
    text.iter().enumerate().try_fold(0u128, |sum, (at, &byte)| match at {
        8 | 13 | 18 | 23 => (byte == b'-').then_some(sum),
        _ => Some(sum << 4 | u128::from(char::from(byte).to_digit(16)?)),
    })
}

#[cfg(test)]
mod tests;
