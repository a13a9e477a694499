//! The catalog fingerprint that every pass reads.

use crate::table::{quote_ident, quote_literal};

use super::render::render;

/// Returns a scalar subquery (text) that changes with every change of the catalog rows that capture depends on.
///
/// Equal fingerprints mean that the last [`verify`](super::verify) still holds. It also changes where nothing is wrong
/// (a TRUNCATE, a GRANT): then verifying again says so. Fails when the registry does not exist.
///
/// Run it under `set local jit = off`: compiling it takes 40 ms, running it 1.5 ms for 10 tables, 12 ms for 200.
pub fn fingerprint_sql(schema: &str) -> String {
    render(
        include_str!("../../sql/capture/fingerprint.sql"),
        &[("schema", &quote_ident(schema)), ("schema_literal", &quote_literal(schema))],
    )
}
