//! Integration tests against real services: `scripts/test.sh` starts them.

// Clippy's allow-unwrap-in-tests does not reach the helpers of tests.
#![allow(clippy::unwrap_used)]

mod apply;
mod mirror;
