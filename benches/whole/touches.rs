//! How often the service has touched a metric, by its own answer, and what a touch takes.

use std::hint::black_box;
use std::net::SocketAddr;
use std::ops::Sub;
use std::time::{Duration, Instant};

use anyhow::ensure;
use pushpost::telemetry::metrics::Metrics;

use crate::simulator;

/// Touches that are timed at once.
const TIMED: u32 = 1_000_000;
const ROUNDS: usize = 5;

/// Touches of metrics up to a moment.
pub(crate) struct Touches {
    /// Additions to counters, and observations of histograms.
    pub(crate) number: f64,
    pub(crate) spans_dropped: f64,
}

impl Touches {
    /// Reads them from the service.
    pub(crate) async fn read(service: SocketAddr) -> anyhow::Result<Self> {
        let answer = simulator::client()?.get(format!("http://{service}/metrics")).send().await?;
        ensure!(answer.status().is_success(), "a scrape was answered {}", answer.status());
        Ok(Self::in_text(&answer.text().await?))
    }

    fn in_text(text: &str) -> Self {
        let (mut number, mut spans_dropped) = (0.0, 0.0);
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let (name, value) = (series.split('{').next().unwrap_or(series), value.parse().unwrap_or(0.0));
            // Bytes and seconds are added in one touch, whatever their number.
            let is_sum = name.contains("_bytes_") || name.contains("_seconds_total");
            if name.ends_with("_count") || name.ends_with("_total") && !is_sum {
                number += value;
            }
            if name == "pushpost_trace_spans_total" && series.contains("dropped") {
                spans_dropped += value;
            }
        }
        Self { number, spans_dropped }
    }
}

impl Sub for Touches {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self { number: self.number - before.number, spans_dropped: self.spans_dropped - before.spans_dropped }
    }
}

/// Nanoseconds that a touch takes: an observation of a histogram, which takes longer than an addition. The least of some
/// rounds.
pub(crate) fn touch() -> f64 {
    let lane = Metrics::new().lanes.lane("shop/fcm");
    let round = || {
        let begun = Instant::now();
        for _ in 0..TIMED {
            lane.provider_seconds.observe(black_box(Duration::from_millis(12)));
        }
        begun.elapsed().as_secs_f64() * 1e9 / f64::from(TIMED)
    };
    (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
}
