use proptest::prelude::*;

use super::*;

fn ty(text: &str) -> ColumnType {
    ColumnType::parse(text).unwrap()
}

fn bytes(column: &str, scalar: Scalar, json: &str) -> Result<Vec<u8>, Cause> {
    let mut out = Vec::new();
    encode(ty(column), Kind::Scalar(scalar), Value::from_json(json), OutOfRange::Error, &mut out).map(
        |kept| {
            assert_eq!(kept, 0);
            out
        },
    )
}

fn array_bytes(column: &str, element: Scalar, json: &str) -> Result<Vec<u8>, Cause> {
    let mut out = Vec::new();
    let kind = Kind::Array { element, delimiter: b',', written: b',' };
    encode(ty(column), kind, Value::from_json(json), OutOfRange::Error, &mut out).map(|kept| {
        assert_eq!(kept, 0);
        out
    })
}

#[test]
fn integers_are_little_endian_and_keep_to_their_range() {
    assert_eq!(bytes("Int16", Scalar::Int, "-32768").unwrap(), [0x00, 0x80]);
    assert_eq!(bytes("Int32", Scalar::Int, "2147483647").unwrap(), [0xff, 0xff, 0xff, 0x7f]);
    assert_eq!(bytes("Int64", Scalar::Int, "-9223372036854775808").unwrap(), i64::MIN.to_le_bytes());
    assert_eq!(bytes("UInt32", Scalar::Int, "4294967295").unwrap(), [0xff; 4]);
    assert!(matches!(bytes("Int16", Scalar::Int, "32768"), Err(Cause::NotANumber)));
    assert!(matches!(bytes("UInt32", Scalar::Int, "-1"), Err(Cause::NotANumber)));
    assert!(matches!(bytes("Int32", Scalar::Int, "\"1\""), Err(Cause::NotANumber)));
}

#[test]
fn floats_read_back_equal() {
    assert_eq!(bytes("Float64", Scalar::Float, "0.1").unwrap(), 0.1f64.to_le_bytes());
    assert_eq!(bytes("Float64", Scalar::Float, "-0").unwrap(), (-0.0f64).to_le_bytes());
    assert_eq!(bytes("Float64", Scalar::Float, "1e-300").unwrap(), 1e-300f64.to_le_bytes());
    assert_eq!(bytes("Float32", Scalar::Float, "3.4028235e+38").unwrap(), f32::MAX.to_le_bytes());
    assert_eq!(bytes("Float32", Scalar::Float, "\"-Infinity\"").unwrap(), f32::NEG_INFINITY.to_le_bytes());
    assert_eq!(bytes("Float64", Scalar::Float, "\"NaN\"").unwrap(), f64::NAN.to_le_bytes());
}

#[test]
fn dates_stop_at_the_limits_of_date32() {
    let day = |text: &str| bytes("Date32", Scalar::Text, &format!("\"{text}\""));
    assert_eq!(day("1970-01-01").unwrap(), 0i32.to_le_bytes());
    assert_eq!(day("1900-01-01").unwrap(), (-25_567i32).to_le_bytes());
    assert_eq!(day("2299-12-31").unwrap(), 120_529i32.to_le_bytes());
    assert_eq!(day("2000-02-29").unwrap(), 11_016i32.to_le_bytes());
    for text in ["1899-12-31", "2300-01-01", "10000-01-01", "0044-03-15 BC"] {
        assert!(matches!(day(text), Err(Cause::Years)), "{text}");
    }
    assert!(matches!(day("infinity"), Err(Cause::Infinite)));
    assert!(matches!(day("-infinity"), Err(Cause::Infinite)));
    assert!(matches!(day("2026-13-01"), Err(Cause::Form)));
}

#[test]
fn timestamps_stop_at_the_limits_of_datetime64() {
    let at = |text: &str| bytes("DateTime64(6, 'UTC')", Scalar::TimestampTz, &format!("\"{text}\""));
    assert_eq!(at("1970-01-01T00:00:00.000001Z").unwrap(), 1i64.to_le_bytes());
    assert_eq!(at("1900-01-01T00:00:00.000000Z").unwrap(), (-2_208_988_800_000_000i64).to_le_bytes());
    assert_eq!(at("2299-12-31T23:59:59.999999Z").unwrap(), 10_413_791_999_999_999i64.to_le_bytes());
    assert_eq!(at("1969-12-31T23:59:59.999999Z").unwrap(), (-1i64).to_le_bytes());
    for text in ["1899-12-31T23:59:59.999999Z", "2300-01-01T00:00:00.000000Z", "10000-01-01 00:00:00+00"] {
        assert!(matches!(at(text), Err(Cause::Years)), "{text}");
    }
    assert!(matches!(at("0044-03-15 00:00:00+00 BC"), Err(Cause::Years)));
    assert!(matches!(at("infinity"), Err(Cause::Infinite)));
    assert!(matches!(at("2026-11-21T24:00:00.000000Z"), Err(Cause::Form)));
}

#[test]
fn uuids_are_two_little_endian_halves() {
    let uuid = bytes("UUID", Scalar::Text, r#""00112233-4455-6677-8899-aabbccddeeff""#).unwrap();
    assert_eq!(uuid[..8], [0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x00]);
    assert_eq!(uuid[8..], [0xff, 0xee, 0xdd, 0xcc, 0xbb, 0xaa, 0x99, 0x88]);
    assert!(matches!(bytes("UUID", Scalar::Text, r#""0011""#), Err(Cause::Form)));
}

#[test]
fn strings_take_text_bytes_and_what_has_no_other_form() {
    assert_eq!(bytes("String", Scalar::Text, r#""a\n\u0001""#).unwrap(), b"\x03a\n\x01");
    assert_eq!(bytes("String", Scalar::Bytea, r#""/wCA""#).unwrap(), b"\x03\xff\x00\x80");
    assert_eq!(bytes("String", Scalar::Bytea, r#""/w==""#).unwrap(), b"\x01\xff");
    assert_eq!(bytes("String", Scalar::Bytea, r#""""#).unwrap(), b"\0");
    assert!(matches!(bytes("String", Scalar::Bytea, r#""/w=""#), Err(Cause::Form)));
    assert_eq!(bytes("String", Scalar::Int, "12").unwrap(), b"\x0212");
    assert_eq!(bytes("String", Scalar::Bool, "true").unwrap(), b"\x04true");
    let long = format!("\"{}\"", "x".repeat(300));
    assert_eq!(bytes("String", Scalar::Text, &long).unwrap()[..2], [0xac, 0x02]);
}

#[test]
fn nullable_has_a_mark_in_front_and_null_needs_it() {
    assert_eq!(bytes("Nullable(Int16)", Scalar::Int, "null").unwrap(), [1]);
    assert_eq!(bytes("Nullable(Int16)", Scalar::Int, "7").unwrap(), [0, 7, 0]);
    assert_eq!(bytes("LowCardinality(Nullable(String))", Scalar::Text, "\"a\"").unwrap(), [0, 1, b'a']);
    assert!(matches!(bytes("Int16", Scalar::Int, "null"), Err(Cause::Null)));
    assert!(matches!(array_bytes("Array(Nullable(Int16))", Scalar::Int, "null"), Err(Cause::Null)));
}

#[test]
fn arrays_hold_one_dimension_of_nullable_elements() {
    let ints = |json: &str| array_bytes("Array(Nullable(Int16))", Scalar::Int, json);
    assert_eq!(ints("[1,null]").unwrap(), [2, 0, 1, 0, 1]);
    assert_eq!(ints("[]").unwrap(), [0]);
    assert!(matches!(ints("[[1],[2]]"), Err(Cause::Dimensions)));
    assert!(matches!(ints("\"[0:1]={1,2}\""), Err(Cause::Bounds)));
    assert_eq!(array_bytes("Array(Nullable(Bool))", Scalar::Bool, "[true]").unwrap(), [1, 0, 1]);
}

#[test]
fn arrays_in_a_string_keep_dimensions_bounds_and_null() {
    let text = |json: &str| array_bytes("Nullable(String)", Scalar::Int, json);
    assert_eq!(text("null").unwrap(), [1]);
    assert_eq!(text("[]").unwrap(), b"\0\x02[]");
    assert_eq!(text("[[1],[2]]").unwrap(), b"\0\x09[[1],[2]]");
    assert_eq!(text("\"[0:1]={1,2}\"").unwrap(), b"\0\x0b[0:1]={1,2}");
}

#[test]
fn defaults_are_as_wide_as_values() {
    let cases = [
        ("Int16", Scalar::Int, "1"),
        ("Int32", Scalar::Int, "1"),
        ("Int64", Scalar::Int, "1"),
        ("UInt32", Scalar::Int, "1"),
        ("Float32", Scalar::Float, "1"),
        ("Float64", Scalar::Float, "1"),
        ("Bool", Scalar::Bool, "true"),
        ("Date32", Scalar::Text, "\"2000-01-01\""),
        ("DateTime64(6, 'UTC')", Scalar::Timestamp, "\"2000-01-01T00:00:00.000000Z\""),
        ("UUID", Scalar::Text, "\"00112233-4455-6677-8899-aabbccddeeff\""),
        ("Decimal(9, 1)", Scalar::Text, "\"1\""),
        ("Decimal(18, 1)", Scalar::Text, "\"1\""),
        ("Decimal(38, 1)", Scalar::Text, "\"1\""),
        ("Decimal(76, 1)", Scalar::Text, "\"1\""),
        ("String", Scalar::Text, "\"\""),
        ("Nullable(UUID)", Scalar::Text, "null"),
    ];
    for (column, scalar, json) in cases {
        let mut default = Vec::new();
        encode_default(ty(column), &mut default);
        assert_eq!(default.len(), bytes(column, scalar, json).unwrap().len(), "{column}");
    }
}

fn kept(column: &str, scalar: Scalar, policy: OutOfRange, text: &str) -> Result<Vec<u8>, Cause> {
    let (mut out, json) = (Vec::new(), format!("\"{text}\""));
    encode(ty(column), Kind::Scalar(scalar), Value::from_json(&json), policy, &mut out).map(|kept| {
        assert_eq!(kept, 1, "{text}");
        out
    })
}

#[test]
fn null_stands_in_where_there_is_room_for_it() {
    let null = |column: &str, text: &str| kept(column, Scalar::Text, OutOfRange::Null, text);
    assert_eq!(null("Nullable(Date32)", "0044-03-15 BC").unwrap(), [1]);
    assert_eq!(null("Nullable(Decimal(9, 2))", "NaN").unwrap(), [1]);
    assert!(matches!(null("Date32", "infinity"), Err(Cause::Infinite)));
    assert!(matches!(null("Nullable(Date32)", "yesterday"), Err(Cause::Form)));
    let array = Kind::Array { element: Scalar::Text, delimiter: b',', written: b',' };
    let (mut out, json) = (Vec::new(), r#"["1970-01-02","infinity",null]"#);
    let dates = ty("Array(Nullable(Date32))");
    let kept = encode(dates, array, Value::from_json(json), OutOfRange::Null, &mut out).unwrap();
    assert_eq!((kept, out), (1, vec![3, 0, 1, 0, 0, 0, 1, 1]));
}

#[test]
fn the_nearest_value_stands_in() {
    let clamp = |column: &str, text: &str| kept(column, Scalar::Text, OutOfRange::Clamp, text);
    let day = |text: &str| date(text.as_bytes()).unwrap().to_le_bytes().to_vec();
    for (text, end) in [
        ("-infinity", "1900-01-01"),
        ("0044-03-15 BC", "1900-01-01"),
        ("294276-01-01 BC", "1900-01-01"),
        ("1899-12-31", "1900-01-01"),
        ("2300-01-01", "2299-12-31"),
        ("5874897-12-31", "2299-12-31"),
        ("infinity", "2299-12-31"),
    ] {
        assert_eq!(clamp("Date32", text).unwrap(), day(end), "{text}");
    }
    assert_eq!(clamp("Nullable(Date32)", "infinity").unwrap()[1..], day("2299-12-31"));
    let at = |text: &str| clamp("DateTime64(6, 'UTC')", text).unwrap();
    assert_eq!(at("294276-12-31 23:59:59.999999+00"), 10_413_791_999_999_999i64.to_le_bytes());
    assert_eq!(at("1899-12-31T23:59:59.999999Z"), (-2_208_988_800_000_000i64).to_le_bytes());
    assert_eq!(clamp("Decimal(4, 2)", "-Infinity").unwrap(), (-9999i32).to_le_bytes());
    assert_eq!(clamp("Decimal(3, 3)", "Infinity").unwrap(), 999i32.to_le_bytes());
    assert!(matches!(clamp("Decimal(4, 2)", "NaN"), Err(Cause::NotFinite)));
}

proptest! {
    #[test]
    fn any_int8_is_its_bytes(value: i64) {
        prop_assert_eq!(bytes("Int64", Scalar::Int, &value.to_string()).unwrap(), value.to_le_bytes());
    }

    #[test]
    fn any_bytea_is_its_bytes(value: Vec<u8>) {
        let encoded = bytes("String", Scalar::Bytea, &format!("\"{}\"", BASE64.encode(&value))).unwrap();
        let mut expected = Vec::new();
        encode_str(&value, &mut expected);
        prop_assert_eq!(encoded, expected);
    }

    #[test]
    fn days_follow_each_other(day in -25_567i32..120_529) {
        let text = |day: i32| {
            let date = time::Date::from_julian_day(day + 2_440_588).unwrap();
            format!("{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day())
        };
        prop_assert_eq!(date(text(day).as_bytes()).unwrap(), day);
        prop_assert_eq!(date(text(day + 1).as_bytes()).unwrap(), day + 1);
    }

    #[test]
    fn no_text_panics(text in ".{0,40}") {
        let json = serde_json::to_string(&text).unwrap();
        for column in ["Int32", "Float64", "Date32", "DateTime64(6, 'UTC')", "UUID", "Decimal(20, 5)", "String"] {
            drop(bytes(column, Scalar::Text, &json));
        }
    }
}
