//! The figures of one moment, as a page gets them.

use std::collections::HashMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::figures::{at, event, share};
use crate::api::admin::{LaneAnswer, NodeAnswer};
use crate::api::time::Timestamp;
use crate::domain::{App, LaneId, LaneState, OBJECTIVE_PERCENT, OBJECTIVE_TIME, lane_advice};
use crate::store::dashboard::AppAttention;
use crate::store::lane_minutes::ObjectiveCounts;
use crate::store::lanes::LaneSummary;
use crate::store::nodes::ListedNode;

/// What was read for a snapshot.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct SnapshotFigures {
    pub(super) lanes: Vec<LaneSummary>,
    pub(super) attention: AppAttention,
    pub(super) p95_ms: HashMap<LaneId, f64>,
    pub(super) objective: [ObjectiveCounts; 2],
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
    nodes: Vec<NodeAnswer>,
    lanes: Vec<LiveLane<'a>>,
    cleanups_running: i64,
    webhooks_failing: i64,
    /// The configuration keeps no events, so that none will come.
    events_off: bool,
}

#[derive(Serialize, Debug)]
struct Objective {
    percent: u32,
    seconds: u64,
    last_hour: Option<f64>,
    last_day: Option<f64>,
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
    /// Devices that are due and wait because the lane has stopped.
    held_devices: Option<i64>,
    /// The operator's next step.
    action: Option<String>,
    /// The section of the runbook.
    runbook: Option<&'static str>,
}

impl SnapshotFigures {
    /// The event that brings them to a page. `is_admin`: the key may see credentials.
    pub(super) fn write(
        &self,
        app: &App,
        nodes: &[ListedNode],
        now: DateTime<Utc>,
        events_off: bool,
        is_admin: bool,
    ) -> Bytes {
        let lanes: Vec<_> = self.lanes.iter().filter_map(|lane| self.lane(app, lane, is_admin)).collect();
        let counted = || self.lanes.iter().filter_map(|lane| lane.waiting);
        let oldest_high = counted().filter_map(|waiting| waiting.oldest_high_seconds);
        let [last_hour, last_day] = self.objective.map(share);
        let snapshot = Snapshot {
            at: at(now),
            objective: Objective {
                percent: OBJECTIVE_PERCENT,
                seconds: OBJECTIVE_TIME.as_secs(),
                last_hour,
                last_day,
            },
            oldest_high_seconds: oldest_high.reduce(f64::max),
            waiting: counted().map(|waiting| waiting.due_devices).sum(),
            nodes: nodes.iter().map(NodeAnswer::from).collect(),
            lanes,
            cleanups_running: self.attention.cleanups_running,
            webhooks_failing: self.attention.webhooks_failing,
            events_off,
        };
        event("snapshot", &snapshot)
    }

    fn lane<'a>(&self, app: &App, seen: &'a LaneSummary, is_admin: bool) -> Option<LiveLane<'a>> {
        let lane = LaneAnswer::of(app, seen)?;
        let lane = if is_admin { lane } else { lane.without_credential() };
        let is_stopped = !matches!(seen.state, LaneState::Running | LaneState::Unknown);
        let key = app.lane_key(seen.lane)?;
        Some(LiveLane {
            lane,
            in_flight_max: seen.in_flight_max,
            p95_ms: self.p95_ms.get(&seen.lane).copied(),
            held_devices: seen.waiting.filter(|_| is_stopped).map(|waiting| waiting.due_devices),
            action: lane_advice(key, seen.state, seen.why.as_deref()),
            runbook: runbook(seen.state),
        })
    }
}

/// The section of the runbook about a lane in this state, as every node serves it.
fn runbook(state: LaneState) -> Option<&'static str> {
    match state {
        LaneState::Unknown | LaneState::Running => None,
        LaneState::Paused => Some("/docs/runbook#lane-paused"),
        LaneState::Suspended => Some("/docs/runbook#lane-suspended"),
        LaneState::Broken => Some("/docs/runbook#lane-broken"),
        LaneState::Throttled => Some("/docs/runbook#lane-throttled"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stopped_state_has_a_section_of_the_runbook() {
        let headings = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/runbook.md"));
        let anchors: Vec<String> = headings
            .lines()
            .filter_map(|line| line.strip_prefix("## "))
            .map(|heading| heading.to_lowercase().replace(' ', "-"))
            .collect();
        for state in [LaneState::Paused, LaneState::Suspended, LaneState::Broken, LaneState::Throttled] {
            let link = runbook(state).expect("a section");
            let anchor = link.strip_prefix("/docs/runbook#").expect("the runbook");
            assert!(anchors.iter().any(|known| known == anchor), "{link}");
        }
        assert_eq!(runbook(LaneState::Running), None);
    }
}
