//! What can be seen of running daemons: metrics, HTTP, systemd, status.

mod halts;
mod http;
mod metrics;
mod readiness;
mod reload;
mod schema;
mod status;
mod systemd;
