//! Decimal text to ClickHouse's fixed-point integers: 4, 8, 16 or 32 bytes, little endian, two's complement.

use super::rowbinary::Cause;

/// Appends PostgreSQL's text of a numeric as `Decimal(precision, scale)`, exactly or not at all.
pub(super) fn encode(text: &str, precision: u8, scale: u8, out: &mut Vec<u8>) -> Result<(), Cause> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(unsigned) => (true, unsigned),
        None => (false, text),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return Err(match unsigned {
            "NaN" | "Infinity" => Cause::NotFinite,
            _ => Cause::NotANumber,
        });
    }
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    let (precision, scale) = (usize::from(precision), usize::from(scale));
    if whole.len() + scale > precision || fraction.len() > scale {
        return Err(Cause::Digits);
    }
    let zeros = std::iter::repeat_n(b'0', scale - fraction.len());
    let digits = whole.bytes().chain(fraction.bytes()).chain(zeros).map(|byte| byte - b'0');
    if precision <= 38 {
        let magnitude = digits.fold(0i128, |sum, digit| sum * 10 + i128::from(digit));
        let value = if negative { -magnitude } else { magnitude };
        let width = match precision {
            0..=9 => 4,
            10..=18 => 8,
            _ => 16,
        };
        out.extend_from_slice(&value.to_le_bytes()[..width]);
    } else {
        for limb in wide(digits, negative) {
            out.extend_from_slice(&limb.to_le_bytes());
        }
    }
    Ok(())
}

/// Returns up to 76 digits as four 64-bit limbs, lowest first.
fn wide(digits: impl Iterator<Item = u8>, negative: bool) -> [u64; 4] {
    let mut limbs = [0u64; 4];
    for digit in digits {
        let mut carry = u128::from(digit);
        for limb in &mut limbs {
            let sum = u128::from(*limb) * 10 + carry;
            *limb = sum as u64;
            carry = sum >> 64;
        }
    }
    if negative {
        let mut carry = true;
        for limb in &mut limbs {
            (*limb, carry) = (!*limb).overflowing_add(u64::from(carry));
        }
    }
    limbs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(text: &str, precision: u8, scale: u8) -> Result<Vec<u8>, Cause> {
        let mut out = Vec::new();
        encode(text, precision, scale, &mut out).map(|()| out)
    }

    #[test]
    fn every_width_is_exact() {
        assert_eq!(bytes("-1.5", 9, 2).unwrap(), (-150i32).to_le_bytes());
        assert_eq!(bytes("123456789012345678", 18, 0).unwrap(), 123_456_789_012_345_678i64.to_le_bytes());
        let nines = "9".repeat(38);
        assert_eq!(bytes(&nines, 38, 0).unwrap(), (10i128.pow(38) - 1).to_le_bytes());
        assert_eq!(bytes("0.00", 76, 3).unwrap(), [0; 32]);
        assert_eq!(bytes("-0.001", 76, 3).unwrap(), [0xff; 32]);
        assert_eq!(bytes("0.00001", 5, 5).unwrap(), 1i32.to_le_bytes());
    }

    #[test]
    fn seventy_six_digits_are_the_negation_of_each_other() {
        let nines = "9".repeat(76);
        let (plus, minus) = (bytes(&nines, 76, 0).unwrap(), bytes(&format!("-{nines}"), 76, 0).unwrap());
        let sum = plus.iter().zip(&minus).fold((0u16, true), |(carry, zero), (a, b)| {
            let sum = u16::from(*a) + u16::from(*b) + carry;
            (sum >> 8, zero && sum as u8 == 0)
        });
        assert_eq!(sum, (1, true), "they add up to 2^256");
        assert!(plus[31] < 0x80 && minus[31] >= 0x80);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(matches!(bytes("100", 4, 2), Err(Cause::Digits)));
        assert!(matches!(bytes("1.005", 9, 2), Err(Cause::Digits)));
        assert!(bytes("1.500", 9, 1).is_ok(), "zeros at the end say nothing");
        for text in ["NaN", "Infinity", "-Infinity"] {
            assert!(matches!(bytes(text, 9, 2), Err(Cause::NotFinite)), "{text}");
        }
        for text in ["", "-", ".5", "1e5", "1.2.3", "0x10", "١"] {
            assert!(matches!(bytes(text, 9, 2), Err(Cause::NotANumber)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn narrow_and_wide_agree(value in -(10i128.pow(38) - 1)..10i128.pow(38)) {
            let narrow = bytes(&value.to_string(), 38, 0).unwrap();
            let wide = bytes(&value.to_string(), 39, 0).unwrap();
            prop_assert_eq!(&narrow[..], &value.to_le_bytes()[..]);
            prop_assert_eq!(&wide[..16], &narrow[..]);
            let sign = if value < 0 { 0xff } else { 0 };
            prop_assert_eq!(&wide[16..], &[sign; 16][..]);
        }

        #[test]
        fn the_scale_shifts(value in -99_999_999i64..=99_999_999) {
            let sign = if value < 0 { "-" } else { "" };
            let text = format!("{sign}{}.{:04}", value.abs() / 10_000, value.abs() % 10_000);
            prop_assert_eq!(bytes(&text, 18, 4).unwrap(), value.to_le_bytes());
        }
    }
}
