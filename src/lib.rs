//! tripline: trigger-based change data capture for PostgreSQL.
//!
//! The modules stand in the order in which a change flows through them:
//!
//! ```text
//!  source PostgreSQL               Kafka                               targets
//!  app table ─trigger─▶ log table ─tail─▶ window ─publish─▶ messages + cut ─consume─▶ batch ─▶ apply  ─▶ PostgreSQL
//!  (capture)                                    └─offset─▶ file                             └▶ mirror ─▶ ClickHouse
//! ```
//!
//! [`capture`] installs triggers that write every change of a table into its log table, under an id drawn from one
//! sequence. [`tail`] reads the log tables pass by pass: everything visible in snapshot T that was not visible in
//! snapshot B, in the order of the ids, so that a transaction which commits late is neither lost nor waited for.
//! [`publish`] sends each window of a pass as one Kafka transaction and writes a *cut* behind it, which says which
//! messages count; [`mod@offset`] keeps the position over what Kafka confirmed. [`consume`] follows the cuts, puts the
//! messages of all partitions back into order and hands them on as batches, whole parts only. [`apply`] and
//! [`mirror`] bring them into the targets, together with the positions up to which that is done.
//!
//! A row on its way: `capture` (trigger), `tail::postgres` (COPY), `tail::window` and `wire` (key and value), `publish`
//! (messages and cut), `consume::parts` (ranges put in order), `apply::fold` or `mirror::batch`, the target. Positions
//! follow it and never lead: the offset file after Kafka, `tripline.positions` with the rows, the group after ClickHouse.
//!
//! [`config`], [`event`], [`position`], [`table`], [`selection`], [`rename`], [`right`] and [`wire`] are the vocabulary: pure, without I/O.
//! [`session`] opens PostgreSQL sessions, [`tls`] says whom connections trust, [`verify`] compares the targets with the source, [`retention`] removes log rows that nobody needs, [`runtime`] runs the
//! daemons, [`telemetry`] shows what they do, [`error`] decides what an error means, [`cli`] is what people type, [`failpoint`] where tests let it die. docs/architecture.md has the
//! invariants, docs/tail.md the proof.

pub mod config;
pub mod event;
pub mod position;
pub mod table;
pub mod selection;
pub mod rename;
pub mod right;
pub mod wire;
pub mod session;
pub mod tls;
pub mod capture;
pub mod tail;
pub mod publish;
pub mod offset;
pub mod consume;
pub mod apply;
pub mod mirror;
pub mod verify;
pub mod retention;
pub mod telemetry;
pub mod runtime;
pub mod error;
pub mod cli;
pub mod failpoint;
