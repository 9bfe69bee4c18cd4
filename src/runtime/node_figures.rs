//! What the metrics show of the node itself: its lease, its clock, and how late its threads are.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::api::health::Health;
use crate::queue::node_lease::NodeLease;
use crate::telemetry::metrics::{Metrics, RefreshGuard, SecondsGauge};

/// Postgres counts as away when it has not answered the heartbeat for this long, as for `/readyz`.
const POSTGRES_SILENCE_MAX: Duration = Duration::from_secs(10);
/// The timer by which the lag of threads is measured.
const LAG_TIMER: Duration = Duration::from_secs(1);

/// Shows whether the node is being shut down.
pub(super) fn show_draining(metrics: &Arc<Metrics>, health: &Arc<Health>) -> RefreshGuard {
    let (health, draining) = (Arc::clone(health), metrics.node.draining.clone());
    metrics.before_scrape(move || {
        draining.set(health.is_draining().into());
    })
}

/// Shows what the node's lease knows. Nothing of it takes a lock or asks Postgres.
pub(super) fn show_lease(metrics: &Arc<Metrics>, node_lease: &Arc<NodeLease>) -> RefreshGuard {
    let (node_lease, shown) = (Arc::clone(node_lease), Arc::clone(metrics));
    metrics.before_scrape(move || {
        let node = &shown.node;
        node.leader.set(node_lease.leads().into());
        node.postgres_up.set((node_lease.since_answer() < POSTGRES_SILENCE_MAX).into());
        node.heartbeat_age_seconds.set(node_lease.since_beat().as_secs_f64());
        node.clock_offset_seconds.set(clock_offset_seconds(&node_lease));
    })
}

/// The clock of this machine minus Postgres's. Nothing depends on this machine's clock but logs and certificates.
fn clock_offset_seconds(node_lease: &NodeLease) -> f64 {
    let postgres = node_lease.clock().now().timestamp_micros() as f64 / 1e6;
    #[expect(clippy::disallowed_methods, reason = "shows how wrong this clock is")]
    let ours = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    ours.as_secs_f64() - postgres
}

/// Measures how late a timer of 1 s is on the threads that run this, until `stop`.
pub(super) async fn measure_lag(lag: SecondsGauge, stop: CancellationToken) {
    loop {
        let due = Instant::now() + LAG_TIMER;
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep_until(due) => {}
        }
        lag.set(due.elapsed().as_secs_f64());
    }
}
