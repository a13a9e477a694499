//! Every type, with values that a careless way would change, and a source of random ones.

use rand::Rng as _;
use rand::rngs::StdRng;

use super::random::*;

/// One type.
pub(super) struct Case {
    /// As a column declares it.
    pub(super) declared: &'static str,
    /// Values that are special, as text.
    pub(super) special: &'static [&'static str],
    /// Draws a value's text.
    pub(super) draw: fn(&mut StdRng) -> String,
}

impl Case {
    /// What stands between the elements of its arrays.
    pub(super) fn delimiter(&self) -> char {
        match self.declared {
            "box" | "boxes" => ';',
            "geo" => ':',
            _ => ',',
        }
    }
}

const fn case(
    declared: &'static str,
    special: &'static [&'static str],
    draw: fn(&mut StdRng) -> String,
) -> Case {
    Case { declared, special, draw }
}

/// Types of its own that the tables need, at the source and at the destination.
pub(super) const TYPES: &str = r#"
create extension hstore; create extension citext; create extension ltree; create extension cube;
create schema "Odd ""s"; create type "Odd ""s"."T.y" as enum ('a', 'B "c"', '\', '{,}', 'null', '');
create type mood as enum ('sad', 'o''k', 'a "b" \c');
create type pair as (a integer, b text);
create type pack as (n integer, s text, d date, t timestamptz, v interval, f float8, b bytea, m money, e mood, l date[], p pair);
create domain small as integer check (value < 1000);
create domain ints as integer[];
create domain boxes as box;
create domain pairs as pair;
create domain packs as pack[];
create domain feeling as mood;
create type days as range (subtype = date);
create type geo;
create function geo_in(cstring) returns geo language internal immutable strict as 'textin';
create function geo_out(geo) returns cstring language internal immutable strict as 'textout';
create type geo (input = geo_in, output = geo_out, delimiter = ':', storage = extended);
create table "We.ird" (id integer primary key);"#;

/// Built-in types that no statement can give a value: they have no input.
pub(super) const WITHOUT_INPUT: [&str; 7] = [
    "pg_node_tree",
    "pg_ndistinct",
    "pg_dependencies",
    "pg_mcv_list",
    "gtsvector",
    "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary",
];

const NINES: &str = "999999999999999999999999999999999999999999999999999999999999999999999999999.9";

fn point(random: &mut StdRng) -> String {
    format!("({},{})", double(random), double(random))
}

fn path(random: &mut StdRng, open: char, close: char) -> String {
    let points: Vec<String> = (0..random.random_range(1..4)).map(|_| point(random)).collect();
    format!("{open}{}{close}", points.join(","))
}

fn two(random: &mut StdRng, low: i64, high: i64) -> (String, String) {
    let (a, b) = (random.random_range(low..high), random.random_range(low..high));
    (a.min(b).to_string(), (a.max(b) + 1).to_string())
}

fn snapshot(random: &mut StdRng) -> String {
    let low = random.random_range(1..1u64 << 40);
    let running = if random.random() { format!("{}", low + 2) } else { String::new() };
    format!("{low}:{}:{running}", low + 5)
}

fn pair(random: &mut StdRng) -> String {
    let text = text(random, 6);
    record(&[(!text.is_empty()).then(|| integer(random, -9, 9)), random.random::<bool>().then_some(text)])
}

fn mood(random: &mut StdRng) -> String {
    one_of(random, &["sad", "o'k", "a \"b\" \\c"]).into()
}

fn pack(random: &mut StdRng) -> String {
    let mut fields = [
        integer(random, -5, 5),
        text(random, 8),
        date(random),
        timestamp(random, "+00"),
        interval(random),
        double(random),
        format!("\\x{}", hex(random, 8)),
        one_of(random, &["-1234567.89", "0.01", "92233720368547758.07"]).into(),
        mood(random),
        array(random, ',', date),
        pair(random),
    ]
    .map(Some);
    let missing = random.random_range(0..fields.len() * 2);
    if let Some(field) = fields.get_mut(missing) {
        *field = None;
    }
    record(&fields)
}

/// All types that a statement can give a value.
pub(super) const CASES: &[Case] = &[
    case("boolean", &["t", "f"], |r| one_of(r, &["t", "f"]).into()),
    case("smallint", &[], |r| integer(r, -32_768, 32_767)),
    case("integer", &[], |r| integer(r, i32::MIN.into(), i32::MAX.into())),
    case("bigint", &[], |r| integer(r, i64::MIN, i64::MAX)),
    case("oid", &["4294967295"], |r| integer(r, 0, u32::MAX.into())),
    case("real", &["NaN", "Infinity", "-Infinity", "-0", "1e-45", "3.4028235e38", "0.1"], single),
    case(
        "double precision",
        &["NaN", "Infinity", "-Infinity", "-0", "5e-324", "1.7976931348623157e308", "0.1"],
        double,
    ),
    case("numeric", &["NaN", "Infinity", "-Infinity", "0", "-0.000", "1.0", "1.00", NINES], |r| {
        numeric(r, 1000, 1000)
    }),
    case("numeric(10,3)", &["NaN", "9999999.999"], |r| numeric(r, 7, 3)),
    case("numeric(5,-2)", &["9999900"], |r| numeric(r, 6, 0)),
    case("numeric(3,5)", &["0.00999"], |r| format!("0.00{}", r.random_range(100..1000))),
    case("numeric(76,20)", &["NaN"], |r| numeric(r, 56, 20)),
    case("numeric(1000,0)", &[], |r| numeric(r, 1000, 0)),
    case("money", &["-92233720368547758.08", "92233720368547758.07", "0"], |r| numeric(r, 16, 2)),
    case("text", &["", "\\N", "\\.", "NULL", "null", "\u{feff}", "a\u{300}"], |r| text(r, 60)),
    case("character varying", &["", "   "], |r| text(r, 9)),
    case("character varying(9)", &["         "], |r| text(r, 9)),
    case("bpchar", &["a  ", "  ", ""], |r| text(r, 9)),
    case("character(5)", &["ab", "", "  a"], |r| text(r, 5)),
    case("\"char\"", &["", "\\", "'", "\\310"], |r| char::from(r.random_range(1..0x80u8)).to_string()),
    case("name", &["Näme", ""], |r| text(r, 15)),
    case("bytea", &["\\x", "\\x000a5c22277f80ff"], |r| format!("\\x{}", hex(r, 300))),
    case("date", &["infinity", "-infinity", "4713-01-01 BC", "0001-12-31 BC", "5874897-12-31"], date),
    case("time", &["24:00:00", "23:59:59.999999", "00:00:00"], time),
    case("time(2)", &["24:00:00"], time),
    case("timetz", &["24:00:00-15:59:59", "00:00:00+15:59:59", "12:00:00.5+05:45"], |r| time(r) + &offset(r)),
    case(
        "timestamp",
        &[
            "infinity",
            "-infinity",
            "4713-01-01 00:00:00 BC",
            "294276-12-31 23:59:59.999999",
            "9999-12-31 23:59:59.5",
        ],
        |r| timestamp(r, ""),
    ),
    case(
        "timestamptz",
        &["infinity", "-infinity", "4713-01-01 00:00:00+00 BC", "294276-12-31 23:59:59.999999+00"],
        |r| timestamp(r, "+00"),
    ),
    case("timestamptz(0)", &["2026-11-21 09:00:00+05:45"], |r| timestamp(r, "+00")),
    case("interval", &["P0D", "P-178000000Y", "P1Y-2M3DT-4H5M-6.789S", "PT2147483647H", "P-1D"], interval),
    case("interval day to second(3)", &["-1 day"], |r| integer(r, -99_999, 99_999) + " seconds"),
    case("uuid", &["00000000-0000-0000-0000-000000000000"], uuid),
    case("json", &["null", r#"{"a" : [1.0,  2e5], "a": "A\\\u0041"}"#, "\"\"", "1.000"], json),
    case("jsonb", &["null", r#"{"b": 1.10, "a": "x\ny", "": null}"#, "1e400", "[]"], json),
    case("jsonpath", &["$", "strict $.\"a b\"[*] ? (@ > 1)"], |r| {
        format!("$.\"{}\"[{}]", word(r), r.random_range(0..9))
    }),
    case("xml", &["<a/><b>x &amp; y</b>", "", "<!DOCTYPE a><a/>"], |r| {
        format!("<a b=\"{}\">{}</a>", word(r), word(r))
    }),
    case("inet", &["10.0.0.1/8", "::1", "::ffff:1.2.3.4/96", "0.0.0.0/0"], |r| {
        format!("{}/{}", address(r), r.random_range(0..=32))
    }),
    case("cidr", &["10.0.0.0/8", "2001:db8::/32"], address),
    case("macaddr", &["08:00:2b:01:02:03"], |r| mac(r, 6)),
    case("macaddr8", &["08:00:2b:01:02:03:04:05"], |r| mac(r, 8)),
    case("bit(7)", &["0000000"], |r| bits(r, 7)),
    case("bit", &["1"], |r| bits(r, 1)),
    case("bit varying", &["", "1"], |r| {
        let count = r.random_range(0..90);
        bits(r, count)
    }),
    case("point", &["(NaN,-Infinity)", "(-0,0.1)"], point),
    case("lseg", &[], |r| path_of(r, 2)),
    case("line", &["{1,-1,0.1}"], |r| format!("{{{},1,{}}}", integer(r, -9, 9), double(r))),
    case("box", &["(1,2),(3,4)"], |r| format!("{},{}", point(r), point(r))),
    case("path", &["[(1,2),(3,4)]"], |r| if r.random() { path(r, '[', ']') } else { path(r, '(', ')') }),
    case("polygon", &["((1,2),(3,4))"], |r| path(r, '(', ')')),
    case("circle", &["<(1,2),0>"], |r| format!("<{},{}>", point(r), r.random_range(0.0..1e9))),
    case("tsvector", &["", "'a':1A 'b''c':2,16383C '\\\\':3"], |r| {
        format!("'{}':{}B '{}'", word(r), r.random_range(1..99), word(r))
    }),
    case("tsquery", &["", "'a' & !'b' | 'c':*AB <-> 'd'"], |r| format!("'{}' & !'{}'", word(r), word(r))),
    case("int4range", &["empty", "(,)"], |r| {
        let (a, b) = two(r, -99, 99);
        range(r, |r| integer(r, -99, 99), &a, &b)
    }),
    case("int8range", &[], |r| {
        let (a, b) = two(r, i64::MIN, i64::MAX - 9);
        range(r, |r| integer(r, -99, 99), &a, &b)
    }),
    case("numrange", &["[1.0,1.00]", "[-Infinity,Infinity]"], |r| {
        let (a, b) = two(r, -9, 9);
        range(r, |r| numeric(r, 50, 50), &a, &(b + ".50"))
    }),
    case("daterange", &["[-infinity,infinity]"], |r| range(r, date, "0044-03-15 BC", "2026-01-01")),
    case("tsrange", &["[-infinity,infinity)"], |r| {
        range(r, |r| timestamp(r, ""), "0044-03-15 01:02:03 BC", "infinity")
    }),
    case("tstzrange", &["empty"], |r| {
        range(r, |r| timestamp(r, "+00"), "-infinity", "2026-01-01 00:00:00.000001+03")
    }),
    case("int4multirange", &["{}", "{[1,3), [5,7)}"], |r| {
        format!("{{[{},{})}}", r.random_range(-9..0), r.random_range(1..9))
    }),
    case("int8multirange", &[], |r| format!("{{(,{}), [7,]}}", r.random_range(-9..0))),
    case("nummultirange", &["{[1.0,1.00]}"], |r| format!("{{[-{},0.50)}}", r.random_range(1..99))),
    case("datemultirange", &[], |r| {
        format!("{{[\"0044-03-15 BC\",{}]}}", one_of(r, &["infinity", "2026-01-01"]))
    }),
    case("tsmultirange", &[], |r| {
        format!("{{[\"0044-03-15 00:00:00 BC\",\"2026-01-01 00:00:{:02}\"]}}", r.random_range(0..60))
    }),
    case("tstzmultirange", &[], |r| format!("{{(,\"2026-01-01 00:00:{:02}+03\")}}", r.random_range(0..60))),
    case("pg_lsn", &["0/0", "FFFFFFFF/FFFFFFFF"], |r| {
        format!("{:X}/{:X}", r.random::<u32>(), r.random::<u32>())
    }),
    case("xid", &["4294967295"], |r| integer(r, 0, u32::MAX.into())),
    case("xid8", &["18446744073709551615"], |r| r.random::<u64>().to_string()),
    case("cid", &[], |r| integer(r, 0, u32::MAX.into())),
    case("tid", &["(4294967295,65535)"], |r| format!("({},{})", r.random::<u32>(), r.random::<u16>())),
    case("txid_snapshot", &[], snapshot),
    case("pg_snapshot", &[], snapshot),
    case("oidvector", &["", "1"], |r| format!("{} {}", r.random::<u32>(), r.random::<u32>())),
    case("int2vector", &["", "-1"], |r| format!("{} {}", r.random::<i16>(), r.random::<i16>())),
    case("aclitem", &["=r/postgres"], |r| {
        one_of(r, &["postgres=arwdDxt/postgres", "postgres=r*/postgres"]).into()
    }),
    case("refcursor", &["\"a b\"", ""], |r| text(r, 9)),
    case("regclass", &["-", "public.\"We.ird\"", "123456789"], |r| {
        one_of(r, &["pg_class", "public.\"We.ird\"", "public.every"]).into()
    }),
    case("regtype", &["-", "public.mood[]"], |r| {
        one_of(r, &["int4", "timestamptz", "\"Odd \"\"s\".\"T.y\"", "\"char\""]).into()
    }),
    case("regproc", &["-"], |r| one_of(r, &["now", "public.geo_in"]).into()),
    case("regprocedure", &["-"], |r| one_of(r, &["abs(integer)", "public.geo_in(cstring)"]).into()),
    case("regoper", &["0"], |r| one_of(r, &["||/", "|/"]).into()),
    case("regoperator", &["0"], |r| {
        one_of(r, &["+(integer,integer)", "-(none,bigint)", "public.=(public.citext,public.citext)"]).into()
    }),
    case("regrole", &["-"], |_| "postgres".into()),
    case("regnamespace", &["-"], |r| one_of(r, &["public", "\"Odd \"\"s\"", "pg_catalog"]).into()),
    case("regconfig", &["-"], |r| one_of(r, &["english", "simple"]).into()),
    case("regdictionary", &["-"], |r| one_of(r, &["english_stem", "simple"]).into()),
    case("regcollation", &["-"], |r| one_of(r, &["\"C\"", "\"POSIX\""]).into()),
    case("information_schema.sql_identifier", &["x"], word),
    case("mood", &[], mood),
    case("\"Odd \"\"s\".\"T.y\"", &["", "\\", "{,}", "null"], |r| one_of(r, &["a", "B \"c\""]).into()),
    case("feeling", &[], mood),
    case("small", &["999"], |r| integer(r, -99, 999)),
    case("ints", &["{}", "[0:1]={7,8}"], |r| array(r, ',', |r| integer(r, -9, 9))),
    case("boxes", &[], |r| format!("{},{}", point(r), point(r))),
    case("pair", &["(,)", "(,\"\")", "(1,null)"], pair),
    case("pairs", &["(,)"], pair),
    case("pack", &[], pack),
    case("packs", &["{}", "{NULL}"], |r| array(r, ',', pack)),
    case("days", &["empty"], |r| range(r, date, "0044-03-15 BC", "2026-01-01")),
    case("days_multirange", &["{}"], |r| {
        format!("{{[\"0044-03-15 BC\",{}]}}", one_of(r, &["infinity", "2026-01-01"]))
    }),
    case("hstore", &["", "\"a\"=>NULL, \"\"=>\"\""], |r| {
        format!("\"{}\"=>\"{}\"", word(r), text(r, 9).replace('\\', "\\\\").replace('"', "\\\""))
    }),
    case("citext", &["", "Ä"], |r| text(r, 9)),
    case("ltree", &["", "a.B_1"], |r| format!("{}.{}", word(r), word(r))),
    case("cube", &["(0.1, -1e-300)"], |r| format!("({})", r.random_range(-1e9..1e9f64))),
    case("geo", &["", ":"], |r| text(r, 9)),
];

fn uuid(random: &mut StdRng) -> String {
    let digits = format!("{:032x}", random.random::<u128>());
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

fn json(random: &mut StdRng) -> String {
    let text = serde_json::Value::from(text(random, 12));
    format!("{{\"{}\" :[{text},{}.10,null], \"\":true}}", word(random), integer(random, i64::MIN, i64::MAX))
}

fn address(random: &mut StdRng) -> String {
    let bytes: [u8; 4] = random.random();
    bytes.map(|byte| byte.to_string()).join(".")
}

fn mac(random: &mut StdRng, count: usize) -> String {
    (0..count).map(|_| format!("{:02x}", random.random::<u8>())).collect::<Vec<_>>().join(":")
}

fn path_of(random: &mut StdRng, count: usize) -> String {
    let points: Vec<String> = (0..count).map(|_| point(random)).collect();
    format!("[{}]", points.join(","))
}
