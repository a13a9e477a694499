//! What can be seen of running daemons: metrics, HTTP, systemd, status.

mod http;
mod metrics;
mod readiness;
mod schema;
mod status;
mod systemd;
