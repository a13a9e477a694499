//! Tables of every kind through the whole pipeline: names, keys, partitions.

mod append;
mod keys;
mod names;
mod partitions;
