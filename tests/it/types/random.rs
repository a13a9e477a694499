//! Random values, as the text that PostgreSQL's input functions take under any settings.

use rand::Rng as _;
use rand::rngs::StdRng;

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// Returns one of these.
pub(super) fn one_of<'a>(random: &mut StdRng, choices: &[&'a str]) -> &'a str {
    choices[random.random_range(0..choices.len())]
}

/// Returns a whole number: small, anything, or an end of the range.
pub(super) fn integer(random: &mut StdRng, low: i64, high: i64) -> String {
    match random.random_range(0..4) {
        0 => random.random_range(low.max(-20)..=high.min(20)),
        1 => low,
        2 => high,
        _ => random.random_range(low..=high),
    }
    .to_string()
}

/// Returns a `float8`, drawn over all bit patterns.
pub(super) fn double(random: &mut StdRng) -> String {
    match f64::from_bits(random.random()) {
        value if value.is_nan() => "NaN".into(),
        value if value.is_infinite() => if value > 0.0 { "Infinity" } else { "-Infinity" }.into(),
        value => format!("{value:e}"),
    }
}

/// Returns a `float4`.
pub(super) fn single(random: &mut StdRng) -> String {
    match f32::from_bits(random.random()) {
        value if value.is_nan() => "NaN".into(),
        value if value.is_infinite() => if value > 0.0 { "Infinity" } else { "-Infinity" }.into(),
        value => format!("{value:e}"),
    }
}

/// Returns a `numeric` of up to these digits before and behind the point.
pub(super) fn numeric(random: &mut StdRng, whole: usize, fraction: usize) -> String {
    let sign = if random.random() { "-" } else { "" };
    let mut digits = |most: usize| -> String {
        let most = if random.random_ratio(1, 6) { most } else { most.min(20) };
        let count = random.random_range(0..=most);
        (0..count).map(|_| char::from(b'0' + random.random_range(0..10u8))).collect()
    };
    let (whole, fraction) = (digits(whole), digits(fraction));
    if fraction.is_empty() { format!("{sign}0{whole}") } else { format!("{sign}0{whole}.{fraction}") }
}

/// Returns text that has what breaks formats more often than chance would.
pub(super) fn text(random: &mut StdRng, most: usize) -> String {
    const BREAKS: [char; 24] = [
        '\\', '"', '\'', ',', ';', ':', '(', ')', '{', '}', '[', ']', '\t', '\n', '\r', '\u{8}', '\u{b}',
        '\u{c}', '\u{1}', '\u{7f}', ' ', '.', '$', '\u{feff}',
    ];
    let count = random.random_range(0..=most);
    let one = |random: &mut StdRng| match random.random_range(0..6) {
        0..=1 => BREAKS[random.random_range(0..BREAKS.len())],
        2 => char::from(random.random_range(b'a'..=b'z')),
        3 => char::from_u32(random.random_range(1..0x300)).unwrap_or('x'),
        _ => random.random_range('\u{1}'..=char::MAX),
    };
    (0..count).map(|_| one(random)).collect()
}

/// Returns a word of letters and digits.
pub(super) fn word(random: &mut StdRng) -> String {
    (0..random.random_range(1..8)).map(|_| char::from(random.random_range(b'a'..=b'z'))).collect()
}

/// Returns bytes in hex, without a prefix.
pub(super) fn hex(random: &mut StdRng, most: usize) -> String {
    let bytes: Vec<u8> = (0..random.random_range(0..=most)).map(|_| random.random()).collect();
    data_encoding::HEXLOWER.encode(&bytes)
}

/// Returns binary digits.
pub(super) fn bits(random: &mut StdRng, count: usize) -> String {
    (0..count).map(|_| if random.random() { '1' } else { '0' }).collect()
}

/// Returns year, month and day of a day counted from 2000-01-01, and whether it is before Christ.
fn civil(day: i64) -> (String, bool) {
    // Howard Hinnant's civil_from_days, whose days count from 1970.
    let shifted = day + 10_957 + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let of_era_years = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * of_era_years + of_era_years / 4 - of_era_years / 100);
    let month = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = of_era_years + era * 400 + i64::from(month <= 2);
    let (year, before) = if year > 0 { (year, false) } else { (1 - year, true) };
    (format!("{year:04}-{month:02}-{day:02}"), before)
}

fn clock(micros: i64) -> String {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    format!("{:02}:{:02}:{:02}.{fraction:06}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Returns a day: mostly of our times, else any of those from 4713 BC on to the given one, counted from 2000-01-01.
fn day(random: &mut StdRng, last: i64) -> i64 {
    if random.random() {
        random.random_range(-40_000..40_000)
    } else {
        random.random_range(-2_451_500..=last)
    }
}

/// Returns a `date`.
pub(super) fn date(random: &mut StdRng) -> String {
    let (date, before) = civil(day(random, 2_145_031_948));
    if before { format!("{date} BC") } else { date }
}

/// Returns a `time`.
pub(super) fn time(random: &mut StdRng) -> String {
    clock(random.random_range(0..=DAY))
}

/// Returns a zone's offset, up to 15:59:59 east or west.
pub(super) fn offset(random: &mut StdRng) -> String {
    let (sign, seconds) = (if random.random() { '+' } else { '-' }, random.random_range(0..57_600));
    format!("{sign}{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Returns a `timestamp`, or a `timestamptz` with its zone behind it.
pub(super) fn timestamp(random: &mut StdRng, zone: &str) -> String {
    let (date, before) = civil(day(random, 106_751_000));
    let time = clock(random.random_range(0..DAY));
    format!("{date} {time}{zone}{}", if before { " BC" } else { "" })
}

/// Returns an `interval` whose parts have signs of their own, in ISO 8601, which reads the same under every setting.
pub(super) fn interval(random: &mut StdRng) -> String {
    let mut part = |most: i64, unit: char| match random.random_range(0..3) {
        0 => String::new(),
        1 => format!("{}{unit}", random.random_range(-40..40)),
        _ => format!("{}{unit}", random.random_range(-most..=most)),
    };
    let days = [part(170_000_000, 'Y'), part(11, 'M'), part(2_000_000_000, 'D')].concat();
    let clock = [part(2_000_000_000, 'H'), part(59, 'M')].concat();
    let seconds = random.random_range(-59_999_999..=59_999_999i64);
    let sign = if seconds < 0 { "-" } else { "" };
    format!("P{days}T{clock}{sign}{}.{:06}S", seconds.abs() / 1_000_000, seconds.abs() % 1_000_000)
}

/// Returns `low` and `high` of what `draw` draws, the same or in order as numbers, as a range's text.
pub(super) fn range(
    random: &mut StdRng,
    mut draw: impl FnMut(&mut StdRng) -> String,
    low: &str,
    high: &str,
) -> String {
    match random.random_range(0..6) {
        0 => "empty".into(),
        1 => format!("[{},)", quoted(&draw(random))),
        2 => format!("(,{})", quoted(&draw(random))),
        3 => {
            let one = quoted(&draw(random));
            format!("[{one},{one}]")
        }
        4 => "(,)".into(),
        _ => format!("[{},{})", quoted(low), quoted(high)),
    }
}

/// Quotes an element of an array, a composite or a range.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Returns the text of a composite; `None` is NULL.
pub(super) fn record(fields: &[Option<String>]) -> String {
    let fields: Vec<String> =
        fields.iter().map(|field| field.as_deref().map(quoted).unwrap_or_default()).collect();
    format!("({})", fields.join(","))
}

/// Returns the text of an array of what `draw` draws: up to three dimensions, NULLs, often with bounds of its own.
pub(super) fn array(
    random: &mut StdRng,
    delimiter: char,
    mut draw: impl FnMut(&mut StdRng) -> String,
) -> String {
    if random.random_ratio(1, 8) {
        return "{}".into();
    }
    let dimensions: Vec<usize> =
        (0..random.random_range(1..=3)).map(|_| random.random_range(1..=3)).collect();
    let mut bounds = String::new();
    if random.random_ratio(1, 3) {
        for length in &dimensions {
            let low = random.random_range(-3..=3i64);
            bounds.push_str(&format!("[{low}:{}]", low + *length as i64 - 1));
        }
        bounds.push('=');
    }
    bounds + &nested(random, delimiter, &dimensions, &mut draw)
}

fn nested(
    random: &mut StdRng,
    delimiter: char,
    dimensions: &[usize],
    draw: &mut impl FnMut(&mut StdRng) -> String,
) -> String {
    let Some((length, inner)) = dimensions.split_first() else {
        return if random.random_ratio(1, 5) { "NULL".into() } else { quoted(&draw(random)) };
    };
    let items: Vec<String> = (0..*length).map(|_| nested(random, delimiter, inner, draw)).collect();
    format!("{{{}}}", items.join(&delimiter.to_string()))
}
