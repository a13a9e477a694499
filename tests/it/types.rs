//! Every type through the whole pipeline, with PostgreSQL as the oracle.

mod random;
mod cases;
mod oracle;
mod clickhouse;
mod page;
mod postgres;
mod misfit;
mod limits;
