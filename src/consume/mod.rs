//! The destination side of Kafka: reads the cuts and what they cover, and hands it to a target in order.

mod target;

pub use target::{Batch, Positions, Progress, Target, TargetError};
