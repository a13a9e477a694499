//! DDL at the source while changes flow: log, functions, registry and targets follow.

mod concurrent;
mod edges;
mod flow;
mod rights;
mod source;
mod unfollowed;
mod targets;
