//! The whole pipeline: the real binary as child processes between real services.
//!
//! Every test has a pipeline of its own: databases, topics, offset directory. [`harness::Pipeline`] takes all of it
//! away again, and fails a test whose daemons logged a warning it does not expect, or a row's value.

pub(crate) mod harness;
pub(crate) mod daemon;
pub(crate) mod stores;
pub(crate) mod topics;
pub(crate) mod load;
pub(crate) mod proxy;

mod everyday;
mod cuts;
mod constraints;
mod shared;
mod crashes;
mod snapshot;
mod stopping;
mod takeover;
mod thinning;
mod offsets;
mod strangers;
mod capture;
mod outages;
mod losses;
mod long;
mod settings;
mod refusals;
mod uninstall;
