//! A histogram without a lock. That of `prometheus_client` has a mutex, which the threads of the lanes and a scrape would
//! take from each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Upper bounds in seconds for what is quick: statements, requests, attempts.
const QUICK: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0];
/// Upper bounds in seconds for what may wait in the queue for long.
const PATIENT: &[f64] =
    &[0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0, 300.0, 1800.0];
/// Upper bounds for sizes of batches.
const SIZES: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0];

/// Nanoseconds, in which times are added up: 584 years fit.
const PER_SECOND: f64 = 1e9;

/// How often values fell into which range, and their sum. A clone shares the values.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<Values>);

#[derive(Debug)]
struct Values {
    bounds: &'static [f64],
    /// `bounds` times `unit`.
    whole_bounds: Box<[u64]>,
    /// Units in 1 of what is shown.
    unit: f64,
    /// One more than there are bounds.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// For times up to 20 s.
    pub fn quick() -> Self {
        Self::new(QUICK, PER_SECOND)
    }

    /// For times up to half an hour.
    pub fn patient() -> Self {
        Self::new(PATIENT, PER_SECOND)
    }

    /// For sizes up to 500.
    pub fn sizes() -> Self {
        Self::new(SIZES, 1.0)
    }

    fn new(bounds: &'static [f64], unit: f64) -> Self {
        // Every bound times its unit is a small whole number.
        let whole_bounds = bounds.iter().map(|bound| (bound * unit).round() as u64).collect();
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Values { bounds, whole_bounds, unit, counts, sum: AtomicU64::new(0) }))
    }

    /// Adds a time.
    pub fn observe(&self, time: Duration) {
        self.add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds a size.
    pub fn observe_size(&self, size: usize) {
        self.add(size as u64);
    }

    fn add(&self, value: u64) {
        let Values { whole_bounds, counts, sum, .. } = &*self.0;
        let range = whole_bounds.iter().take_while(|bound| **bound < value).count();
        counts[range].fetch_add(1, Ordering::Relaxed);
        sum.fetch_add(value, Ordering::Relaxed);
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), std::fmt::Error> {
        let Values { bounds, unit, counts, sum, .. } = &*self.0;
        let bounds = bounds.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> =
            bounds.zip(counts.iter().map(|count| count.load(Ordering::Relaxed))).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = sum.load(Ordering::Relaxed) as f64 / unit;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(histogram: &Histogram) -> Vec<u64> {
        histogram.0.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    #[test]
    fn a_value_belongs_to_the_first_bound_that_it_does_not_exceed() {
        let sizes = Histogram::sizes();
        for size in [0, 1, 2, 3, 5, 500, 501] {
            sizes.observe_size(size);
        }
        assert_eq!(counts(&sizes), [2, 1, 2, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(sizes.0.sum.load(Ordering::Relaxed), 1012);
        let times = Histogram::quick();
        for millis in [1, 2, 20_000, 20_001] {
            times.observe(Duration::from_millis(millis));
        }
        assert_eq!(counts(&times), [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    }
}
