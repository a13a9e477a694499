//! Names of topics.

use crate::table::TableName;

/// Longest name that Kafka takes, in bytes.
const LONGEST: usize = 249;

/// Returns the topic of a table: `<prefix>.<schema>.<table>`.
///
/// Kafka allows letters, digits, `.`, `_` and `-`. Where a name has other characters, or is too long, they become `_`
/// and a checksum of the real name is added, so that different tables never share a topic.
pub fn data_topic(prefix: &str, table: &TableName) -> String {
    let plain = format!("{prefix}.{}.{}", table.schema, table.name);
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let ambiguous = table.schema.contains('.') || table.name.contains('.');
    if !ambiguous && plain.len() <= LONGEST && plain.chars().all(legal) {
        return plain;
    }
    let real = format!("{}\0{}", table.schema, table.name);
    let mut topic: String = plain.chars().map(|c| if legal(c) { c } else { '_' }).take(LONGEST - 9).collect();
    topic.push_str(&format!("-{:08x}", crc32c::crc32c(real.as_bytes())));
    topic
}

/// Returns the compacted topic with one record per table and schema version.
pub fn schemas_topic(prefix: &str) -> String {
    format!("{prefix}.tripline.schemas")
}

/// Returns the topic with one record per published part of a pass: one partition, never compacted.
pub fn cuts_topic(prefix: &str) -> String {
    format!("{prefix}.tripline.cuts")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_legal_and_never_shared() {
        assert_eq!(data_topic("shop", &TableName::new("public", "orders")), "shop.public.orders");
        let odd = [
            TableName::new("public", "order lines"),
            TableName::new("public", "order_lines"),
            TableName::new("public", "order\u{e9}lines"),
            TableName::new("a.b", "c"),
            TableName::new("a", "b.c"),
            TableName::new("s".repeat(63), "é".repeat(31)),
        ];
        let mut topics: Vec<String> = odd.iter().map(|table| data_topic("shop", table)).collect();
        assert!(topics.iter().all(|topic| topic.len() <= LONGEST && topic.is_ascii()), "{topics:?}");
        topics.sort();
        topics.dedup();
        assert_eq!(topics.len(), odd.len());
    }
}
