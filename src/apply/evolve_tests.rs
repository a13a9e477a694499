use super::super::schema::FoundKey;
use super::*;

fn column(id: i16, name: &str, declared: &str) -> Column {
    Column { id, ..Column::new(name, declared, "text") }
}

fn table(version: u32, columns: &[(i16, &str, &str)]) -> Table {
    Table {
        name: TableName::new("public", "t"),
        version,
        columns: columns.iter().map(|(id, name, declared)| column(*id, name, declared)).collect(),
        key: vec![columns[0].1.into()],
        relation: 7,
    }
}

fn found(columns: &[(i16, &str, &str)]) -> Found {
    let column = |&(number, name, declared): &(i16, &str, &str)| FoundColumn {
        name: name.into(),
        number,
        declared: declared.into(),
        ..FoundColumn::default()
    };
    let key = FoundKey { columns: vec![columns[0].1.into()], operators: vec!["=".into()] };
    Found {
        oid: 1,
        name: TableName::new("public", "t"),
        columns: columns.iter().map(column).collect(),
        keys: vec![key],
        ..Found::default()
    }
}

/// The statements from one shape of the source to another, at a destination that follows; its column numbers are its own.
fn steps(old: &[(i16, &str, &str)], new: &[(i16, &str, &str)]) -> Result<Vec<String>, Unfit> {
    let numbered: Vec<_> = old.iter().map(|(id, name, declared)| (id + 10, *name, *declared)).collect();
    let here = found(&numbered);
    let made = Made::of(&table(1, old), &here).unwrap();
    let steps = statements(&table(2, new), &here, &made, true)?;
    Ok(steps.into_iter().map(|step| step.replace("alter table \"public\".\"t\" ", "")).collect())
}

const OLD: &[(i16, &str, &str)] = &[(1, "id", "integer"), (2, "a", "text"), (3, "b", "text")];

#[test]
fn renames_are_told_from_drops_by_number() {
    let renamed = [(1, "id", "integer"), (2, "c", "text"), (3, "b", "text")];
    assert_eq!(steps(OLD, &renamed).unwrap(), ["rename column \"a\" to \"c\""]);
    let replaced = [(1, "id", "integer"), (4, "a", "text"), (3, "b", "text")];
    assert_eq!(
        steps(OLD, &replaced).unwrap(),
        ["drop column \"a\"", "add column if not exists \"a\" text"],
        "another column of that name"
    );
    let dropped = [(1, "id", "integer"), (4, "c", "text"), (3, "b", "text")];
    assert_eq!(steps(OLD, &dropped).unwrap(), ["drop column \"a\"", "add column if not exists \"c\" text"]);
}

#[test]
fn names_that_change_hands_take_a_step_in_between() {
    let swapped = [(1, "id", "integer"), (2, "b", "text"), (3, "a", "text")];
    assert_eq!(
        steps(OLD, &swapped).unwrap(),
        [
            "rename column \"a\" to \"tripline_12\"",
            "rename column \"b\" to \"tripline_13\"",
            "rename column \"tripline_12\" to \"b\"",
            "rename column \"tripline_13\" to \"a\"",
        ]
    );
}

#[test]
fn types_widen_and_anything_else_names_the_statement() {
    let wider = [(1, "id", "bigint"), (2, "a", "text"), (3, "b", "text")];
    assert_eq!(steps(OLD, &wider).unwrap(), ["alter column \"id\" type bigint using \"id\"::bigint"]);
    let other = [(1, "id", "integer"), (2, "a", "integer"), (3, "b", "text")];
    let refused = steps(OLD, &other).unwrap_err().to_string();
    let statement = "alter table \"public\".\"t\" alter column \"a\" type integer using \"a\"::integer";
    assert!(refused.contains(statement), "{refused}");
    // Run by a person, it is right already; another type that the destination has chosen itself is left alone.
    let made = Made::of(&table(1, OLD), &found(OLD)).unwrap();
    for here in ["integer", "bigint"] {
        let here = found(&[(1, "id", "integer"), (2, "a", here), (3, "b", "text")]);
        assert_eq!(statements(&table(2, &other), &here, &made, true).unwrap(), [] as [&str; 0]);
    }
}

#[test]
fn a_column_comes_with_what_existing_rows_got() {
    let mut new =
        table(2, &[(1, "id", "integer"), (2, "a", "text"), (3, "b", "text"), (4, "c", "numeric(4,2)")]);
    new.columns[3].initial = Some("1.50".into());
    let made = Made::of(&table(1, OLD), &found(OLD)).unwrap();
    let steps = statements(&new, &found(OLD), &made, true).unwrap();
    assert!(
        steps[0].ends_with("add column if not exists \"c\" numeric(4,2) default '1.50'::numeric(4,2)"),
        "{steps:?}"
    );
    assert!(steps[1].ends_with("alter column \"c\" drop default"), "{steps:?}");
}

#[test]
fn rows_of_an_older_version_go_into_the_newer_table() {
    let mut new =
        table(2, &[(1, "number", "integer"), (3, "b2", "text"), (4, "c", "text"), (5, "d", "text")]);
    new.columns[2].initial = Some("x".into());
    let here = found(&[(1, "number", "integer"), (3, "b2", "text"), (4, "c", "text"), (5, "d", "text")]);
    let made = Made::of(&new, &here).unwrap();
    let shape = older_shape(&table(1, OLD), &here, &made).unwrap();
    let columns: Vec<_> = shape
        .columns
        .iter()
        .map(|slot| (slot.name.as_str(), slot.member.as_str(), slot.constant.clone()))
        .collect();
    assert_eq!(
        columns,
        [
            ("number", "id", None),
            ("b2", "b", None),
            ("c", "c", Some(Some("x".to_owned()))),
            ("d", "d", Some(None)),
        ]
    );
    assert_eq!((shape.key[0].name.as_str(), shape.key[0].member.as_str()), ("number", "id"));
}
