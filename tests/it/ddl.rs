//! DDL at the source while changes flow: log, functions, registry and targets follow.

mod flow;
mod source;
mod unfollowed;
