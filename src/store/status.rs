//! Reads the status of a notification. One statement, so that receipts and jobs come from one snapshot
//! (docs/queue.md#fenced-record). Used by `notifications::status`.

use chrono::{DateTime, Utc};

use super::Error;
use crate::domain::{
    AppId, DeliveryCounts, LaneId, LaneState, NotificationId, NotificationStatus, Priority, PushpostReason,
    TraceId,
};
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
    /// The trace that it is recorded in. None: it is not traced.
    pub trace_id: Option<TraceId>,
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
    /// The times in which a lane held devices of the notification, in the order in which they began. Of more than
    /// [`HELD_MAX`] the last ones.
    pub held: Vec<HeldTime>,
}

/// Times of [`Status::held`], at most. An outage that comes and goes for days makes thousands.
const HELD_MAX: i64 = 100;

/// A time in which a lane did not send, while it had devices of the notification that were due.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeldTime {
    /// The lane that did not send.
    pub lane: LaneId,
    /// What an operator decided, or else the worst state that a node reported. A node that is throttled or broken does not
    /// count while another one runs.
    pub state: LaneState,
    /// The provider's reason for it.
    pub reason: Option<String>,
    /// When the lane came into this state or, if later, when the notification was due.
    pub from: DateTime<Utc>,
    /// When the lane left this state or, if earlier, when its last device ended. None: it lasts.
    pub to: Option<DateTime<Utc>>,
}

/// What the status follows from.
pub(super) struct StatusFacts {
    pub(super) due: bool,
    pub(super) begun: bool,
    pub(super) expanded: bool,
    /// The notification was cancelled, and a device or a part of its audience was stopped by that.
    pub(super) stopped: bool,
    pub(super) cancelled_at: Option<DateTime<Utc>>,
    pub(super) due_at: DateTime<Utc>,
    pub(super) last_at: Option<DateTime<Utc>>,
}

/// The status of an app's notification. None: the app has no such notification.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn read(conn: &mut Session, app: AppId, id: NotificationId) -> Result<Option<Status>, Error> {
    let row = sqlx::query_as!(
        StatusRow,
        r#"with recorded_by_lane as materialized (
             select lane_id, sum(accepted) as accepted, sum(rejected) as rejected, sum(token_dead) as token_dead,
                    sum(expired) as expired, sum(cancelled) as cancelled, sum(unknown) as unknown,
                    max(recorded_at) as last_at, max(recorded_at) filter (where job_id <> 0) as last_waited_at,
                    bool_or(cancelled > 0 and $5 = any(reasons)) as requested, min(began_at) filter (
                      where job_id <> 0 and accepted + rejected + token_dead + unknown + retried > 0) as began_at
             from receipts where notification_id = $1 group by lane_id
           ), recorded as (
             select sum(accepted)::bigint as accepted, sum(rejected)::bigint as rejected,
                    sum(token_dead)::bigint as token_dead, sum(expired)::bigint as expired,
                    sum(cancelled)::bigint as cancelled, sum(unknown)::bigint as unknown,
                    max(last_at) as last_at, min(began_at) as began_at, bool_or(requested) as requested
             from recorded_by_lane
           ), pending_by_lane as materialized (
             select lane_id, sum(device_count - coalesce(bit_count(done), 0)) as pending,
                    bool_or(node_id is not null or attempt > 1 or in_doubt) as begun
             from jobs where notification_id = $1 group by lane_id
           ), waited as (
             select lane_id, case when pending is null then last_waited_at else 'infinity' end as until
             from recorded_by_lane full join pending_by_lane using (lane_id)
           ), held as materialized (
             select h.lane_id, h.state, h.reason, greatest(h.began_at, n.due_at) as "from", least(h.ended_at, until) as "to"
             from notifications n cross join waited cross join lateral (
               select * from lane_changes c
               where c.lane_id = waited.lane_id and c.ended_at > n.due_at
                 -- The state that the lane had when its last device ended, or has now. No later one is read.
                 and c.ended_at <= coalesce((select min(ended_at) from lane_changes
                                             where lane_id = waited.lane_id and ended_at >= waited.until), 'infinity')
                 and c.began_at < waited.until and c.state <> $3
               order by c.ended_at desc limit $4) h
             where n.notification_id = $1 and n.app_id = $2 and n.due_at <= now()
             order by "from" desc, lane_id limit $4
           )
           select n.priority, n.label, n.metadata, n.unmatched, n.created_at, n.send_at, n.expires_at, n.trace_id,
                  n.due_at, n.due_at <= now() as "due!", n.target_count is not null as "expanded!",
                  n.cancelled_at, n.audience_cancelled or coalesce(r.requested, false) as "stopped!",
                  coalesce(r.accepted, 0) as "accepted!", coalesce(r.rejected, 0) as "rejected!",
                  coalesce(r.token_dead, 0) as "token_dead!", coalesce(r.expired, 0) as "expired!",
                  coalesce(r.cancelled, 0) as "cancelled!", coalesce(r.unknown, 0) as "unknown!",
                  r.last_at, r.began_at,
                  coalesce((select sum(pending) from pending_by_lane), 0)::bigint as "pending!",
                  coalesce((select bool_or(begun) from pending_by_lane), false) as "begun!",
                  array(select lane_id from held order by "from", lane_id) as "held!",
                  array(select state from held order by "from", lane_id) as "held_state!",
                  array(select reason from held order by "from", lane_id) as "held_reason!: Vec<Option<String>>",
                  array(select "from" from held order by "from", lane_id) as "held_from!",
                  array(select nullif("to", 'infinity') from held order by "from", lane_id)
                    as "held_to!: Vec<Option<DateTime<Utc>>>"
           from notifications n cross join recorded r
           where n.notification_id = $1 and n.app_id = $2"#,
        id.0,
        app.0,
        LaneState::Running.code(),
        HELD_MAX,
        PushpostReason::Requested.as_str(),
    )
    .fetch_optional(conn)
    .await?;
    row.map(StatusRow::into_status).transpose()
}

struct StatusRow {
    priority: i16,
    label: Option<String>,
    metadata: Option<Vec<u8>>,
    unmatched: Option<Vec<u8>>,
    trace_id: Option<Vec<u8>>,
    created_at: DateTime<Utc>,
    send_at: Option<DateTime<Utc>>,
    expires_at: DateTime<Utc>,
    due_at: DateTime<Utc>,
    due: bool,
    expanded: bool,
    cancelled_at: Option<DateTime<Utc>>,
    stopped: bool,
    accepted: i64,
    rejected: i64,
    token_dead: i64,
    expired: i64,
    cancelled: i64,
    unknown: i64,
    last_at: Option<DateTime<Utc>>,
    began_at: Option<DateTime<Utc>>,
    pending: i64,
    begun: bool,
    held: Vec<i32>,
    held_state: Vec<i16>,
    held_reason: Vec<Option<String>>,
    held_from: Vec<DateTime<Utc>>,
    held_to: Vec<Option<DateTime<Utc>>>,
}

impl StatusRow {
    fn into_status(self) -> Result<Status, Error> {
        let (facts, counts) = (self.facts(), self.counts());
        let column = "priority";
        let odd = Error::Inconsistent { table: "notifications", column, row: i64::from(self.priority) };
        Ok(Status {
            status: facts.status(counts),
            priority: Priority::from_code(self.priority).ok_or(odd)?,
            done_at: facts.done_at(counts),
            counts,
            held: self.held_times(),
            label: self.label,
            metadata: self.metadata,
            unmatched: self.unmatched,
            trace_id: self.trace_id.as_deref().and_then(TraceId::from_stored),
            created_at: self.created_at,
            send_at: self.send_at,
            expires_at: self.expires_at,
            started_at: self.began_at,
        })
    }

    fn counts(&self) -> DeliveryCounts {
        DeliveryCounts {
            pending: count(self.pending),
            accepted: count(self.accepted),
            unknown: count(self.unknown),
            rejected: count(self.rejected),
            token_dead: count(self.token_dead),
            expired: count(self.expired),
            cancelled: count(self.cancelled),
        }
    }

    fn facts(&self) -> StatusFacts {
        StatusFacts {
            due: self.due,
            begun: self.begun || self.began_at.is_some(),
            expanded: self.expanded,
            stopped: self.cancelled_at.is_some() && self.stopped,
            cancelled_at: self.cancelled_at,
            due_at: self.due_at,
            last_at: self.last_at,
        }
    }

    fn held_times(&self) -> Vec<HeldTime> {
        let states = self.held.iter().zip(&self.held_state).zip(&self.held_reason);
        let times = self.held_from.iter().zip(&self.held_to);
        let held = states.zip(times).filter_map(|(((lane, state), reason), (from, to))| {
            let state = LaneState::from_code(*state)?;
            Some(HeldTime { lane: LaneId(*lane), state, reason: reason.clone(), from: *from, to: *to })
        });
        held.collect()
    }
}

impl StatusFacts {
    fn ended(&self, counts: DeliveryCounts) -> bool {
        self.expanded && counts.pending == 0
    }

    /// Cancelled only if at least one device, or a part of the audience, was stopped. A cancellation that came too late
    /// leaves the notification done.
    pub(super) fn status(&self, counts: DeliveryCounts) -> NotificationStatus {
        if self.stopped {
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

    /// No notification is done before it is due or cancelled: tokens that can't be read are recorded at acceptance.
    pub(super) fn done_at(&self, counts: DeliveryCounts) -> Option<DateTime<Utc>> {
        let first = self.cancelled_at.unwrap_or(self.due_at);
        self.ended(counts).then(|| self.last_at.map_or(first, |last| last.max(first)))
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
            stopped: false,
            cancelled_at: None,
            due_at: DateTime::UNIX_EPOCH,
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
            (StatusFacts { stopped: true, ..facts() }, stopped, NotificationStatus::Cancelled),
            (StatusFacts { stopped: true, due: false, ..facts() }, none, NotificationStatus::Cancelled),
            (
                StatusFacts { cancelled_at: DateTime::from_timestamp_millis(5), ..facts() },
                accepted,
                NotificationStatus::Done,
            ),
            (facts(), stopped, NotificationStatus::Done),
        ] {
            assert_eq!(facts.status(counts), expected, "{counts:?}");
        }
    }

    #[test]
    fn done_at_is_the_time_of_the_last_receipt_or_of_what_ended_the_notification() {
        let later = DateTime::from_timestamp_millis(5);
        assert_eq!(facts().done_at(DeliveryCounts::default()), Some(DateTime::UNIX_EPOCH));
        assert_eq!(StatusFacts { last_at: later, ..facts() }.done_at(DeliveryCounts::default()), later);
        assert_eq!(StatusFacts { cancelled_at: later, ..facts() }.done_at(DeliveryCounts::default()), later);
        assert_eq!(facts().done_at(DeliveryCounts { pending: 1, ..DeliveryCounts::default() }), None);
        let at = |millis: i64| DateTime::from_timestamp_millis(millis);
        let rejected_before = StatusFacts { last_at: at(5), due_at: at(9).unwrap_or_default(), ..facts() };
        assert_eq!(rejected_before.done_at(DeliveryCounts::default()), at(9));
        let cancelled = StatusFacts { cancelled_at: at(7), ..rejected_before };
        assert_eq!(cancelled.done_at(DeliveryCounts::default()), at(7));
    }
}
