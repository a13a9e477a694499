//! Integration tests against real services: `scripts/test.sh` starts them; each test has its own database.

// Clippy's allow-unwrap-in-tests does not reach the helpers of tests.
#![allow(clippy::unwrap_used)]

mod apply;
mod capture;
mod db;
mod mirror;
mod passes;
mod workload;
