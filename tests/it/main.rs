//! Integration tests against real services: `scripts/services.sh up` starts them.

// Clippy's allow-unwrap-in-tests does not reach the helpers of tests.
#![allow(clippy::unwrap_used)]

mod mirror;
