//! The PostgreSQL target: brings a second PostgreSQL to the states that the source showed.
//!
//! ```text
//! Batch ─ fold ─▶ per table: deletes, upserts ─ encode ─▶ literals or COPY ─ sql ─▶ one transaction
//!                                                                              with positions and cut
//! ```
//!
//! `fold`, `held`, `encode`, `holds`, `schema`, `evolve`, `order`, `sql` and `script` are pure; `postgres` talks to the
//! server.

mod fold;
mod held;
mod encode;
mod holds;
mod schema;
mod evolve;
mod order;
mod sql;
mod script;
mod postgres;

pub use evolve::widens;
pub(crate) use order::parents_first;
pub use postgres::{Applied, LastCut, PostgresTarget, kept, lacking, progress, remove, reset};
