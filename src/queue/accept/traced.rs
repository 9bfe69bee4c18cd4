//! The spans of stored notifications, and the trace that their jobs get.

use tokio::time::Instant;

use super::{CommitterParts, NewNotification, Request};
use crate::domain::{NotificationId, TraceContext};
use crate::telemetry::trace::SendSpan;

impl NewNotification {
    /// The span that its jobs belong to. None: it is not traced.
    pub(super) fn job_trace(&self, id: NotificationId) -> Option<TraceContext> {
        Some(self.trace?.context(id).for_targets(self.target_count()))
    }
}

/// Writes a span for each stored notification that is traced. All shared a COMMIT, and so have the same times. `batch`: how
/// many shared it.
pub(super) fn write_spans<'a>(
    parts: &CommitterParts,
    began: Instant,
    batch: usize,
    stored: impl Iterator<Item = (&'a Request, NotificationId)>,
) {
    if !parts.tracer.is_on() {
        return;
    }
    let ended = Instant::now();
    for (Request { new, .. }, notification) in stored {
        let Some(trace) = new.trace else { continue };
        parts.tracer.write(SendSpan {
            context: trace.context(notification),
            request: trace.request(),
            app: &new.app.name,
            notification,
            batch,
            targets: new.target_count(),
            began,
            ended,
        });
    }
}
