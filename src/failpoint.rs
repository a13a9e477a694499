//! Places where tests let the process die as by `kill -9`: behind every step that leaves something somewhere.
//!
//! Only with the feature `failpoints`, which tests switch on for themselves; else nothing of this is compiled in.
//! `FAILPOINTS='publish::after-commit=3*off->return'` dies when that point is passed for the fourth time; `sleep(100)`
//! and the other actions of the crate `fail` work too.

/// Every point, in the order in which a change passes them.
pub const POINTS: [&str; 24] = [
    // A window is in memory, and its transaction at the source closed.
    "tail::after-read",
    // The pipeline is taken over, and the offset file does not know.
    "publish::after-claim",
    // The schemas of new tables are on their topic.
    "publish::after-schemas",
    // One message was handed to the producer.
    "publish::after-produce",
    // All messages of a part were, and it is not known what the broker has.
    "publish::before-acks",
    // The broker has them all.
    "publish::after-acks",
    // The cut was handed to the producer.
    "publish::after-cut",
    // The broker has the cut too.
    "publish::before-commit",
    // The part counts, and the offset file does not know.
    "publish::after-commit",
    // The new offset file is written under its temporary name.
    "offset::after-write",
    // It is on disk.
    "offset::after-sync",
    // The former file has its second name.
    "offset::after-previous",
    // The new file has replaced it.
    "offset::after-rename",
    // The names are on disk.
    "offset::after-sync-dir",
    // The position is saved, in memory too.
    "offset::after-save",
    // A batch for PostgreSQL is put together.
    "apply::before-batch",
    // The destination answered a statement of a batch.
    "apply::between-statements",
    // A batch of a larger pass is there, and the transaction goes on.
    "apply::after-part",
    // All that is left is to send the end of the transaction.
    "apply::before-commit",
    // Rows and positions are there.
    "apply::after-commit",
    // ClickHouse was sent the rows of an insert, and not told that they end.
    "mirror::after-send",
    // It has them.
    "mirror::after-insert",
    // It has all rows of the batch.
    "mirror::before-progress",
    // The group's offsets are committed.
    "mirror::after-progress",
];

/// Reads `FAILPOINTS`. Called once, before anything else.
///
/// # Panics
/// When `FAILPOINTS` cannot be understood.
#[cfg(feature = "failpoints")]
pub fn arm() {
    // Kept until the process ends.
    std::mem::forget(fail::FailScenario::setup());
}

/// Dies here, if `FAILPOINTS` says so.
#[cfg(feature = "failpoints")]
pub(crate) fn hit(point: &'static str) {
    debug_assert!(POINTS.contains(&point), "{point} is not in the list");
    fail::fail_point!(point, |_| {
        tracing::info!(point, "dying at a failpoint");
        // Nothing is unwound, flushed or said goodbye to.
        std::process::abort()
    });
}

/// Does nothing without the feature.
#[cfg(not(feature = "failpoints"))]
pub fn arm() {}

/// Does nothing without the feature.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn hit(_: &'static str) {}
