//! Names of our objects, within PostgreSQL's 63 bytes.

use crate::table::TableName;

/// Longest name that PostgreSQL keeps whole, in bytes.
const MAX_BYTES: usize = 63;

/// Returns `base` + `suffix`, cut to 63 bytes with a hash of `base` where it is longer.
pub(super) fn fit(base: &str, suffix: &str) -> String {
    if base.len() + suffix.len() <= MAX_BYTES { format!("{base}{suffix}") } else { hashed(base, suffix) }
}

/// Returns `base`, cut, with its hash and `suffix`.
fn hashed(base: &str, suffix: &str) -> String {
    let hash = format!("_{:08x}", crc32c::crc32c(base.as_bytes()));
    let mut end = base.len().min(MAX_BYTES.saturating_sub(hash.len() + suffix.len()));
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{hash}{suffix}", &base[..end])
}

/// Returns the log table's name: `<table>_cdc` for `public`, `<schema>__<table>_cdc` otherwise; with a hash when
/// `taken` says that another table has it (`public.a__b` and `a.b`).
pub(super) fn log_table(table: &TableName, taken: impl Fn(&str) -> bool) -> String {
    let base = match table.schema.as_str() {
        "public" => table.name.clone(),
        schema => format!("{schema}__{}", table.name),
    };
    let name = fit(&base, "_cdc");
    if !taken(&name) {
        return name;
    }
    // A dot: the base of a qualified name is never that of an unqualified one.
    let full = format!("{}.{}", table.schema, table.name);
    hashed(&full, "_cdc")
}

/// Returns the trigger's name. `00_` makes it fire first among the triggers of its level; `zz_` last.
pub(super) fn trigger(order: &str, schema: &str, what: &str) -> String {
    fit(&format!("{order}_tripline_{schema}"), &format!("_{what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_tables_are_named_after_their_tables() {
        let free = |_: &str| false;
        assert_eq!(log_table(&TableName::new("public", "orders"), free), "orders_cdc");
        assert_eq!(log_table(&TableName::new("shop", "orders"), free), "shop__orders_cdc");
    }

    #[test]
    fn long_names_are_cut_with_a_hash_and_stay_apart() {
        let one = log_table(&TableName::new("public", format!("{}a", "é".repeat(31))), |_| false);
        let two = log_table(&TableName::new("public", format!("{}b", "é".repeat(31))), |_| false);
        assert!(one.len() <= 63 && two.len() <= 63 && one != two, "{one} {two}");
        assert!(one.ends_with("_cdc"));
        assert_eq!(fit(&"x".repeat(59), "_cdc").len(), 63);
        assert_eq!(fit(&"x".repeat(60), "_cdc").len(), 63);
    }

    #[test]
    fn a_taken_name_gets_a_hash() {
        let name = log_table(&TableName::new("a", "b"), |name| name == "a__b_cdc");
        assert!(name.starts_with("a.b_") && name.ends_with("_cdc") && name.len() <= 63, "{name}");
    }

    #[test]
    fn trigger_names_sort_first_and_last() {
        assert_eq!(trigger("00", "cdc", "insert"), "00_tripline_cdc_insert");
        assert!(trigger("00", &"s".repeat(63), "insert").len() <= 63);
    }
}
