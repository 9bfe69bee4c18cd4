//! The figures of one moment, as a page gets them.

use std::collections::HashMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::figures::{event, share};
use super::needs::{self, Need};
use crate::api::admin::{LaneAnswer, NodeAnswer};
use crate::api::time::Timestamp;
use crate::domain::{App, InstallationKey, LaneId, OBJECTIVE_PERCENT, OBJECTIVE_TIME};
use crate::store::dashboard::TroubledWebhooks;
use crate::store::lane_minutes::ObjectiveCounts;
use crate::store::lanes::{CountedLane, LaneSummary};
use crate::store::nodes::ListedNode;

/// What was read for a snapshot.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct SnapshotFigures {
    pub(super) lanes: Vec<LaneSummary>,
    pub(super) webhooks: TroubledWebhooks,
    pub(super) p95_ms: HashMap<LaneId, f64>,
    /// Of the last hour and the last day.
    pub(super) objective: [ObjectiveCounts; 2],
    /// Up to when attempts are counted in `objective`.
    pub(super) objective_until: DateTime<Utc>,
}

/// What a snapshot is about, and for.
#[derive(Clone, Copy, Debug)]
pub(super) struct SnapshotContext<'a> {
    pub(super) installation: &'a InstallationKey,
    pub(super) app: &'a App,
    pub(super) nodes: &'a [ListedNode],
    pub(super) now: DateTime<Utc>,
    /// The key may change lanes, and see credentials and webhooks.
    pub(super) is_admin: bool,
}

/// The snapshot of an app.
#[derive(Serialize, Debug)]
struct Snapshot<'a> {
    /// When it was read, by Postgres's clock.
    at: Timestamp,
    objective: Objective,
    /// For how long the `high` device that waits longest has been due; null: none is due.
    oldest_high_seconds: Option<f64>,
    /// Devices that are due in all lanes.
    waiting: i64,
    /// How long ago the leader counted the lane that it counted first; null: it has counted none.
    counted_seconds_ago: Option<f64>,
    needs: Vec<Need>,
    nodes: Vec<NodeAnswer>,
    lanes: Vec<LiveLane<'a>>,
    /// The configuration keeps no events, so that none will come.
    events_off: bool,
}

#[derive(Serialize, Debug)]
struct Objective {
    percent: u32,
    seconds: u64,
    last_hour: Option<f64>,
    last_day: Option<f64>,
    /// The end of the last minute that is counted.
    until: Timestamp,
}

/// A lane with what a page shows beside `GET /v1/admin/lanes`.
#[derive(Serialize, Debug)]
struct LiveLane<'a> {
    #[serde(flatten)]
    lane: LaneAnswer<'a>,
    /// What the adaptive limits of all nodes allow at the provider now.
    in_flight_max: Option<i64>,
    /// Of the last minute: 95 % of the provider's answers were quicker.
    p95_ms: Option<f64>,
}

impl SnapshotFigures {
    /// The event that brings them to a page.
    pub(super) fn write(&self, context: SnapshotContext<'_>, events_off: bool) -> Bytes {
        let SnapshotContext { app, nodes, now, is_admin, .. } = context;
        let lanes: Vec<_> = self.lanes.iter().filter_map(|lane| self.lane(app, lane, is_admin)).collect();
        let [last_hour, last_day] = self.shares();
        let snapshot = Snapshot {
            at: Timestamp(now),
            objective: Objective {
                percent: OBJECTIVE_PERCENT,
                seconds: OBJECTIVE_TIME.as_secs(),
                last_hour,
                last_day,
                until: Timestamp(self.objective_until),
            },
            oldest_high_seconds: self.oldest_high_seconds(),
            waiting: self.counted().map(|waiting| waiting.due_devices).sum(),
            counted_seconds_ago: self.counted().map(|waiting| waiting.age_seconds).reduce(f64::max),
            needs: needs::of(self, context),
            nodes: nodes.iter().map(NodeAnswer::from).collect(),
            lanes,
            events_off,
        };
        event("snapshot", &snapshot)
    }

    /// The shares of first attempts in time, of the last hour and the last day.
    pub(super) fn shares(&self) -> [Option<f64>; 2] {
        self.objective.map(share)
    }

    /// For how long the `high` device that waits longest has been due.
    pub(super) fn oldest_high_seconds(&self) -> Option<f64> {
        self.counted().filter_map(|waiting| waiting.oldest_high_seconds).reduce(f64::max)
    }

    fn counted(&self) -> impl Iterator<Item = CountedLane> {
        self.lanes.iter().filter_map(|lane| lane.waiting)
    }

    fn lane<'a>(&self, app: &App, seen: &'a LaneSummary, is_admin: bool) -> Option<LiveLane<'a>> {
        let lane = LaneAnswer::of(app, seen)?;
        Some(LiveLane {
            lane: if is_admin { lane } else { lane.without_credential() },
            in_flight_max: seen.in_flight_max,
            p95_ms: self.p95_ms.get(&seen.lane).copied(),
        })
    }
}
