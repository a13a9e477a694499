use super::*;
use crate::table::TableName;

fn column(name: &str, declared: &str) -> Column {
    Column {
        name: name.into(),
        declared: declared.into(),
        base: "text".into(),
        delimiter: ',',
        not_null: name == "id",
        enum_labels: None,
        generated: false,
        id: 0,
        initial: None,
    }
}

fn table(columns: &[(&str, &str)]) -> Table {
    Table {
        name: TableName::new("public", "t"),
        version: 1,
        columns: columns.iter().map(|(name, declared)| column(name, declared)).collect(),
        key: vec!["id".into()],
        relation: 0,
    }
}

fn found(columns: &[(&str, &str)]) -> Found {
    let column = |&(name, declared): &(&str, &str)| FoundColumn {
        name: name.into(),
        declared: declared.into(),
        ..FoundColumn::default()
    };
    let operators = vec!["operator(\"pg_catalog\".=)".into()];
    Found {
        columns: columns.iter().map(column).collect(),
        keys: vec![FoundKey { columns: vec!["id".into()], operators }],
        ..Found::default()
    }
}

#[test]
fn a_fitting_table_is_written_column_by_column() {
    let source = table(&[("a", "text"), ("id", "integer"), ("g", "integer")]);
    let mut here = found(&[("id", "bigint"), ("g", "integer"), ("a", "character varying")]);
    here.columns[1].generated = true;
    here.columns[0].identity = "a".into();
    let shape = shape(&source, &here).unwrap();
    let names: Vec<_> = shape.columns.iter().map(|slot| (slot.name.as_str(), slot.hint)).collect();
    assert_eq!(names, [("a", 0), ("id", 1)]);
    assert_eq!(shape.types, ["character varying", "bigint"]);
    assert_eq!((shape.key[0].name.as_str(), shape.key[0].hint), ("id", 0));
    assert!(shape.overriding, "the key may be an identity column");
}

#[test]
fn arrays_are_written_with_the_delimiter_of_the_destination() {
    let mut source = table(&[("id", "integer"), ("a", "public.geometry[]")]);
    source.columns[1].base = "text[]".into();
    let mut here = found(&[("id", "integer"), ("a", "public.geometry[]")]);
    here.columns[1].delimiter = Some(':');
    let kind = |here: &Found| shape(&source, here).unwrap().columns[1].kind;
    assert_eq!(
        kind(&here),
        Kind::Array { element: crate::table::Scalar::Text, delimiter: b',', written: b':' }
    );
    here.columns[1].delimiter = None;
    assert_eq!(
        kind(&here),
        Kind::Array { element: crate::table::Scalar::Text, delimiter: b',', written: b',' }
    );
}

#[test]
fn what_does_not_fit_is_named() {
    let source = table(&[("id", "integer"), ("a", "text")]);
    let good = found(&[("id", "integer"), ("a", "text")]);
    let mut lacking = good.clone();
    lacking.columns.pop();
    assert!(matches!(shape(&source, &lacking), Err(Unfit::NoColumn { column, .. }) if column == "a"));
    assert_eq!(missing(&source, &lacking).len(), 1);
    let keyless = Found { keys: Vec::new(), ..good.clone() };
    assert!(matches!(shape(&source, &keyless), Err(Unfit::NoUniqueIndex { .. })));
    let mut identity = good.clone();
    identity.columns[1].identity = "a".into();
    assert!(matches!(shape(&source, &identity), Err(Unfit::Identity { .. })));
    let another = found(&[("id", "integer"), ("a", "integer")]);
    assert!(matches!(shape(&source, &another), Err(Unfit::Another { column, .. }) if column == "a"));
    let mut more = good.clone();
    more.columns.push(FoundColumn { name: "x".into(), not_null: true, ..FoundColumn::default() });
    assert!(matches!(shape(&source, &more), Err(Unfit::NotNull { .. })));
    more.columns[2].has_default = true;
    assert!(shape(&source, &more).is_ok());
    let mut computed = good;
    computed.columns[0].generated = true;
    assert!(matches!(shape(&source, &computed), Err(Unfit::GeneratedKey { .. })));
}

#[test]
fn types_that_round_in_silence_are_narrower() {
    for (there, here) in [
        ("numeric", "numeric(10,2)"),
        ("numeric(10,3)", "numeric(10,2)"),
        ("timestamp with time zone", "timestamp(3) with time zone"),
        ("timestamp without time zone", "date"),
        ("double precision", "real"),
        ("text", "\"char\""),
        ("text", "name"),
        ("interval", "interval(0)"),
        ("numeric[]", "numeric(10,2)[]"),
        ("interval", "interval day to second"),
    ] {
        assert!(narrows(there, here), "{there} into {here}");
    }
    for (there, here) in [
        ("numeric(10,2)", "numeric(10,2)"),
        ("numeric(10,2)", "numeric(12,3)"),
        ("integer", "numeric(12,3)"),
        ("numeric(10,2)", "numeric"),
        ("integer", "bigint"),
        ("text", "character varying(3)"),
        ("timestamp(3) with time zone", "timestamp with time zone"),
        ("public.mood", "text"),
        ("real", "double precision"),
    ] {
        assert!(!narrows(there, here), "{there} into {here}");
    }
}

#[test]
fn keys_that_the_destination_takes_for_equal_are_refused() {
    let merged = shape(&table(&[("id", "text")]), &found(&[("id", "public.citext")]));
    assert!(matches!(merged, Err(Unfit::MergedKeys { .. })));
    assert!(merges("character varying(9)", "character(9)") && merges("text", "numeric"));
    assert!(!merges("public.citext", "text") && !merges("public.citext", "public.citext"));
    assert!(!merges("integer", "numeric(20,0)") && !merges("character(3)", "character(4)"));
}

#[test]
fn tables_are_created_as_the_source_declares_them() {
    let mut source = table(&[("id", "integer"), ("we\"ird", "numeric(10,2)")]);
    source.columns[1].generated = true;
    assert_eq!(
        create_table(&source),
        "create table if not exists \"public\".\"t\" (\"id\" integer not null, \"we\"\"ird\" numeric(10,2), \
         primary key (\"id\"))"
    );
    assert_eq!(
        add_column(&source.name, &source.columns[1]),
        ["alter table \"public\".\"t\" add column if not exists \"we\"\"ird\" numeric(10,2)"]
    );
}

#[test]
fn type_names_tell_their_schema() {
    assert_eq!(type_schema("public.mood").as_deref(), Some("public"));
    assert_eq!(type_schema("\"My \"\"S\".mood[]").as_deref(), Some("My \"S"));
    assert_eq!(type_schema("numeric(10,2)"), None);
    assert_eq!(type_schema("\"char\""), None);
}

#[test]
fn labels_are_added_in_the_order_of_the_source() {
    let wanted = ["a", "b", "c"].map(String::from);
    assert_eq!(
        add_labels("public.mood", &wanted, &["b".to_owned()]),
        [
            "alter type public.mood add value if not exists 'a' before 'b'",
            "alter type public.mood add value if not exists 'c' after 'b'"
        ]
    );
    assert!(add_labels("public.mood", &wanted, &wanted).is_empty());
    assert_eq!(create_enum("public.mood", &["o'k".to_owned()]), "create type public.mood as enum ('o''k')");
}
