//! What the metrics show of a lane's state. It is read at each scrape, from atomics: sending pays nothing for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::health::LaneGate;
use super::limits::concurrency::ConcurrencyLimit;
use super::limits::quota::LaneQuota;
use super::prefetch::queue::ReadyQueue;
use crate::domain::{LaneState, Reason};
use crate::provider::SenderMetrics;
use crate::telemetry::metrics::reason_label;

/// A lane without a request for this long has no token in use.
const TOKEN_IDLE_MAX: Duration = Duration::from_secs(300);

/// The parts of a lane that the metrics show.
pub(super) struct LaneView {
    pub(super) metrics: Arc<SenderMetrics>,
    pub(super) gate: Arc<LaneGate>,
    pub(super) limit: Arc<ConcurrencyLimit>,
    pub(super) queue: Arc<ReadyQueue>,
    pub(super) quota: Arc<LaneQuota>,
    /// The reasons that the provider is known to give.
    pub(super) reasons: &'static [&'static str],
}

impl LaneView {
    /// Sets the gauges of the lane.
    pub(super) fn refresh(&self) {
        let lane = &self.metrics.lane;
        lane.in_flight.set(gauge(self.limit.in_flight()));
        lane.in_flight_max.set(gauge(self.limit.limit()));
        lane.prefetched.set(gauge(self.queue.len()));
        lane.set_credential_ok(self.gate.is_credential_ok());
        let age = self.metrics.token_age(Instant::now(), TOKEN_IDLE_MAX);
        lane.credential_age_seconds.set(age.as_secs_f64());
        let mut state = self.gate.state();
        if let Some(quota) = self.quota.current() {
            lane.set_quota_remaining(quota.remaining());
            // As in what operators read: see `HealthReport::with_quota`.
            if state == LaneState::Running && quota.is_over() {
                state = LaneState::Throttled;
            }
        }
        lane.set_state(state);
        let why = if state > LaneState::Running { self.stop_reason() } else { None };
        lane.set_stop_reason(why.as_ref().map(|why| reason_label(why.as_str(), self.reasons)));
    }

    /// Why the lane has stopped, in the provider's word. Takes the lock of the gate, which a lane that sends does not need.
    fn stop_reason(&self) -> Option<Reason> {
        let over_quota = self.quota.current().and_then(|quota| quota.over_quota());
        self.gate.report().with_quota(over_quota).why
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
