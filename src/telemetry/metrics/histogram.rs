//! A histogram without a lock. That of `prometheus_client` has a mutex, which the threads of the lanes and a scrape would
//! take from each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
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

/// Parts of a histogram, each used by some of the threads, so that two threads of a lane seldom wait for one cache line. As
/// many as a small machine has threads of lanes.
const SHARDS: usize = 4;
/// More ranges than any histogram here has.
const RANGES_MAX: usize = 18;

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
    shards: [Shard; SHARDS],
}

/// Two cache lines are fetched together on common processors.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    sum: AtomicU64,
    /// One more is used than there are bounds.
    counts: [AtomicU64; RANGES_MAX],
}

/// The shard of the current thread.
fn own_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    }
    OWN.with(|own| *own)
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
        assert!(bounds.len() < RANGES_MAX, "there is a count for each range");
        // Every bound times its unit is a small whole number.
        let whole_bounds = bounds.iter().map(|bound| (bound * unit).round() as u64).collect();
        Self(Arc::new(Values { bounds, whole_bounds, unit, shards: Default::default() }))
    }

    /// Adds a time.
    pub fn observe(&self, time: Duration) {
        self.add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// The upper bound in seconds of the range that a time falls into.
    pub(super) fn bound_of(&self, time: Duration) -> f64 {
        let Values { bounds, whole_bounds, .. } = &*self.0;
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let range = whole_bounds.iter().take_while(|bound| **bound < nanos).count();
        bounds.get(range).copied().unwrap_or(f64::INFINITY)
    }

    /// Adds a size.
    pub fn observe_size(&self, size: usize) {
        self.add(size as u64);
    }

    fn add(&self, value: u64) {
        let Values { whole_bounds, shards, .. } = &*self.0;
        let range = whole_bounds.iter().take_while(|bound| **bound < value).count();
        let shard = &shards[own_shard()];
        shard.counts[range].fetch_add(1, Ordering::Relaxed);
        shard.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// How many values fell into each range.
    pub fn counts(&self) -> Vec<u64> {
        self.totals().1
    }

    /// The sum of all values, and how many fell into each range.
    fn totals(&self) -> (u64, Vec<u64>) {
        let Values { whole_bounds, shards, .. } = &*self.0;
        let of_range = |range: usize| {
            shards.iter().map(|shard| shard.counts[range].load(Ordering::Relaxed)).sum::<u64>()
        };
        let sum = shards.iter().map(|shard| shard.sum.load(Ordering::Relaxed)).sum();
        (sum, (0..=whole_bounds.len()).map(of_range).collect())
    }
}

/// The time in seconds that so many percent of the values do not exceed, from their counts in the ranges of [`Histogram::quick`]. Within a range
/// the values are taken to be spread evenly. None: there are no values.
pub fn quick_percentile(counts: &[u64], percent: f64) -> Option<f64> {
    let all: u64 = counts.iter().sum();
    if all == 0 {
        return None;
    }
    let wanted = all as f64 * percent / 100.0;
    let (mut below, mut lower) = (0.0, 0.0);
    for (count, upper) in counts.iter().zip(QUICK) {
        let count = *count as f64;
        if count > 0.0 && below + count >= wanted {
            return Some(lower + (upper - lower) * (wanted - below) / count);
        }
        (below, lower) = (below + count, *upper);
    }
    Some(lower)
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), std::fmt::Error> {
        let Values { bounds, unit, .. } = &*self.0;
        let (sum, counts) = self.totals();
        let count = counts.iter().sum();
        let bounds = bounds.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        encoder.encode_histogram::<NoLabelSet>(sum as f64 / unit, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_belongs_to_the_first_bound_that_it_does_not_exceed() {
        let sizes = Histogram::sizes();
        for size in [0, 1, 2, 3, 5, 500, 501] {
            sizes.observe_size(size);
        }
        assert_eq!(sizes.totals(), (1012, vec![2, 1, 2, 0, 0, 0, 0, 0, 1, 1]));
        let times = Histogram::quick();
        for millis in [1, 2, 20_000, 20_001] {
            times.observe(Duration::from_millis(millis));
        }
        assert_eq!(times.totals().1, [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    }

    #[test]
    fn a_percentile_is_within_the_range_that_it_falls_into() {
        let times = Histogram::quick();
        assert_eq!(quick_percentile(&times.counts(), 95.0), None);
        for millis in 1..=100 {
            times.observe(Duration::from_millis(millis));
        }
        // 50 of 100 values are between 50 and 100 ms, evenly.
        let p95 = quick_percentile(&times.counts(), 95.0).expect("values");
        assert!((p95 - 0.095).abs() < 1e-9, "{p95}");
        times.observe(Duration::from_secs(30));
        assert_eq!(quick_percentile(&times.counts(), 100.0), Some(20.0), "longer ones are not told apart");
        assert_eq!(quick_percentile(&[0, 0, 1], 95.0), Some(0.0025 + 0.0025 * 0.95));
    }

    #[test]
    fn values_of_all_threads_are_added_up() {
        let sizes = Histogram::sizes();
        std::thread::scope(|scope| {
            for _ in 0..2 * SHARDS {
                scope.spawn(|| sizes.observe_size(3));
            }
        });
        assert_eq!(sizes.totals(), (6 * SHARDS as u64, vec![0, 0, 2 * SHARDS as u64, 0, 0, 0, 0, 0, 0, 0]));
    }
}
