//! Counts the lines of the log. The log belongs to the process, so all nodes of a process show the same numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::names::Names;

static WARNINGS: AtomicU64 = AtomicU64::new(0);
static ERRORS: AtomicU64 = AtomicU64::new(0);

/// Counts the warnings and errors that the levels let through.
pub(in crate::telemetry) struct LineCounter;

impl<S: Subscriber> Layer<S> for LineCounter {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let counter = match *event.metadata().level() {
            Level::WARN => &WARNINGS,
            Level::ERROR => &ERRORS,
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct LevelLabel {
    level: &'static str,
}

#[derive(Debug)]
struct LogLines;

impl Collector for LogLines {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let help = "Lines of the log of this process.";
        let mut lines = encoder.encode_descriptor("pushpost_log_lines", help, None, MetricType::Counter)?;
        for (level, count) in [("warn", &WARNINGS), ("error", &ERRORS)] {
            let count = ConstCounter::new(count.load(Ordering::Relaxed));
            count.encode(lines.encode_family(&LevelLabel { level })?)?;
        }
        Ok(())
    }
}

pub(super) fn register(names: &mut Names) {
    names.add_collector(LogLines);
}
