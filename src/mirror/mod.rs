//! The ClickHouse target.
