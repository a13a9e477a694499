//! Integration tests against real services: `scripts/test.sh` starts them. Each test has its own database.
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod apply;
mod capture;
mod db;
mod ddl;
mod faults;
mod history;
mod install;
mod mirror;
mod operations;
mod observed;
mod pagila;
mod passes;
mod pipeline;
mod retention;
mod rights;
mod selection;
mod server;
mod tables;
mod tls;
mod source;
mod types;
mod verify;
mod versions;
mod workload;
