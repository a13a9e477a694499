//! tripline: trigger-based change data capture for PostgreSQL.

pub mod config;
pub mod event;
pub mod position;
pub mod table;
pub mod wire;
pub mod session;
pub mod capture;
pub mod tail;
pub mod publish;
pub mod offset;
pub mod consume;
pub mod apply;
pub mod mirror;
pub mod runtime;
pub mod error;
pub mod cli;
