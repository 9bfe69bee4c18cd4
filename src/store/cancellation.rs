//! Cancels notifications (docs/queue.md#cancellation). `cancelled_at` is the truth, which lanes read;
//! [`super::waiting_jobs::cancel`] ends what waits. A row of `pending_cancellations` keeps a notification in the leader's
//! sight as long as it may have jobs.

use uuid::Uuid;

use super::Error;
use crate::domain::{AppId, NotificationId};
use crate::store::Session;

/// Locks the fan-outs of these notifications, in the order of their ids. It waits for pages that are being written, so the
/// next statement sees all their jobs, and there are no further pages.
///
/// # Errors
/// Postgres is out of reach, or a page takes longer than the session waits for locks.
pub async fn lock_fan_outs(conn: &mut Session, ids: &[NotificationId]) -> Result<(), Error> {
    sqlx::query!(
        "select notification_id from fan_outs where notification_id = any($1) order by notification_id for update",
        &uuids(ids)
    )
    .fetch_all(conn)
    .await?;
    Ok(())
}

/// Cancels those of these notifications that are an app's, are not done, and were not cancelled before. Their fan-outs,
/// which the transaction has [locked](lock_fan_outs), end with the targets that were found so far. Returns the
/// notifications that this cancelled.
///
/// # Errors
/// Postgres is out of reach.
pub async fn mark(
    conn: &mut Session,
    app: AppId,
    ids: &[NotificationId],
) -> Result<Vec<NotificationId>, Error> {
    let (Some(first), Some(last)) = (ids.iter().min(), ids.iter().max()) else { return Ok(Vec::new()) };
    let rows = sqlx::query_scalar!(
        r#"
        with ended as materialized (
          select notification_id, target_count from fan_outs where notification_id = any($1) and app_id = $4),
        -- It may have no job left: then this ends it.
        new_facts as (
          insert into event_outbox (app_id, kind, notifications)
          select $4, 1, array_agg(notification_id) from ended where logs_events() having count(*) > 0),
        deleted as (
          delete from fan_outs where notification_id = any(array(select notification_id from ended))),
        marked as (
          update notifications n
          set cancelled_at = now(),
              target_count = coalesce((select target_count from ended e where e.notification_id = n.notification_id),
                                      n.target_count),
              audience_cancelled = n.notification_id = any(array(select notification_id from ended))
          where notification_id = any($1) and notification_id >= $2 and notification_id <= $3
            and app_id = $4 and cancelled_at is null
            and (n.notification_id = any(array(select notification_id from ended))
                 or (select true from jobs j where j.notification_id = n.notification_id limit 1))
          returning notification_id),
        pending as (
          insert into pending_cancellations select notification_id from marked on conflict do nothing)
        select notification_id as "notification_id!" from marked
        "#,
        &uuids(ids),
        first.0,
        last.0,
        app.0
    )
    .fetch_all(&mut *conn)
    .await?;
    conn.note_events();
    Ok(rows.into_iter().map(NotificationId).collect())
}

/// Cancelled notifications after `after` that may still have jobs, at most `limit`, in the order of their ids.
///
/// # Errors
/// Postgres is out of reach.
pub async fn pending(
    conn: &mut Session,
    after: NotificationId,
    limit: i64,
) -> Result<Vec<NotificationId>, Error> {
    let rows = sqlx::query_scalar!(
        "select notification_id from pending_cancellations where notification_id > $1 order by notification_id limit $2",
        after.0,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(NotificationId).collect())
}

/// Forgets those of these notifications that have no job: they can get none any more, because jobs come from jobs and
/// fan-outs only. The retention of contents looks at them again: one that was scheduled would be left alone until it had been
/// due. In steps, so that no plan joins the tables.
///
/// # Errors
/// Postgres is out of reach.
pub async fn settle(conn: &mut Session, ids: &[NotificationId]) -> Result<(), Error> {
    sqlx::query!(
        r#"
        with settled as materialized (
          select id from unnest($1::uuid[]) as u(id)
          where (select true from jobs j where j.notification_id = id limit 1) is null),
        rechecked as (
          update kept_contents set recheck_at = least(recheck_at, now())
          where notification_id = any(array(select id from settled)))
        delete from pending_cancellations where notification_id = any(array(select id from settled))
        "#,
        &uuids(ids)
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The next notifications of a label after `after`, at most `limit`, in the order of their ids. True beside one: it has a
/// fan-out or a job, so there is something to stop.
///
/// # Errors
/// Postgres is out of reach.
pub async fn labelled(
    conn: &mut Session,
    app: AppId,
    label: &str,
    after: NotificationId,
    limit: i64,
) -> Result<Vec<(NotificationId, bool)>, Error> {
    let rows = sqlx::query!(
        r#"
        with page as materialized (
          select notification_id from notifications
          where app_id = $1 and label = $2 and notification_id > $3 order by notification_id limit $4)
        select notification_id,
               (select true from jobs j where j.notification_id = p.notification_id limit 1) is not null
               or (select true from fan_outs f where f.notification_id = p.notification_id) is not null as "is_open!"
        from page p order by notification_id
        "#,
        app.0,
        label,
        after.0,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (NotificationId(row.notification_id), row.is_open)).collect())
}

fn uuids(ids: &[NotificationId]) -> Vec<Uuid> {
    ids.iter().map(|id| id.0).collect()
}
