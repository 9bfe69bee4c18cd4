//! The form of a service's lines: as the library writes them, with the node, and one line for a burst.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::bursts::{BurstKey, with_member};
use super::queue::LogQueue;

/// The value of [`NODE`] before this process is registered.
const NONE: i64 = -1;

/// The node that this process is.
static NODE: AtomicI64 = AtomicI64::new(NONE);

/// Every line of a service's JSON log names this node from now on.
pub fn set_node(number: i32) {
    NODE.store(number.into(), Ordering::Relaxed);
}

/// Formats the lines of a service.
#[derive(Debug)]
pub(super) struct LineFormat<F> {
    pub(super) inner: F,
    pub(super) queue: LogQueue,
    pub(super) is_json: bool,
}

impl<S, N, F> FormatEvent<S, N> for LineFormat<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        let node = NODE.load(Ordering::Relaxed);
        if self.is_json && node != NONE && !line.contains("\"node\":") {
            line = with_member(&line, "node", node);
        }
        let is_held = BurstKey::of(event).is_some_and(|key| !self.queue.admits(key, &line));
        if is_held { Ok(()) } else { writer.write_str(&line) }
    }
}
