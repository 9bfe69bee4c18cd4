//! Scheduled notifications that are due: their audiences are resolved, many in one transaction
//! (docs/queue.md#scheduled-notifications). Until then they are rows of `fan_outs`, which no node reads before they are due.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Error;
use crate::domain::{AppId, FanOut, NotificationId, Priority, ScheduledAudience, TraceContext};
use crate::store::Session;

/// Bytes of the audiences that one transaction resolves, unless the first one is larger: about 10,000 users.
const AUDIENCE_BYTES_MAX: i64 = 256 * 1024;

/// A scheduled notification that is due, with the lock of its row.
#[derive(Debug)]
pub struct DueNotification {
    /// The notification's id.
    pub id: NotificationId,
    /// When it was to be sent.
    pub due_at: DateTime<Utc>,
    /// When its jobs expire.
    pub expires_at: DateTime<Utc>,
    /// That time is over.
    pub late: bool,
    /// The span that accepted it. None: it is not traced.
    pub trace: Option<TraceContext>,
    /// Its audience. None: no version of Pushpost writes such a value.
    pub audience: Option<ScheduledAudience>,
}

/// What a resolved audience changes in a scheduled notification.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenedNotification {
    /// The notification's id.
    pub id: NotificationId,
    /// Number of targets that were found.
    pub found: usize,
    /// Some of them were addressed through a user.
    pub by_user: bool,
    /// Users and device ids without a target, as JSON.
    pub unmatched: Option<Vec<u8>>,
    /// What is still to be found, page by page.
    pub fan_out: Option<FanOut>,
}

impl OpenedNotification {
    /// A notification without targets.
    pub fn empty(id: NotificationId) -> Self {
        Self { id, found: 0, by_user: false, unmatched: None, fan_out: None }
    }
}

/// Locks due scheduled notifications of an app and a priority, the longest due first: at most `limit`, and as many as their
/// audiences allow. Those in `not`, and those that other transactions have locked, are left out.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn lock_due(
    conn: &mut Session,
    app: AppId,
    priority: Priority,
    not: &[NotificationId],
    limit: i64,
) -> Result<Vec<DueNotification>, Error> {
    let not: Vec<Uuid> = not.iter().map(|id| id.0).collect();
    let rows = sqlx::query!(
        r#"
        with due as materialized (
          select notification_id, due_at, expires_at, audience, trace from fan_outs
          where priority = $1 and due_at <= now() and app_id = $2 and is_scheduled and notification_id <> all($3)
            and format <= $4
          order by due_at limit $5 for update skip locked)
        select notification_id, due_at, expires_at, expires_at <= now() as "late!", audience, trace
        from (select *, sum(octet_length(audience)) over (order by due_at, notification_id) - octet_length(audience)
                          as bytes_before from due) d
        where bytes_before < $6
        order by due_at, notification_id
        "#,
        priority.code(),
        app.0,
        &not,
        ScheduledAudience::FORMAT,
        limit,
        AUDIENCE_BYTES_MAX
    )
    .fetch_all(conn)
    .await?;
    let due = rows.into_iter().map(|row| DueNotification {
        id: NotificationId(row.notification_id),
        due_at: row.due_at,
        expires_at: row.expires_at,
        late: row.late,
        trace: row.trace.as_deref().and_then(TraceContext::from_stored),
        audience: serde_json::from_slice(&row.audience).ok(),
    });
    Ok(due.collect())
}

/// Stores that the audiences of locked scheduled notifications are resolved. Those that have nothing left to be found have all
/// their targets now. The others go on as fan-outs.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn opened(conn: &mut Session, app: AppId, all: &[OpenedNotification]) -> Result<(), Error> {
    let (Some(first), Some(last)) = (all.iter().map(|one| one.id).min(), all.iter().map(|one| one.id).max())
    else {
        return Ok(());
    };
    let ids: Vec<Uuid> = all.iter().map(|one| one.id.0).collect();
    let found: Vec<i32> = all.iter().map(|one| i32::try_from(one.found).unwrap_or(i32::MAX)).collect();
    let by_user: Vec<bool> = all.iter().map(|one| one.by_user).collect();
    let unmatched: Vec<Option<Vec<u8>>> = all.iter().map(|one| one.unmatched.clone()).collect();
    let fan_outs =
        all.iter().map(|one| one.fan_out.as_ref().and_then(|fan_out| serde_json::to_vec(fan_out).ok()));
    let fan_outs: Vec<Option<Vec<u8>>> = fan_outs.collect();
    sqlx::query!(
        r#"
        with complete as (
          delete from fan_outs
          where notification_id = any($1) and ($5::bytea[])[array_position($1, notification_id)] is null
          returning notification_id, app_id, target_count),
        new_facts as (
          insert into event_outbox (app_id, kind, notifications)
          select app_id, 1, array_agg(notification_id) from complete where logs_events() group by app_id),
        left_to_find as (
          update fan_outs
          set is_scheduled = false, format = $6, audience = ($5::bytea[])[array_position($1, notification_id)],
              target_count = target_count + ($2::int[])[array_position($1, notification_id)]
          where notification_id = any($1) and ($5::bytea[])[array_position($1, notification_id)] is not null)
        update notifications n
        set target_count = (select c.target_count + ($2::int[])[array_position($1, n.notification_id)] from complete c
                            where c.notification_id = n.notification_id),
            by_user = ($3::boolean[])[array_position($1, n.notification_id)],
            unmatched = ($4::bytea[])[array_position($1, n.notification_id)]
        where n.notification_id = any($1) and n.notification_id >= $7 and n.notification_id <= $8
          and n.app_id = $9
        "#,
        &ids,
        &found,
        &by_user,
        &unmatched as &[Option<Vec<u8>>],
        &fan_outs as &[Option<Vec<u8>>],
        FanOut::FORMAT,
        first.0,
        last.0,
        app.0
    )
    .execute(&mut *conn)
    .await?;
    conn.note_events();
    Ok(())
}
