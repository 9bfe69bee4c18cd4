//! The export of traces.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::names::Names;

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// The export of traces.
#[derive(Debug)]
pub struct TraceMetrics {
    /// Spans that the collector took.
    pub spans_exported: Counter,
    /// Spans that were given up: the collector was away, or the buffer full.
    pub spans_dropped: Counter,
}

impl TraceMetrics {
    pub(super) fn register(names: &mut Names) -> Self {
        let spans: Family<ResultLabel, Counter> = Family::default();
        let of = |result| spans.get_or_create_owned(&ResultLabel { result });
        let metrics = Self { spans_exported: of("exported"), spans_dropped: of("dropped") };
        names.add("pushpost_trace_spans_total", "Spans, by what became of them", spans);
        metrics
    }
}
