//! Catches panics, so that a panic while a device is attempted or a notification is rendered costs only that device or
//! notification (docs/queue.md#panics).
//!
//! The log line of the panic itself says where it was, but not its text, which may quote the notification.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::FutureExt;

use crate::domain::NotificationId;

/// Runs work for one device or notification; none: it panicked. The work may share with other devices only what is behind
/// locks or atomics, so that nothing is left half changed.
pub(super) fn caught<T>(work: impl FnOnce() -> T, lane: &str, notification: NotificationId) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| log(lane, notification)).ok()
}

/// Like [`caught`], for a future.
pub(super) async fn caught_in<T>(
    work: impl Future<Output = T>,
    lane: &str,
    notification: NotificationId,
) -> Option<T> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|_| log(lane, notification)).ok()
}

fn log(lane: &str, notification: NotificationId) {
    tracing::error!(
        lane,
        %notification,
        detail = "the device is rejected; others are not concerned",
        hint = "report it with the log line before this one",
        "a panic ended an attempt or its preparation"
    );
}
