use proptest::prelude::*;

use super::*;
use crate::event::Op;
use crate::table::{Column, Kind, Scalar, Table, TableName};

fn column(name: &str, base: &str) -> Column {
    Column::new(name, base, base)
}

fn json(kind: Kind, text: &str) -> String {
    let mut out = Vec::new();
    encode_value(kind, text.as_bytes(), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn back(kind: Kind, json: &str) -> Option<String> {
    let mut scratch = Vec::new();
    let text = Value::from_json(json).to_postgres(kind, &mut scratch).unwrap();
    text.map(|text| String::from_utf8(text.to_vec()).unwrap())
}

const INT: Kind = Kind::Scalar(Scalar::Int);
const TEXT: Kind = Kind::Scalar(Scalar::Text);

fn array(element: Scalar) -> Kind {
    Kind::Array { element, delimiter: b',', written: b',' }
}

#[test]
fn arrays_are_written_with_the_delimiter_of_the_target() {
    let kind = Kind::Array { element: Scalar::Text, delimiter: b',', written: b':' };
    for (text, written) in [
        (r#"{a,:,"x,\"y",NULL}"#, r#"{"a":":":"x,\"y":NULL}"#),
        (r#"[0:1][2:2]={{:},{""}}"#, r#"[0:1][2:2]={{":"}:{""}}"#),
        (r#"[3:4]={NULL,"a\\"}"#, r#"[3:4]={NULL:"a\\"}"#),
        ("{}", "{}"),
    ] {
        assert_eq!(back(kind, &json(kind, text)).as_deref(), Some(written), "{text}");
    }
}

#[test]
fn values_take_their_documented_form() {
    let scalar = Kind::Scalar;
    for (kind, text, expected) in [
        (scalar(Scalar::Bool), "t", "true"),
        (INT, "-42", "-42"),
        (scalar(Scalar::Float), "1e+20", "1e+20"),
        (scalar(Scalar::Float), "-0", "-0"),
        (scalar(Scalar::Float), "NaN", "\"NaN\""),
        (scalar(Scalar::Float), "-Infinity", "\"-Infinity\""),
        (TEXT, "a\"b\\c\n\u{1}é", "\"a\\\"b\\\\c\\n\\u0001é\""),
        (scalar(Scalar::Timestamp), "2026-11-21 09:00:00", "\"2026-11-21T09:00:00.000000Z\""),
        (scalar(Scalar::Timestamp), "2026-11-21 09:00:00.25", "\"2026-11-21T09:00:00.250000Z\""),
        (scalar(Scalar::TimestampTz), "2026-11-21 09:00:00.123456+00", "\"2026-11-21T09:00:00.123456Z\""),
        (scalar(Scalar::Timestamp), "infinity", "\"infinity\""),
        (scalar(Scalar::Timestamp), "0044-03-15 12:00:00 BC", "\"0044-03-15 12:00:00 BC\""),
        (
            scalar(Scalar::TimestampTz),
            "294276-12-31 23:59:59.999999+00",
            "\"294276-12-31 23:59:59.999999+00\"",
        ),
        (scalar(Scalar::Bytea), "\\x00ff10", "\"AP8Q\""),
        (array(Scalar::Int), "{1,NULL,{2,3}}", "[1,null,[2,3]]"),
        (array(Scalar::Text), "{}", "[]"),
        (array(Scalar::Text), r#"{"a b","q\"\\",NULL,"NULL"}"#, r#"["a b","q\"\\",null,"NULL"]"#),
        (array(Scalar::Int), "[0:1]={7,8}", "\"[0:1]={7,8}\""),
    ] {
        assert_eq!(json(kind, text), expected, "{text}");
    }
}

#[test]
fn values_of_another_form_are_refused() {
    for (kind, text) in [
        (Kind::Scalar(Scalar::Bool), "yes"),
        (Kind::Scalar(Scalar::Bytea), "abc"),
        (array(Scalar::Int), "{1,2"),
        (array(Scalar::Int), "1,2}"),
        (array(Scalar::Text), "{\"open"),
    ] {
        assert!(encode_value(kind, text.as_bytes(), &mut Vec::new()).is_err(), "{text}");
    }
    assert!(Value::from_json("[1]").to_postgres(INT, &mut Vec::new()).is_err());
    assert!(Value::from_json("7").to_postgres(TEXT, &mut Vec::new()).is_err());
}

#[test]
fn null_and_the_empty_string_stay_apart() {
    let line = b"\\N\t\t\\\\N\ta\\tb\n";
    let texts: Vec<_> = Fields::new(line).map(|f| f.text().map(|t| t.into_owned())).collect();
    assert_eq!(texts, [None, Some(b"".to_vec()), Some(b"\\N".to_vec()), Some(b"a\tb".to_vec())]);
}

fn orders() -> Table {
    Table {
        name: TableName::new("public", "orders"),
        version: 1,
        columns: vec![column("note", "text"), column("id", "int8"), column("tags", "text[]")],
        key: vec!["id".into()],
        relation: 0,
    }
}

fn message(op: Op, line: &[u8]) -> (String, Vec<u8>) {
    let encoder = TableEncoder::new(&orders(), "shop", "db");
    let fields: Vec<_> = Fields::new(line).collect();
    let origin = Origin { cdc_id: 9, txid: 8, pass: 3, at_micros: 1_500_000, now_millis: 2 };
    let (mut key, mut value) = (Vec::new(), Vec::new());
    encoder.key(op, &fields, origin.cdc_id, &mut key).unwrap();
    encoder.value(op, &fields, origin, &mut value).unwrap();
    (String::from_utf8(key).unwrap(), value)
}

#[test]
fn without_a_key_the_number_of_the_row_is_the_key() {
    let encoder = TableEncoder::new(&Table { key: Vec::new(), ..orders() }, "shop", "db");
    let fields: Vec<_> = Fields::new(b"hi\t7\t{x}").collect();
    for (op, expected) in [(Op::Insert, r#"{"cdc_id":9}"#), (Op::Truncate, "{}")] {
        let mut key = Vec::new();
        encoder.key(op, &fields, 9, &mut key).unwrap();
        assert_eq!(String::from_utf8(key).unwrap(), expected);
    }
}

#[test]
fn envelopes_are_debezium_shaped_and_read_back() {
    let (key, value) = message(Op::Update, b"hi\t7\t{x}");
    assert_eq!(key, r#"{"id":7}"#);
    let parsed: serde_json::Value = serde_json::from_slice(&value).unwrap();
    assert_eq!(
        parsed,
        serde_json::json!({
            "before": null, "after": {"note": "hi", "id": 7, "tags": ["x"]},
            "source": {"version": env!("CARGO_PKG_VERSION"), "connector": "tripline", "name": "shop",
                "snapshot": "false", "db": "db", "schema": "public", "table": "orders",
                "ts_ms": 1500, "sequence": "[\"3\",\"9\"]", "txId": 8, "cdc_id": 9},
            "op": "u", "ts_ms": 2
        })
    );
    let read = Envelope::read(&value).unwrap();
    assert_eq!((read.stamp, read.cdc_id, read.op), (None, 9, Op::Update));
    let row = Row::parse(&value[read.row]).unwrap();
    assert_eq!(row.get("id", 1).unwrap().json(), "7");
    assert_eq!(row.get("note", 2).unwrap().as_str().unwrap().unwrap(), "hi");
}

#[test]
fn deletes_carry_the_key_and_truncates_nothing() {
    let (key, value) = message(Op::Delete, b"hi\t7\t\\N");
    assert_eq!(key, r#"{"id":7}"#);
    let read = Envelope::read(&value).unwrap();
    assert_eq!((read.op, &value[read.row]), (Op::Delete, &br#"{"id":7}"#[..]));
    let (key, value) = message(Op::Truncate, b"\\N\t\\N\t\\N");
    let read = Envelope::read(&value).unwrap();
    assert_eq!((key.as_str(), read.op, read.row), ("{}", Op::Truncate, 0..0));
}

#[test]
fn stamps_stand_in_front_and_read_back() {
    let stamp = Stamp { epoch: 3, pass: 17, part: 1, version: 2 };
    // What looks like members of the envelope is text in a row.
    let note = br#"{"before":null,"after":{},"source":{"cdc_id":1},"op":"d","ts_ms":1}"#;
    for (op, line) in [
        (Op::Insert, &[note, &b"\t7\t{x}"[..]].concat()[..]),
        (Op::Read, b"\t7\t{x}"),
        (Op::Delete, b"hi\t7\t{x}"),
        (Op::Truncate, b"\\N\t\\N\t\\N"),
    ] {
        let (_, value) = message(op, line);
        let plain = Envelope::read(&value).unwrap();
        let stamped = [&stamp.prefix()[..], &value[1..]].concat();
        assert!(serde_json::from_slice::<serde_json::Value>(&stamped).is_ok());
        let read = Envelope::read(&stamped).unwrap();
        assert_eq!((read.stamp, read.cdc_id, read.op), (Some(stamp), 9, op));
        assert_eq!(stamped[read.row], value[plain.row]);
        for cut in 0..stamped.len() {
            assert_eq!(Envelope::read(&stamped[..cut]), None, "{cut} bytes of it");
        }
    }
}

#[test]
fn foreign_envelopes_are_refused() {
    for value in ["", "{}", "[]", r#"{"op":"c","after":null}"#, r#"{"op":"z","after":{}}"#, "null"] {
        assert_eq!(Envelope::read(value.as_bytes()), None, "{value}");
    }
}

/// PostgreSQL's COPY escapes, for making lines.
fn copy_escape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for byte in text.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\r' => out.extend_from_slice(b"\\r"),
            other => out.push(other),
        }
    }
    out
}

/// PostgreSQL's text of a text array.
fn array_text(items: &[Option<String>]) -> String {
    let items: Vec<String> = items
        .iter()
        .map(|item| match item {
            None => "NULL".to_owned(),
            Some(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        })
        .collect();
    format!("{{{}}}", items.join(","))
}

proptest! {
    #[test]
    fn any_text_survives_the_way(text in any::<String>()) {
        let line = copy_escape(&text);
        let field = Fields::new(&line).next().unwrap();
        let plain = field.text().unwrap();
        prop_assert_eq!(&*plain, text.as_bytes());
        let encoded = json(TEXT, &text);
        prop_assert_eq!(serde_json::from_str::<String>(&encoded).unwrap(), text.clone());
        prop_assert_eq!(back(TEXT, &encoded), Some(text));
    }

    #[test]
    fn any_bytes_survive_the_way(bytes in any::<Vec<u8>>()) {
        let text = format!("\\x{}", data_encoding::HEXLOWER.encode(&bytes));
        let kind = Kind::Scalar(Scalar::Bytea);
        prop_assert_eq!(back(kind, &json(kind, &text)), Some(text));
    }

    #[test]
    fn any_text_array_survives_the_way(items in prop::collection::vec(prop::option::of(any::<String>()), 0..6)) {
        let text = array_text(&items);
        let encoded = json(array(Scalar::Text), &text);
        prop_assert_eq!(serde_json::from_str::<Vec<Option<String>>>(&encoded).unwrap(), items);
        prop_assert_eq!(back(array(Scalar::Text), &encoded), Some(text));
    }
}

#[test]
fn rows_are_read_as_they_are_written() {
    let text = r#"{"a":1,"b\"{":"x\\\"}","c":[[1,null],["]"]],"d":null,"e":true}"#;
    let row = Row::parse(text.as_bytes()).unwrap();
    let read = |name: &str, hint| row.get(name, hint).map(Value::json);
    assert_eq!(row.len(), 5);
    assert_eq!((read("a", 0), read("a", 3), read("b", 1)), (Some("1"), Some("1"), None));
    assert_eq!((read("b\"{", 1), read("c", 2)), (Some(r#""x\\\"}""#), Some(r#"[[1,null],["]"]]"#)));
    assert_eq!((read("d", 3), read("e", 4), read("e", 9)), (Some("null"), Some("true"), Some("true")));
    assert!(Row::parse(b"{}").unwrap().is_empty());
    for end in 0..text.len() {
        assert!(Row::parse(&text.as_bytes()[..end]).is_err(), "{end} bytes of it");
    }
    for other in [
        "",
        "[]",
        "{} ",
        r#"{"a":1,}"#,
        r#"{"a" :1}"#,
        r#"{"a":}"#,
        r#"{"a":abc}"#,
        r#"{"a":nul}"#,
        r#"{a:1}"#,
        r#"{"a":1]"#,
        r#"{,"a":1}"#,
        "{\"a\":\"\\x\"",
        r#"{"a":truex}"#,
    ] {
        assert!(Row::parse(other.as_bytes()).is_err(), "{other}");
    }
    assert!(Row::parse(b"{\"a\":\"\xe4\"}").is_err());
}
