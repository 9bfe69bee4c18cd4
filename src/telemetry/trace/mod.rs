//! Traces: spans of the way of a notification from its request to the provider's answer, sent to an OpenTelemetry
//! collector (docs/traces.md).
//!
//! Spans are written after the fact: what measured them already passes both times and the context, and [`Tracer::write`]
//! puts the span into a bounded queue. A thread of its own sends what the queue has ([`export`]). So a collector that is
//! slow, hangs or is away costs its own spans and nothing else. Without an endpoint there is neither queue nor thread.

mod collector;
mod export;
mod message;
mod page;
mod span;
mod spans;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use http::{HeaderName, HeaderValue, Uri};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::metrics::Counter;
use crate::domain::TraceContext;

pub use export::TraceExporter;
pub use page::TracePage;
pub use span::{Span, SpanKind, SpanValue};
pub use spans::{
    AttemptSpan, ExpandSpan, JobPath, JobSpan, JobTrace, RequestSpan, SendSpan, SettleSpan, WebhookSpan,
};

/// Spans that wait to be exported at most, each about 1 KB. Further ones are dropped and counted.
const QUEUE_SPANS: usize = 4_096;

/// The time of spans: Postgres's time at a moment of this node's monotonic clock. So spans of nodes with wrong clocks
/// fit together.
pub type TraceClock = Arc<dyn Fn(Instant) -> DateTime<Utc> + Send + Sync>;

/// Where spans go, and which requests are traced.
pub struct TraceSettings {
    /// The URL that spans are posted to, with its path.
    pub endpoint: Uri,
    /// Headers of each post, such as a key of the collector.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How long the collector may take to answer.
    pub timeout: Duration,
    /// The share of requests without a sampled `traceparent` that are traced, from 0 to 1.
    pub sample_ratio: f64,
    /// Attributes of the resource: `service.name` and others.
    pub resource: Vec<(String, String)>,
    /// The attribute `service.instance.id`: the id of the node, which another one follows if the node is declared dead.
    pub instance: Arc<dyn Fn() -> String + Send + Sync>,
    /// For an `https` endpoint. ALPN is set by the client.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The time of spans.
    pub clock: TraceClock,
    /// Counts what becomes of the spans.
    pub counts: SpanCounts,
}

impl fmt::Debug for TraceSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceSettings").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// Takes spans. Cheap to clone. The default takes none: tracing is off.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    sample_ratio: f64,
    spans: mpsc::Sender<Span>,
    counts: SpanCounts,
}

/// How many spans were exported, and how many were dropped: by the full queue, or because the collector did not take them.
#[derive(Clone, Debug, Default)]
pub struct SpanCounts {
    /// Spans that the collector took.
    pub exported: Counter,
    /// Spans that are lost.
    pub dropped: Counter,
}

impl Tracer {
    /// A tracer, and the exporter with its thread.
    ///
    /// # Errors
    /// The system refuses the thread.
    pub fn start(settings: TraceSettings) -> std::io::Result<(Self, TraceExporter)> {
        let (spans, waiting) = mpsc::channel(QUEUE_SPANS);
        let (sample_ratio, counts) = (settings.sample_ratio, settings.counts.clone());
        let exporter = TraceExporter::start(settings, waiting)?;
        Ok((Self(Some(Arc::new(Inner { sample_ratio, spans, counts }))), exporter))
    }

    /// Whether spans are taken at all.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Decides whether a request without a sampled `traceparent` is traced.
    pub fn samples(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| rand::random::<f64>() < inner.sample_ratio)
    }

    /// Takes a span. Never waits: if the queue is full, the span is dropped and counted.
    pub fn write(&self, span: impl Into<Span>) {
        let Some(inner) = &self.0 else { return };
        if inner.spans.try_send(span.into()).is_err() {
            inner.counts.dropped.inc();
        }
    }

    /// As [`Self::write`], if the context is that of a recorded trace. `make` is not called otherwise.
    pub fn write_in<S: Into<Span>>(
        &self,
        context: Option<TraceContext>,
        make: impl FnOnce(TraceContext) -> S,
    ) {
        if self.is_on()
            && let Some(context) = context.filter(TraceContext::is_sampled)
        {
            self.write(make(context));
        }
    }
}
