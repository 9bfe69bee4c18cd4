//! What is read for a view, with statements of constant cost: no job, delivery or device is counted.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::snapshot::SnapshotFigures;
use crate::api::time::Timestamp;
use crate::domain::{App, LaneId};
use crate::store::lane_minutes::{LaneMinute, ObjectiveCounts};
use crate::store::{self, Session};
use crate::telemetry::metrics::quick_percentile;

/// Minutes of a chart.
const CHART_MINUTES: usize = 60;
/// The share of the answers in percent that are quicker than what the pages show.
const PERCENTILE: f64 = 95.0;

/// The last hour of an app's lanes, and how often the objective was kept.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Minutes {
    lanes: BTreeMap<LaneId, Vec<LaneMinute>>,
    /// Of the last hour and the last day.
    pub(super) objective: [ObjectiveCounts; 2],
    /// The end of the last minute that was complete when they were read.
    pub(super) until: DateTime<Utc>,
}

/// A minute of a lane.
#[derive(Serialize, Debug)]
struct MinuteAnswer {
    at: Timestamp,
    accepted: u64,
    failed: u64,
    late: u64,
    waiting: Option<u64>,
    p95_ms: Option<f64>,
}

/// The minutes of all lanes, by the lane's name.
#[derive(Serialize, Debug)]
struct MinutesAnswer {
    lanes: BTreeMap<String, Vec<MinuteAnswer>>,
}

/// `until`: the end of the last complete minute.
pub(super) async fn read_minutes(
    conn: &mut Session,
    app: &App,
    until: DateTime<Utc>,
) -> Result<Minutes, store::Error> {
    let mut lanes: BTreeMap<LaneId, Vec<LaneMinute>> = BTreeMap::new();
    for minute in store::lane_minutes::last_hour(conn, app.id).await? {
        lanes.entry(minute.lane).or_default().push(minute);
    }
    let objective = store::lane_minutes::objective(conn, app.id).await?;
    Ok(Minutes { lanes, objective, until })
}

pub(super) async fn read_snapshot(
    conn: &mut Session,
    app: &App,
    minutes: &Minutes,
) -> Result<SnapshotFigures, store::Error> {
    let lanes = store::lanes::summaries(conn, app.id).await?;
    let webhooks = store::dashboard::troubled_webhooks(conn, app.id).await?;
    let p95_ms = lanes.iter().filter_map(|lane| Some((lane.lane, minutes.p95_ms(lane.lane)?))).collect();
    let (objective, objective_until) = (minutes.objective, minutes.until);
    Ok(SnapshotFigures { lanes, webhooks, p95_ms, objective, objective_until })
}

impl Minutes {
    /// The event that brings them to a page. Lanes without outcomes have an empty list.
    pub(super) fn write(&self, app: &App) -> Bytes {
        let configured = app.lanes.iter().filter(|(_, lane)| lane.configured);
        let lanes = configured.map(|(key, lane)| {
            let minutes = self.lanes.get(&lane.id).map(Vec::as_slice).unwrap_or_default();
            let shown = &minutes[minutes.len().saturating_sub(CHART_MINUTES)..];
            (key.to_string(), shown.iter().map(MinuteAnswer::from).collect())
        });
        event("minutes", &MinutesAnswer { lanes: lanes.collect() })
    }

    /// Of the newest minute that has answers.
    fn p95_ms(&self, lane: LaneId) -> Option<f64> {
        self.lanes.get(&lane)?.last().and_then(p95_ms)
    }
}

/// A server-sent event without an id, so that a page that connects again goes on where the log was.
pub(super) fn event(name: &str, data: &impl Serialize) -> Bytes {
    let json = serde_json::to_string(data).expect("figures are always writable");
    format!("event: {name}\ndata: {json}\n\n").into()
}

impl From<&LaneMinute> for MinuteAnswer {
    fn from(minute: &LaneMinute) -> Self {
        Self {
            at: Timestamp(minute.minute),
            accepted: minute.accepted,
            failed: minute.failed,
            late: minute.late,
            waiting: minute.waiting,
            p95_ms: p95_ms(minute),
        }
    }
}

fn p95_ms(minute: &LaneMinute) -> Option<f64> {
    let seconds = quick_percentile(&minute.provider_counts, PERCENTILE)?;
    Some((seconds * 10_000.0).round() / 10.0)
}

/// The share of first attempts that began in time; none: there were none.
pub(super) fn share(counts: ObjectiveCounts) -> Option<f64> {
    let all = counts.on_time + counts.late;
    // Four digits tell 99.99 % from 100 %.
    (all > 0).then(|| (counts.on_time as f64 / all as f64 * 10_000.0).floor() / 10_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_full_only_if_nothing_was_late() {
        for (on_time, late, expected) in [
            (0, 0, None),
            (100, 0, Some(1.0)),
            (99_999_999, 1, Some(0.9999)),
            (997, 3, Some(0.997)),
            (0, 1, Some(0.0)),
        ] {
            assert_eq!(share(ObjectiveCounts { on_time, late }), expected, "{on_time} {late}");
        }
    }
}
