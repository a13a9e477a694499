//! Whether a column of the destination has room for every value of a column of the source.
//!
//! What its input function would round or cut in silence is `schema`'s to refuse; this is about values that it would
//! refuse when they come, in the middle of a pass.

use super::schema::split_type;
use crate::table::{Column, Kind};

/// Tells whether every value of the source's column has a form in the type `here`, as `format_type` writes it with an
/// empty search path. Types that are not the server's own are taken at their word: a domain or an extension's type
/// says itself what it takes.
pub(super) fn holds(column: &Column, here: &str) -> bool {
    if column.declared == here || is_foreign(here) {
        return true;
    }
    let there = if is_foreign(&column.declared) { base(column) } else { column.declared.clone() };
    fits(&there, here)
}

/// Tells whether a type has a schema in its name, which those of `pg_catalog` have not.
fn is_foreign(declared: &str) -> bool {
    split_type(declared.trim_end_matches("[]")).0.contains('.')
}

/// What a domain, or a type of the application, is in the log.
fn base(column: &Column) -> String {
    let (element, array) = match column.kind() {
        Kind::Array { .. } => (column.base.trim_end_matches("[]"), "[]"),
        Kind::Scalar(_) => (column.base.as_str(), ""),
    };
    let name = match element {
        "int2" => "smallint",
        "int4" => "integer",
        "int8" => "bigint",
        "float4" => "real",
        "float8" => "double precision",
        "bool" => "boolean",
        "varchar" => "character varying",
        // Unlike `character`, it has no length.
        "bpchar" => "bpchar",
        "varbit" => "bit varying",
        "time" => "time without time zone",
        "timetz" => "time with time zone",
        "timestamp" => "timestamp without time zone",
        "timestamptz" => "timestamp with time zone",
        other => other,
    };
    format!("{name}{array}")
}

fn fits(there: &str, here: &str) -> bool {
    if there == here || matches!(here, "text" | "character varying") {
        return true;
    }
    match (there.strip_suffix("[]"), here.strip_suffix("[]")) {
        (Some(there), Some(here)) => return fits(there, here),
        (None, None) => {}
        _ => return false,
    }
    let ((there, from), (here, to)) = (split_type(there), split_type(here));
    // Without one, as long as it likes.
    let no_longer = || to.first().is_none_or(|to| from.first().is_some_and(|from| from <= to));
    let digits = |digits: &[u32]| {
        let scale = digits.get(1).copied().unwrap_or(0);
        digits.first().map(|precision| precision.saturating_sub(scale))
    };
    let room = |needed: u32| digits(&to).is_none_or(|room| room >= needed);
    match (there.as_str(), here.as_str()) {
        ("smallint", "integer" | "bigint" | "real" | "double precision") => true,
        ("integer", "bigint" | "double precision") | ("oid", "bigint") | ("real", "double precision") => true,
        ("smallint", "numeric") => room(5),
        ("integer" | "oid", "numeric") => room(10),
        ("bigint", "numeric") => room(19),
        ("numeric", "numeric") => digits(&to).is_none_or(|to| digits(&from).is_some_and(|from| from <= to)),
        ("real" | "double precision", "numeric") => to.is_empty(),
        ("character varying" | "character", "character varying" | "character") => no_longer(),
        ("character varying" | "character" | "text" | "name", "bpchar") => true,
        ("bit varying" | "bit", "bit varying") => no_longer(),
        ("bit", "bit") => from == to,
        ("date", date) => date.starts_with("timestamp"),
        ("time without time zone", "time with time zone") => true,
        (there, here) if there.starts_with("timestamp") => here.starts_with("timestamp"),
        (there, here) if there.starts_with("interval") => here.starts_with("interval"),
        ("json", "jsonb") | ("jsonb", "json") | ("cidr", "inet") | ("macaddr", "macaddr8") => true,
        // Another precision alone.
        (there, here) => there == here,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(declared: &str, base: &str) -> Column {
        Column::new("c", declared, base)
    }

    #[test]
    fn wider_types_hold_what_narrower_ones_do_not() {
        for (there, here) in [
            ("integer", "bigint"),
            ("integer", "numeric(12,2)"),
            ("numeric(10,2)", "numeric(12,3)"),
            ("numeric(10,2)", "numeric"),
            ("character varying(3)", "character varying(4)"),
            ("character(3)", "character varying"),
            ("jsonb", "text"),
            ("integer[]", "bigint[]"),
            ("integer[]", "text"),
            ("date", "timestamp without time zone"),
            ("timestamp(3) with time zone", "timestamp with time zone"),
            ("bit(3)", "bit varying(3)"),
            ("interval", "interval day to second"),
            ("time(2) without time zone", "time without time zone"),
        ] {
            assert!(fits(there, here), "{there} into {here}");
            let exchanged = ["interval", "time(2) without time zone", "timestamp(3) with time zone"];
            assert!(exchanged.contains(&there) || !fits(here, there), "{here} into {there}");
        }
        for (there, here) in [
            ("text", "integer"),
            ("text", "character varying(10)"),
            ("integer", "numeric(10,2)"),
            ("bigint", "double precision"),
            ("numeric", "numeric(10,0)"),
            ("time with time zone", "time without time zone"),
            ("integer", "text[]"),
            ("integer[]", "jsonb"),
            ("inet", "cidr"),
            ("bit(3)", "bit(4)"),
            ("money", "numeric"),
            ("uuid", "bytea"),
        ] {
            assert!(!fits(there, here), "{there} into {here}");
        }
    }

    #[test]
    fn domains_are_what_they_are_in_the_log_and_foreign_types_are_taken_at_their_word() {
        assert!(holds(&column("public.small", "int4"), "bigint"));
        assert!(!holds(&column("public.small", "int4"), "smallint"));
        assert!(holds(&column("public.smalls[]", "int4[]"), "integer[]"));
        assert!(!holds(&column("public.mood", "text"), "integer"));
        assert!(holds(&column("public.mood", "text"), "text"));
        assert!(holds(&column("integer", "int4"), "public.small"));
        assert!(holds(&column("public.mood[]", "text[]"), "public.mood[]"));
    }
}
