//! Reads the status of a notification. One statement, so that receipts and jobs come from one snapshot
//! (docs/queue.md#fenced-record). Used by `notifications::status`.

use chrono::{DateTime, Utc};

use super::Error;
use crate::domain::{AppId, DeliveryCounts, LaneId, LaneState, NotificationId, NotificationStatus, Priority};
use crate::store::Session;

/// The status of a notification with what the API shows beside it.
#[derive(Clone, PartialEq, Debug)]
pub struct Status {
    /// The notification's status.
    pub status: NotificationStatus,
    /// The notification's priority.
    pub priority: Priority,
    /// The sender's label, kept and returned.
    pub label: Option<String>,
    /// The sender's metadata as JSON, kept and returned.
    pub metadata: Option<Vec<u8>>,
    /// What was addressed in vain, as JSON. None: everything was found.
    pub unmatched: Option<Vec<u8>>,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When it is to be sent, if the request says so.
    pub send_at: Option<DateTime<Utc>>,
    /// When no attempt may begin any more.
    pub expires_at: DateTime<Utc>,
    /// When the first attempt began that has a recorded outcome.
    pub started_at: Option<DateTime<Utc>>,
    /// When the last target ended. None: the notification is not done.
    pub done_at: Option<DateTime<Utc>>,
    /// Numbers of devices by outcome.
    pub counts: DeliveryCounts,
    /// The stopped lanes that have pending devices of the notification.
    pub held: Vec<HeldLane>,
}

/// A stopped lane that has pending devices of the notification.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeldLane {
    /// The stopped lane.
    pub lane: LaneId,
    /// What an operator decided, or else the worst state that a node reports. A node that is throttled or broken does not
    /// count while another one runs.
    pub state: LaneState,
    /// The provider's reason for it.
    pub reason: Option<String>,
}

/// What the status follows from.
struct StatusFacts {
    due: bool,
    begun: bool,
    expanded: bool,
    cancelled: bool,
    created_at: DateTime<Utc>,
    last_at: Option<DateTime<Utc>>,
}

/// The status of an app's notification. None: the app has no such notification.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn read(conn: &mut Session, app: AppId, id: NotificationId) -> Result<Option<Status>, Error> {
    let row = sqlx::query!(
        r#"with recorded as (
             select sum(accepted) as accepted, sum(rejected) as rejected, sum(token_dead) as token_dead,
                    sum(expired) as expired, sum(cancelled) as cancelled, sum(unknown) as unknown,
                    max(recorded_at) as last_at, min(began_at) filter (
                      where job_id <> 0 and accepted + rejected + token_dead + unknown + retried > 0) as began_at
             from receipts where notification_id = $1
           ), pending_by_lane as materialized (
             select lane_id, sum(device_count - coalesce(bit_count(done), 0)) as pending,
                    bool_or(node_id is not null or attempt > 1 or in_doubt) as begun
             from jobs where notification_id = $1 group by lane_id
           ), stopped_lanes as (
             select j.lane_id,
                    case when l.paused_at is not null then $3 when l.suspended_at is not null then $4 else s.state end
                      as state,
                    case when l.paused_at is not null then null when l.suspended_at is not null then l.suspended_reason
                         else s.reason end as reason
             from pending_by_lane j join lanes l using (lane_id)
             left join lateral (select r.state, r.reason from lane_reports r join nodes using (node_id)
                                where r.lane_id = j.lane_id and dead_at is null and r.state in ($5, $6)
                                -- A node that can't send holds nothing while another one can.
                                  and not exists (select from lane_reports o join nodes m using (node_id)
                                                  where o.lane_id = j.lane_id and m.dead_at is null and o.state = $7)
                                order by r.state desc limit 1) s on true
             where l.paused_at is not null or l.suspended_at is not null or s.state is not null
           )
           select n.priority, n.label, n.metadata, n.unmatched, n.created_at, n.send_at, n.expires_at,
                  n.due_at <= now() as "due!", n.target_count is not null as "expanded!",
                  n.cancelled_at is not null as "cancelled_by_request!",
                  coalesce(r.accepted, 0) as "accepted!", coalesce(r.rejected, 0) as "rejected!",
                  coalesce(r.token_dead, 0) as "token_dead!", coalesce(r.expired, 0) as "expired!",
                  coalesce(r.cancelled, 0) as "cancelled!", coalesce(r.unknown, 0) as "unknown!",
                  r.last_at, r.began_at,
                  coalesce((select sum(pending) from pending_by_lane), 0)::bigint as "pending!",
                  coalesce((select bool_or(begun) from pending_by_lane), false) as "begun!",
                  array(select lane_id from stopped_lanes order by lane_id) as "held!",
                  array(select state from stopped_lanes order by lane_id) as "held_state!",
                  array(select reason from stopped_lanes order by lane_id) as "held_reason!: Vec<Option<String>>"
           from notifications n cross join recorded r
           where n.notification_id = $1 and n.app_id = $2"#,
        id.0,
        app.0,
        LaneState::Paused.code(),
        LaneState::Suspended.code(),
        LaneState::Throttled.code(),
        LaneState::Broken.code(),
        LaneState::Running.code(),
    )
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let counts = DeliveryCounts {
        pending: count(row.pending),
        accepted: count(row.accepted),
        unknown: count(row.unknown),
        rejected: count(row.rejected),
        token_dead: count(row.token_dead),
        expired: count(row.expired),
        cancelled: count(row.cancelled),
    };
    let facts = StatusFacts {
        due: row.due,
        begun: row.begun || row.began_at.is_some(),
        expanded: row.expanded,
        cancelled: row.cancelled_by_request,
        created_at: row.created_at,
        last_at: row.last_at,
    };
    let status = facts.status(counts);
    let odd =
        Error::Inconsistent { table: "notifications", column: "priority", row: i64::from(row.priority) };
    let held = row.held.into_iter().zip(row.held_state).zip(row.held_reason);
    Ok(Some(Status {
        status,
        priority: Priority::from_code(row.priority).ok_or(odd)?,
        label: row.label,
        metadata: row.metadata,
        unmatched: row.unmatched,
        created_at: row.created_at,
        send_at: row.send_at,
        expires_at: row.expires_at,
        started_at: row.began_at,
        done_at: facts.done_at(counts),
        counts,
        held: held
            .filter_map(|((lane, state), reason)| {
                Some(HeldLane { lane: LaneId(lane), state: LaneState::from_code(state)?, reason })
            })
            .collect(),
    }))
}

impl StatusFacts {
    fn ended(&self, counts: DeliveryCounts) -> bool {
        self.expanded && counts.pending == 0
    }

    /// Cancelled only if at least one device was stopped. A cancellation that came too late leaves the notification
    /// done.
    fn status(&self, counts: DeliveryCounts) -> NotificationStatus {
        if self.cancelled && counts.cancelled > 0 {
            NotificationStatus::Cancelled
        } else if self.ended(counts) {
            NotificationStatus::Done
        } else if !self.due {
            NotificationStatus::Scheduled
        } else if self.begun {
            NotificationStatus::Sending
        } else {
            NotificationStatus::Queued
        }
    }

    /// A notification without targets is done when it is accepted.
    fn done_at(&self, counts: DeliveryCounts) -> Option<DateTime<Utc>> {
        self.ended(counts).then(|| self.last_at.unwrap_or(self.created_at))
    }
}

/// A sum of counts, which is never negative.
fn count(sum: i64) -> u64 {
    u64::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> StatusFacts {
        StatusFacts {
            due: true,
            begun: false,
            expanded: true,
            cancelled: false,
            created_at: DateTime::UNIX_EPOCH,
            last_at: None,
        }
    }

    #[test]
    fn a_status_follows_from_what_is_recorded() {
        let none = DeliveryCounts::default();
        let pending = DeliveryCounts { pending: 1, ..none };
        let stopped = DeliveryCounts { cancelled: 1, ..none };
        let accepted = DeliveryCounts { accepted: 1, ..none };
        for (facts, counts, expected) in [
            (facts(), none, NotificationStatus::Done),
            (facts(), accepted, NotificationStatus::Done),
            (facts(), pending, NotificationStatus::Queued),
            (StatusFacts { begun: true, ..facts() }, pending, NotificationStatus::Sending),
            (StatusFacts { due: false, ..facts() }, pending, NotificationStatus::Scheduled),
            (StatusFacts { expanded: false, ..facts() }, none, NotificationStatus::Queued),
            (StatusFacts { cancelled: true, ..facts() }, stopped, NotificationStatus::Cancelled),
            (StatusFacts { cancelled: true, ..facts() }, accepted, NotificationStatus::Done),
            (facts(), stopped, NotificationStatus::Done),
        ] {
            assert_eq!(facts.status(counts), expected, "{counts:?}");
        }
    }

    #[test]
    fn done_at_is_the_last_receipt_s_time_or_that_of_acceptance() {
        let later = DateTime::from_timestamp_millis(5);
        assert_eq!(facts().done_at(DeliveryCounts::default()), Some(DateTime::UNIX_EPOCH));
        assert_eq!(StatusFacts { last_at: later, ..facts() }.done_at(DeliveryCounts::default()), later);
        assert_eq!(facts().done_at(DeliveryCounts { pending: 1, ..DeliveryCounts::default() }), None);
    }
}
