//! What can be seen of a running daemon: its stages, how far behind each is, metrics, HTTP, and what systemd hears.
//!
//! ```text
//!  stages ── Step: what a stage does, since when ─┬─▶ http: /metrics /healthz /readyz /status
//!  Lag: rows and seconds behind ──────────────────┤
//!  counters and histograms (crate metrics) ───────┴─▶ systemd: READY, STATUS, WATCHDOG
//! ```
//!
//! Counted is per window, part and batch, never per row. Times are differences of the source's own clock or of the
//! monotonic one: this machine's time of day is in none of them.

mod board;
pub mod catalog;
mod clock;
mod http;
mod lag;
mod systemd;

pub(crate) use board::{Board, TargetWatch, Task};
pub use board::{Report, StageReport, TaskReport};
pub(crate) use clock::SourceClock;
pub(crate) use http::{Listener, serve};
pub(crate) use lag::{Lag, Taken};
pub(crate) use systemd::{notify, tell};
