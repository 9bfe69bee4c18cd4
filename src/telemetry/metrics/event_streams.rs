//! Streams of events to clients that stay connected.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::label::label_words;
use super::names::Names;

label_words! {
    /// The form of a stream.
    StreamKind {
        /// Server-sent events, for `EventSource`.
        Sse "sse",
        /// One JSON object per line.
        Ndjson "ndjson",
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

/// Open streams of events.
#[derive(Clone, Debug)]
pub struct EventStreamMetrics([Gauge; StreamKind::ALL.len()]);

impl EventStreamMetrics {
    pub(super) fn register(names: &mut Names) -> Self {
        let open: Family<KindLabel, Gauge> = Family::default();
        let of = |kind: StreamKind| open.get_or_create_owned(&KindLabel { kind: kind.as_str() });
        let metrics = Self([of(StreamKind::Sse), of(StreamKind::Ndjson)]);
        names.add("pushpost_event_streams", "Open streams of events", open);
        metrics
    }

    /// Open streams of this form.
    pub fn open(&self, kind: StreamKind) -> &Gauge {
        &self.0[kind as usize]
    }
}
