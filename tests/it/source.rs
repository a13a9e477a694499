//! What people, crashes and failovers do to a source: each is recognised, halts with what was found and the command
//! that decides, or goes on by itself and loses nothing.

mod altered;
mod failures;
mod pipelines;
mod pooler;
mod sequence;
mod standby;
