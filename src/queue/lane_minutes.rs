//! Stores what became of the devices of each lane, once a minute (`lane_minutes`), for the charts of the dashboard. The counts are
//! those of the metrics, so nothing is counted twice, and no lane waits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::node_lease::NodeLease;
use crate::domain::{LaneId, ServedApps};
use crate::store::lane_minutes::CountedMinute;
use crate::store::{self, SessionPool};
use crate::telemetry::metrics::Metrics;

const MINUTE: TimeDelta = TimeDelta::minutes(1);
/// Minutes that are kept in memory while Postgres is out of reach.
const UNSTORED_MAX: usize = 60;
/// At shutdown: how long storing the minute that was begun may take.
const LAST_STORE: Duration = Duration::from_secs(2);

/// What the writer needs.
#[derive(Debug)]
pub struct LaneMinuteWriter {
    /// Any connections of the node. The writer needs one of them once a minute.
    pub pool: SessionPool,
    /// Has Postgres's time.
    pub node_lease: Arc<NodeLease>,
    /// Where outcomes are counted.
    pub metrics: Arc<Metrics>,
    /// The lanes of these apps are stored.
    pub apps: Arc<ServedApps>,
}

/// What was counted of a lane since the node began.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Totals {
    accepted: u64,
    failed: u64,
    on_time: u64,
    late: u64,
    provider_counts: Vec<u64>,
}

impl LaneMinuteWriter {
    /// Stores each minute once it is over, until `stop`. What was counted in the last one is stored then.
    pub async fn run(self, stop: CancellationToken) {
        let (mut stored, mut unstored) = (HashMap::new(), Vec::new());
        let mut minute = self.minute();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(self.until(minute + MINUTE)) => {}
            }
            if self.minute() <= minute {
                continue;
            }
            unstored.push(self.counted(minute, &mut stored));
            minute = self.minute();
            if unstored.len() > UNSTORED_MAX {
                unstored.remove(0);
            }
            self.store(&mut unstored).await;
        }
        unstored.push(self.counted(minute, &mut stored));
        let _late = tokio::time::timeout(LAST_STORE, self.store(&mut unstored)).await;
    }

    /// When the present minute began, by Postgres's clock.
    fn minute(&self) -> DateTime<Utc> {
        let now = self.node_lease.clock().now();
        now.duration_trunc(MINUTE).unwrap_or(now)
    }

    fn until(&self, time: DateTime<Utc>) -> Duration {
        let now = self.node_lease.clock().now();
        // A clock that was set is read again soon.
        (time - now).min(MINUTE).to_std().unwrap_or_default() + Duration::from_millis(1)
    }

    /// What was counted of each lane since it was asked for last.
    fn counted(&self, minute: DateTime<Utc>, stored: &mut HashMap<LaneId, Totals>) -> Vec<CountedMinute> {
        let apps = self.apps.all();
        let lanes = apps.values().flat_map(|app| {
            let configured = app.lanes.iter().filter(|(_, lane)| lane.configured);
            configured.map(|(key, lane)| (lane.id, format!("{}/{key}", app.name)))
        });
        let counted = lanes.map(|(lane, name)| {
            let totals = self.totals(lane, &name);
            let before = stored.insert(lane, totals.clone()).unwrap_or_default();
            totals.since(&before).of(lane, minute)
        });
        counted.collect()
    }

    fn totals(&self, lane: LaneId, name: &str) -> Totals {
        let (accepted, failed) = self.metrics.deliveries.ended(lane);
        // A node that does not send has no handles of the lane, and neither has a lane before its start.
        let sent = self.metrics.lanes.known_lane(name);
        let starts = sent.as_ref().map(|lane| lane.starts.counts()).unwrap_or_default();
        let provider_counts = sent.map(|lane| lane.provider_seconds.counts()).unwrap_or_default();
        Totals { accepted, failed, on_time: starts.on_time, late: starts.late, provider_counts }
    }

    async fn store(&self, unstored: &mut Vec<Vec<CountedMinute>>) {
        let minutes: Vec<CountedMinute> = unstored.iter().flatten().cloned().collect();
        if minutes.is_empty() {
            unstored.clear();
            return;
        }
        let stored = async {
            let mut conn = self.pool.acquire().await.map_err(store::Error::from)?;
            let (node, leads) = (self.node_lease.id(), self.node_lease.leads());
            store::lane_minutes::store(&mut conn, node, &minutes, leads).await
        };
        match stored.await {
            Ok(()) => unstored.clear(),
            Err(error) => {
                tracing::debug!(%error, "the last minute of the lanes is not stored; it is tried again")
            }
        }
    }
}

impl Totals {
    /// What was added. A lane that was started anew counts from 0 again.
    fn since(&self, before: &Self) -> Self {
        let added = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
        let was = |place: usize| before.provider_counts.get(place).copied().unwrap_or_default();
        let counts = self.provider_counts.iter().enumerate();
        Self {
            accepted: added(self.accepted, before.accepted),
            failed: added(self.failed, before.failed),
            on_time: added(self.on_time, before.on_time),
            late: added(self.late, before.late),
            provider_counts: counts.map(|(place, count)| added(*count, was(place))).collect(),
        }
    }

    fn of(self, lane: LaneId, minute: DateTime<Utc>) -> CountedMinute {
        let Self { accepted, failed, on_time, late, provider_counts } = self;
        CountedMinute { lane, minute, accepted, failed, on_time, late, provider_counts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_what_was_added_and_a_lane_that_starts_anew_counts_from_0() {
        let totals = |accepted: u64, late: u64, counts: &[u64]| Totals {
            accepted,
            late,
            provider_counts: counts.to_vec(),
            ..Totals::default()
        };
        let first = totals(5, 1, &[2, 3]);
        assert_eq!(first.since(&Totals::default()), first);
        assert_eq!(totals(9, 1, &[4, 5]).since(&first), totals(4, 0, &[2, 2]));
        assert_eq!(totals(9, 0, &[1, 0]).since(&first), totals(4, 0, &[1, 0]), "the lane's handles are new");
    }
}
