//! Histories: a random workload from one seed runs through the whole pipeline, while daemons are killed, and everything
//! that is left behind is checked against the log: topics, destination, ClickHouse, and each state in between.
//!
//! `TRIPLINE_TEST_SEEDS` and `TRIPLINE_TEST_SECONDS` make it longer; `scripts/crash.sh` does so by the hundred.

pub(crate) mod check;
mod observer;
mod round;

mod fenced;
mod kills;
mod random;
