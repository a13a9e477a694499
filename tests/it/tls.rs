//! Connections that somebody could listen in to: PostgreSQL, Kafka and ClickHouse with certificates made here, right and
//! wrong ones, and secrets that nobody may find in what the daemons write.

mod certificates;
mod clickhouse;
mod everything;
mod man_in_the_middle;
mod postgres;
