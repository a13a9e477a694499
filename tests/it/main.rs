//! Integration tests against real services; each test has its own database.
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod capture;
mod db;
