//! Reads notifications that have ended, as the log tells of them.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::{AppId, DeliveryCounts, NotificationId, NotificationStatus, PushpostReason};
use crate::store::partitions::id_span;
use crate::store::status::StatusFacts;
use crate::store::{Error, Session};

/// A notification all targets of which have their final outcome.
#[derive(Clone, PartialEq, Debug)]
pub struct EndedNotification {
    /// The notification's id.
    pub id: NotificationId,
    /// `done` or `cancelled`.
    pub status: NotificationStatus,
    /// The sender's label.
    pub label: Option<String>,
    /// The sender's metadata as JSON.
    pub metadata: Option<Vec<u8>>,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When it was to be sent.
    pub due_at: DateTime<Utc>,
    /// When its first attempt began that has a recorded outcome.
    pub started_at: Option<DateTime<Utc>>,
    /// When its last target ended.
    pub done_at: Option<DateTime<Utc>>,
    /// Its devices by outcome.
    pub counts: DeliveryCounts,
}

/// What an end follows from, beside the outcomes.
pub(in crate::store) struct EndRows {
    pub(in crate::store) label: Option<String>,
    pub(in crate::store) metadata: Option<Vec<u8>>,
    pub(in crate::store) created_at: DateTime<Utc>,
    pub(in crate::store) due_at: DateTime<Utc>,
    pub(in crate::store) cancelled_at: Option<DateTime<Utc>>,
    /// The notification was cancelled, and a device or a part of its audience was stopped by that.
    pub(in crate::store) is_stopped: bool,
    pub(in crate::store) began_at: Option<DateTime<Utc>>,
    pub(in crate::store) last_at: Option<DateTime<Utc>>,
}

impl EndedNotification {
    /// The end of a notification with these outcomes, whatever statement has read it.
    pub(in crate::store) fn of(id: NotificationId, rows: EndRows, counts: DeliveryCounts) -> Self {
        let facts = StatusFacts {
            due: true,
            begun: true,
            expanded: true,
            stopped: rows.is_stopped,
            cancelled_at: rows.cancelled_at,
            due_at: rows.due_at,
            last_at: rows.last_at,
        };
        Self {
            id,
            status: facts.status(counts),
            label: rows.label,
            metadata: rows.metadata,
            created_at: rows.created_at,
            due_at: rows.due_at,
            started_at: rows.began_at,
            done_at: facts.done_at(counts),
            counts,
        }
    }
}

/// Reads notifications of an app that have ended, in the order given. One that is not kept any more is left out.
///
/// # Errors
/// Postgres is out of reach.
pub async fn ended(
    conn: &mut Session,
    app: AppId,
    ids: &[NotificationId],
) -> Result<Vec<EndedNotification>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let (first, last) = id_span(&ids);
    let rows = sqlx::query!(
        r#"select w.notification_id as "notification_id!", n.label, n.metadata, n.created_at, n.due_at, n.cancelled_at,
                  n.audience_cancelled, r.accepted as "accepted!", r.rejected as "rejected!",
                  r.token_dead as "token_dead!", r.expired as "expired!", r.cancelled as "cancelled!",
                  r.unknown as "unknown!", r.last_at, r.began_at, r.requested as "requested!"
           from unnest($1::uuid[]) with ordinality as w(notification_id, place)
           cross join lateral (
             select label, metadata, created_at, due_at, cancelled_at, audience_cancelled from notifications
             where notification_id = w.notification_id and app_id = $3 and notification_id between $4 and $5 offset 0) n
           cross join lateral (
             select coalesce(sum(accepted), 0)::bigint as accepted, coalesce(sum(rejected), 0)::bigint as rejected,
                    coalesce(sum(token_dead), 0)::bigint as token_dead, coalesce(sum(expired), 0)::bigint as expired,
                    coalesce(sum(cancelled), 0)::bigint as cancelled, coalesce(sum(unknown), 0)::bigint as unknown,
                    max(recorded_at) as last_at, min(began_at) filter (
                      where job_id <> 0 and accepted + rejected + token_dead + unknown + retried > 0) as began_at,
                    coalesce(bool_or(cancelled > 0 and $2 = any(reasons)), false) as requested
             from receipts where notification_id = w.notification_id and notification_id between $4 and $5 offset 0) r
           order by w.place"#,
        &ids,
        PushpostReason::Requested.as_str(),
        app.0,
        first,
        last
    )
    .fetch_all(conn)
    .await?;
    let count = |sum: i64| u64::try_from(sum).unwrap_or_default();
    let ended = rows.into_iter().map(|row| {
        let counts = DeliveryCounts {
            pending: 0,
            accepted: count(row.accepted),
            unknown: count(row.unknown),
            rejected: count(row.rejected),
            token_dead: count(row.token_dead),
            expired: count(row.expired),
            cancelled: count(row.cancelled),
        };
        let is_stopped = row.cancelled_at.is_some() && (row.audience_cancelled || row.requested);
        let rows = EndRows {
            label: row.label,
            metadata: row.metadata,
            created_at: row.created_at,
            due_at: row.due_at,
            cancelled_at: row.cancelled_at,
            is_stopped,
            began_at: row.began_at,
            last_at: row.last_at,
        };
        EndedNotification::of(NotificationId(row.notification_id), rows, counts)
    });
    Ok(ended.collect())
}
