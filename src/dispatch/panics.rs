//! A panic while one device is attempted, or one notification is rendered, stays with that one (docs/queue.md#panics).
//!
//! The panic's own line in the log has its place in the code, and not its text, which may quote what a notification says.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::FutureExt;

use crate::domain::NotificationId;

/// Runs what concerns one device or notification; none: it panicked.
///
/// Nothing that outlives it is left half changed: it shares with others only what is behind locks or atomics.
pub(super) fn caught<T>(work: impl FnOnce() -> T, lane: &str, notification: NotificationId) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| tell(lane, notification)).ok()
}

/// The same for a future.
pub(super) async fn caught_in<T>(
    work: impl Future<Output = T>,
    lane: &str,
    notification: NotificationId,
) -> Option<T> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|_| tell(lane, notification)).ok()
}

fn tell(lane: &str, notification: NotificationId) {
    tracing::error!(lane, %notification, "a fault of ours: what panicked is rejected, and nothing else");
}
