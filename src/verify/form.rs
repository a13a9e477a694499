//! Which text of a column is compared: one that is equal on both sides exactly when the values are.

use crate::table::{Column, quote_ident};

/// A column as the destination has it.
#[derive(Debug, Clone)]
pub(super) struct Here {
    /// Name, unquoted.
    pub(super) name: String,
    /// Type by `format_type` with an empty search path.
    pub(super) declared: String,
    /// The same without length and precision.
    pub(super) plain: String,
    /// A type of `pg_catalog`.
    pub(super) builtin: bool,
    /// Computed by the destination.
    pub(super) generated: bool,
}

/// How a value becomes the text that is compared. The same on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// The text that its type prints.
    Text,
    /// That text, read and printed by this type: the destination's, where it is another one.
    Via(String),
    /// The number, whatever its scale: the destination's type has another one.
    Number,
    /// Without trailing blanks, which `character(n)` at the destination adds.
    Blank,
}

/// A column that is compared, and how.
#[derive(Debug, Clone)]
pub(super) struct Compared {
    /// The source's column.
    pub(super) column: Column,
    /// How.
    pub(super) form: Form,
}

/// Decides how values of a source column compare with those in a column of the destination.
///
/// No length or precision is part of a cast: a cast to `varchar(3)` would cut in silence what has to be found.
pub(super) fn form(column: &Column, here: &Here) -> Form {
    if column.declared == here.declared || !here.builtin {
        return Form::Text;
    }
    let exact_digits = matches!(column.base.as_str(), "int2" | "int4" | "int8" | "oid" | "numeric");
    match here.plain.as_str() {
        "numeric" if here.declared == "numeric" && exact_digits => Form::Text,
        "numeric" => Form::Number,
        "text" | "character varying" | "name" | "\"char\"" => Form::Text,
        "character" => Form::Blank,
        "bit" => Form::Via("bit varying".into()),
        plain => Form::Via(plain.to_owned()),
    }
}

impl Compared {
    /// Returns the SQL of the value's text in a row `t`; only for values that are not NULL.
    ///
    /// `concat` prints with the type's output function; a cast to text does not for `boolean` and `character`.
    pub(super) fn text(&self) -> String {
        let text = format!("concat(t.{})", quote_ident(&self.column.name));
        match &self.form {
            Form::Text => text,
            Form::Via(plain) => format!("concat({text}::{plain})"),
            Form::Number => format!("concat(trim_scale({text}::numeric))"),
            Form::Blank => format!("rtrim({text}, ' ')"),
        }
    }
}

/// Returns the SQL of one text over several columns: different values, different text. NULL stands without
/// quotes, everything else between them.
pub(super) fn joined<'a>(columns: impl IntoIterator<Item = &'a Compared>) -> String {
    let quoted = columns.into_iter().map(|compared| {
        let (name, text) = (quote_ident(&compared.column.name), compared.text());
        // Unlike IS NULL, this is false for a composite value of NULLs.
        format!("quote_nullable(case when t.{name} is not distinct from null then null else {text} end)")
    });
    quoted.collect::<Vec<_>>().join(" || ',' || ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(declared: &str, base: &str, there: &str) -> Form {
        let column = Column::new("c", declared, base);
        let plain = there.split('(').next().unwrap().to_owned();
        let builtin = !there.contains('.');
        form(&column, &Here { name: "c".into(), declared: there.into(), plain, builtin, generated: false })
    }

    #[test]
    fn equal_types_and_strings_compare_as_they_print() {
        for (declared, base, there) in [
            ("numeric(10,2)", "numeric", "numeric(10,2)"),
            ("numeric(10,2)", "numeric", "numeric"),
            ("integer", "int4", "numeric"),
            ("public.mood", "text", "text"),
            ("character varying(5)", "varchar", "text"),
            ("text", "text", "public.citext"),
        ] {
            assert_eq!(chosen(declared, base, there), Form::Text, "{declared} as {there}");
        }
    }

    #[test]
    fn other_types_compare_as_the_destination_would_print_them() {
        assert_eq!(chosen("integer", "int4", "numeric(12,2)"), Form::Number);
        assert_eq!(chosen("json", "json", "jsonb"), Form::Via("jsonb".into()));
        assert_eq!(chosen("real", "float4", "double precision"), Form::Via("double precision".into()));
        assert_eq!(chosen("real", "float4", "numeric"), Form::Number);
        assert_eq!(chosen("text", "text", "character(5)"), Form::Blank);
        assert_eq!(chosen("bit(3)", "bit", "bit(4)"), Form::Via("bit varying".into()));
    }
}
