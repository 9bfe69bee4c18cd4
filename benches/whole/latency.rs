//! Latencies, and what is told of them.

use std::time::Duration;

use serde_json::{Value, json};

/// What was measured one by one.
#[derive(Clone, Default, Debug)]
pub(crate) struct Latencies {
    sorted: Vec<Duration>,
}

impl FromIterator<Duration> for Latencies {
    fn from_iter<T: IntoIterator<Item = Duration>>(measured: T) -> Self {
        let mut sorted: Vec<Duration> = measured.into_iter().collect();
        sorted.sort_unstable();
        Self { sorted }
    }
}

impl Latencies {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.sorted.len()
    }

    /// The smallest that this share of them do not exceed.
    pub(crate) fn at(&self, share: f64) -> Duration {
        let rank = (self.sorted.len() as f64 * share).ceil() as usize;
        self.sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    /// The largest of all samples.
    pub(crate) fn worst(&self) -> Duration {
        self.sorted.last().copied().unwrap_or_default()
    }

    /// `p50 1.2 ms, p95 …`
    pub(crate) fn text(&self) -> String {
        format!("p50 {}, p95 {}, p99 {}", millis(self.at(0.5)), millis(self.at(0.95)), millis(self.at(0.99)))
    }

    /// For the report.
    pub(crate) fn facts(&self) -> Value {
        let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
        json!({
            "count": self.count(),
            "p50_ms": ms(self.at(0.5)),
            "p95_ms": ms(self.at(0.95)),
            "p99_ms": ms(self.at(0.99)),
            "worst_ms": ms(self.worst()),
        })
    }
}

/// A duration as `12.3 ms`.
pub(crate) fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}
