//! What a column of PostgreSQL becomes in ClickHouse (docs/types.md).

use std::fmt;

use crate::config::OutOfRange;
use crate::table::Column;

/// Most digits of a ClickHouse `Decimal`.
const MAX_DIGITS: u32 = 76;

/// A ClickHouse type without `Nullable`, `Array` and `LowCardinality` around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    Int16,
    Int32,
    Int64,
    UInt32,
    Float32,
    Float64,
    Bool,
    Decimal {
        /// Digits in all, 1 to 76.
        precision: u8,
        /// Digits behind the point.
        scale: u8,
    },
    String,
    Date32,
    /// Microseconds; the time zone is display only.
    DateTime64,
    Uuid,
}

impl Base {
    /// Tells whether every value of `other` has an exact form in `self`.
    pub(super) fn holds(self, other: Self) -> bool {
        match (self, other) {
            (Self::String, _)
            | (Self::Int32 | Self::Int64, Self::Int16)
            | (Self::Int64, Self::Int32 | Self::UInt32)
            | (Self::Float64, Self::Float32) => true,
            (Self::Decimal { precision: p, scale: s }, Self::Decimal { precision, scale }) => {
                s >= scale && p - s >= precision - scale
            }
            _ => self == other,
        }
    }

    /// Tells whether PostgreSQL's type has values that this one cannot hold.
    pub(super) fn is_limited(self) -> bool {
        matches!(self, Self::Date32 | Self::DateTime64 | Self::Decimal { .. })
    }

    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "Int16" => Self::Int16,
            "Int32" => Self::Int32,
            "Int64" => Self::Int64,
            "UInt32" => Self::UInt32,
            "Float32" => Self::Float32,
            "Float64" => Self::Float64,
            "Bool" => Self::Bool,
            "String" => Self::String,
            "Date32" => Self::Date32,
            "UUID" => Self::Uuid,
            _ if text == "DateTime64(6)" || text.starts_with("DateTime64(6, '") => Self::DateTime64,
            _ => {
                let (precision, scale) =
                    text.strip_prefix("Decimal(")?.strip_suffix(')')?.split_once(", ")?;
                Self::Decimal { precision: precision.parse().ok()?, scale: scale.parse().ok()? }
            }
        })
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decimal { precision, scale } => write!(f, "Decimal({precision}, {scale})"),
            Self::DateTime64 => f.write_str("DateTime64(6, 'UTC')"),
            Self::Uuid => f.write_str("UUID"),
            plain => write!(f, "{plain:?}"),
        }
    }
}

/// A ClickHouse type as far as the mirror uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ColumnType {
    /// What one value, or one element of the array, is.
    pub(super) base: Base,
    /// `Array(Nullable(base))`.
    pub(super) array: bool,
    /// `Nullable(base)`; never together with `array`.
    pub(super) nullable: bool,
    /// `LowCardinality(…)`; changes how ClickHouse stores strings, not how they travel.
    pub(super) low_cardinality: bool,
}

impl ColumnType {
    /// Returns the type that a new ClickHouse table gets for a column.
    ///
    /// An array that can be NULL becomes JSON text in a `Nullable(String)`: ClickHouse has no NULL array, and an
    /// empty one in its place would lose a difference in silence. A sorting key takes neither NULLs nor arrays of
    /// them, so key columns are never nullable and arrays among them are text too.
    ///
    /// What takes the place of a value that the type cannot hold needs room: NULL, or text for all of the column.
    pub(super) fn for_column(column: &Column, key: bool, policy: OutOfRange) -> Self {
        let wanted = Wanted::of(column);
        let room = policy == OutOfRange::Null && !wanted.array && wanted.base.is_limited();
        let nullable = !key && (!column.not_null || room);
        let low_cardinality = column.enum_labels.is_some();
        match wanted {
            Wanted { base, array } if policy == OutOfRange::String && (array || base.is_limited()) => {
                Self { base: Base::String, array: false, nullable, low_cardinality: false }
            }
            Wanted { array: true, .. } if key || nullable => {
                Self { base: Base::String, array: false, nullable, low_cardinality: false }
            }
            Wanted { base, array } => Self {
                base,
                array,
                nullable,
                low_cardinality: low_cardinality && base == Base::String && !array,
            },
        }
    }

    /// Tells whether an existing column of this type can take the values of a source column, all of them and
    /// exactly: the type a new table would get, a wider one, or `String`, which takes the text on the topic.
    ///
    /// An `Array` is accepted for a nullable array too, because only a person can have chosen it: a NULL is then
    /// an error when it comes.
    pub(super) fn accepts(self, column: &Column, key: bool) -> bool {
        let Wanted { base, array } = Wanted::of(column);
        let nulls_fit = self.nullable || self.array || key || column.not_null;
        let values_fit = match (self.array, array) {
            (true, true) | (false, false) => self.base.holds(base),
            (false, true) => self.base == Base::String,
            (true, false) => false,
        };
        nulls_fit && values_fit
    }

    /// Reads a type as `system.columns` writes it; `None` for types the mirror does not write.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let inside = |text: &str, name: &str| Some(text.strip_prefix(name)?.strip_suffix(')')?.to_owned());
        let plain = |base| Self { base, array: false, nullable: false, low_cardinality: false };
        if let Some(element) = inside(text, "Array(Nullable(") {
            return Some(Self { array: true, ..plain(Base::parse(element.strip_suffix(')')?)?) });
        }
        if let Some(inner) = inside(text, "LowCardinality(") {
            return Some(Self { low_cardinality: true, ..Self::parse(&inner)? });
        }
        if let Some(inner) = inside(text, "Nullable(") {
            return Some(Self { nullable: true, ..plain(Base::parse(&inner)?) });
        }
        Some(plain(Base::parse(text)?))
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { base, array, nullable, low_cardinality } = *self;
        if array {
            return write!(f, "Array(Nullable({base}))");
        }
        match (low_cardinality, nullable) {
            (true, true) => write!(f, "LowCardinality(Nullable({base}))"),
            (true, false) => write!(f, "LowCardinality({base})"),
            (false, true) => write!(f, "Nullable({base})"),
            (false, false) => write!(f, "{base}"),
        }
    }
}

/// The nearest exact type of a source column's value or element, NULLs aside.
struct Wanted {
    base: Base,
    array: bool,
}

impl Wanted {
    fn of(column: &Column) -> Self {
        let array = column.base.ends_with("[]");
        let base = match column.base.trim_end_matches("[]") {
            "int2" => Base::Int16,
            "int4" => Base::Int32,
            "int8" => Base::Int64,
            "oid" => Base::UInt32,
            "float4" => Base::Float32,
            "float8" => Base::Float64,
            "bool" => Base::Bool,
            "numeric" => decimal(column.declared.trim_end_matches("[]")),
            "date" => Base::Date32,
            "timestamp" | "timestamptz" => Base::DateTime64,
            "uuid" => Base::Uuid,
            _ => Base::String,
        };
        Self { base, array }
    }
}

/// Returns the type for `numeric(p,s)`; `String` without precision (a domain's is not known here) and beyond 76
/// digits. PostgreSQL allows scales below zero and above the precision.
fn decimal(declared: &str) -> Base {
    let modifier = || {
        let (precision, scale) = declared.strip_prefix("numeric(")?.strip_suffix(')')?.split_once(',')?;
        Some((precision.trim().parse::<u32>().ok()?, scale.trim().parse::<i32>().ok()?))
    };
    let Some((precision, scale)) = modifier() else { return Base::String };
    let (precision, scale) = match u32::try_from(scale) {
        Ok(scale) => (precision.max(scale), scale),
        Err(_) => (precision + scale.unsigned_abs(), 0),
    };
    if precision > MAX_DIGITS {
        return Base::String;
    }
    Base::Decimal { precision: precision as u8, scale: scale as u8 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(declared: &str, base: &str, not_null: bool) -> Column {
        Column { not_null, ..Column::new("c", declared, base) }
    }

    fn ddl(declared: &str, base: &str) -> String {
        ColumnType::for_column(&column(declared, base, true), false, OutOfRange::Error).to_string()
    }

    #[test]
    fn numeric_becomes_decimal_where_one_can_hold_it() {
        assert_eq!(ddl("numeric(10,2)", "numeric"), "Decimal(10, 2)");
        assert_eq!(ddl("numeric(76,76)", "numeric"), "Decimal(76, 76)");
        assert_eq!(ddl("numeric(77,0)", "numeric"), "String");
        assert_eq!(ddl("numeric(1000,0)", "numeric"), "String");
        assert_eq!(ddl("numeric", "numeric"), "String");
        assert_eq!(ddl("public.price", "numeric"), "String", "the precision of a domain is not known");
        assert_eq!(ddl("numeric(3,5)", "numeric"), "Decimal(5, 5)");
        assert_eq!(ddl("numeric(2,-3)", "numeric"), "Decimal(5, 0)");
        assert_eq!(ddl("numeric(10,2)[]", "numeric[]"), "Array(Nullable(Decimal(10, 2)))");
    }

    #[test]
    fn an_array_that_can_be_null_is_text_and_any_key_array_too() {
        let nullable = ColumnType::for_column(&column("text[]", "text[]", false), false, OutOfRange::Error);
        assert_eq!(nullable.to_string(), "Nullable(String)");
        assert_eq!(
            ColumnType::for_column(&column("text[]", "text[]", true), true, OutOfRange::Error).to_string(),
            "String"
        );
        assert_eq!(ddl("uuid[]", "uuid[]"), "Array(Nullable(UUID))");
    }

    #[test]
    fn an_enum_is_low_cardinality() {
        let mut mood = column("public.mood", "text", false);
        mood.enum_labels = Some(vec!["happy".into()]);
        assert_eq!(
            ColumnType::for_column(&mood, false, OutOfRange::Error).to_string(),
            "LowCardinality(Nullable(String))"
        );
        assert_eq!(
            ColumnType::for_column(&mood, true, OutOfRange::Error).to_string(),
            "LowCardinality(String)"
        );
    }

    #[test]
    fn policies_make_room_where_a_type_is_limited() {
        let ddl = |declared: &str, base: &str, policy| {
            ColumnType::for_column(&column(declared, base, true), false, policy).to_string()
        };
        assert_eq!(ddl("date", "date", OutOfRange::Null), "Nullable(Date32)");
        assert_eq!(ddl("date", "date", OutOfRange::Clamp), "Date32");
        assert_eq!(ddl("date", "date", OutOfRange::String), "String");
        assert_eq!(ddl("numeric(5,2)", "numeric", OutOfRange::String), "String");
        assert_eq!(ddl("integer[]", "int4[]", OutOfRange::String), "String");
        assert_eq!(ddl("date[]", "date[]", OutOfRange::Null), "Array(Nullable(Date32))");
        for policy in [OutOfRange::Null, OutOfRange::String] {
            assert_eq!(ddl("integer", "int4", policy), "Int32");
        }
        let key = ColumnType::for_column(&column("date", "date", true), true, OutOfRange::String);
        assert_eq!(key.to_string(), "String");
    }

    #[test]
    fn types_read_back_as_they_print() {
        for text in [
            "Int16",
            "Nullable(UInt32)",
            "Decimal(38, 9)",
            "DateTime64(6, 'UTC')",
            "Nullable(Date32)",
            "LowCardinality(Nullable(String))",
            "LowCardinality(String)",
            "Array(Nullable(Bool))",
            "Array(Nullable(Decimal(9, 0)))",
        ] {
            assert_eq!(ColumnType::parse(text).unwrap().to_string(), text);
        }
        for text in ["Int8", "Array(Int32)", "DateTime64(3, 'UTC')", "Enum8('a' = 1)", "FixedString(5)", ""] {
            assert_eq!(ColumnType::parse(text), None, "{text}");
        }
    }

    #[test]
    fn existing_columns_may_be_wider_but_never_narrower() {
        let accepts =
            |existing: &str, column: &Column| ColumnType::parse(existing).unwrap().accepts(column, false);
        let int4 = column("integer", "int4", true);
        for existing in ["Int32", "Int64", "Nullable(Int32)", "String", "Nullable(String)"] {
            assert!(accepts(existing, &int4), "{existing}");
        }
        for existing in ["Int16", "UInt32", "Float64", "Array(Nullable(Int32))", "UUID"] {
            assert!(!accepts(existing, &int4), "{existing}");
        }
        assert!(!accepts("Int32", &column("integer", "int4", false)), "no room for NULL");
        let price = column("numeric(10,2)", "numeric", true);
        assert!(accepts("Decimal(12, 4)", &price));
        assert!(!accepts("Decimal(10, 4)", &price), "fewer digits before the point");
        assert!(!accepts("Decimal(10, 1)", &price));
        assert!(accepts("Array(Nullable(String))", &column("text[]", "text[]", false)));
        assert!(accepts("DateTime64(6)", &column("timestamp", "timestamp", true)));
    }
}
