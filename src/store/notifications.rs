//! Reads the notifications that a lane has leased jobs of. Used by `dispatch::prefetch`.

use std::collections::HashMap;

use uuid::Uuid;

use super::Error;
use crate::domain::{AppId, Content, DeviceId, NotificationId, TraceId, UserId};
use crate::store::Session;
use crate::store::partitions::id_span;

/// What a lane must know about a notification to send it.
#[derive(Debug)]
pub struct ToSend {
    /// The notification's id.
    pub id: NotificationId,
    /// The app that sends it.
    pub app: AppId,
    /// The request had a `ttl` of 0: one attempt, at once or never.
    pub once: bool,
    /// Some targets were addressed through a user.
    pub by_user: bool,
    /// The sender has cancelled it.
    pub cancelled: bool,
    /// What is sent. None: it was not asked for, retention has dropped it, or no version of Pushpost writes such a
    /// value.
    pub content: Option<Content>,
}

/// Reads notifications of an app by their ids, and the content of those that are in `with_content`. Unknown ids are left out.
pub async fn to_send(
    conn: &mut Session,
    app: AppId,
    ids: &[NotificationId],
    with_content: &[NotificationId],
) -> Result<Vec<ToSend>, Error> {
    let (Some(first), Some(last)) = (ids.iter().min(), ids.iter().max()) else { return Ok(Vec::new()) };
    let rows = sqlx::query!(
        r#"
        select n.notification_id as "notification_id!", app_id as "app_id!", once as "once!", by_user as "by_user!",
               cancelled as "cancelled!", content
        from unnest($1::uuid[]) id
        -- One by one: with `= any`, the plan of an empty day may read all notifications of the app. The range leaves out
        -- other days before the statement begins.
        cross join lateral (
          select notification_id, app_id, once, by_user, cancelled_at is not null as cancelled,
                 case when notification_id = any($2) then content end as content
          from notifications
          where notification_id = id and app_id = $3 and notification_id >= $4 and notification_id <= $5 offset 0) n
        "#,
        &uuids(ids),
        &uuids(with_content),
        app.0,
        first.0,
        last.0
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| ToSend {
            id: NotificationId(row.notification_id),
            app: AppId(row.app_id),
            once: row.once,
            by_user: row.by_user,
            cancelled: row.cancelled,
            content: row.content.and_then(|bytes| serde_json::from_slice(&bytes).ok()),
        })
        .collect())
}

/// Those of these notifications of an app that their senders have cancelled.
pub async fn cancelled_among(
    conn: &mut Session,
    app: AppId,
    ids: &[NotificationId],
) -> Result<Vec<NotificationId>, Error> {
    let (Some(first), Some(last)) = (ids.iter().min(), ids.iter().max()) else { return Ok(Vec::new()) };
    let rows = sqlx::query_scalar!(
        r#"select id as "id!" from unnest($1::uuid[]) id
           cross join lateral (
             select from notifications
             where notification_id = id and app_id = $2 and cancelled_at is not null
               and notification_id >= $3 and notification_id <= $4 offset 0) n"#,
        &uuids(ids),
        app.0,
        first.0,
        last.0
    );
    Ok(rows.fetch_all(conn).await?.into_iter().map(NotificationId).collect())
}

/// The user that a target was addressed through.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AddressedUser {
    /// The user's id.
    pub user: UserId,
    /// The user was erased after the notification was accepted. The id stands for another user now.
    pub is_erased: bool,
}

/// The users that targets of these notifications of an app were addressed through. Targets that were addressed otherwise are
/// left out.
pub async fn users_of(
    conn: &mut Session,
    app: AppId,
    ids: &[NotificationId],
    devices: &[DeviceId],
) -> Result<HashMap<(NotificationId, DeviceId), AddressedUser>, Error> {
    let devices: Vec<i64> = devices.iter().map(|device| device.0).collect();
    // A user is looked up only for notifications that are older than the last erasure: a digest takes Postgres 2 µs.
    let rows = sqlx::query!(
        r#"
        select notification_id, device_id, user_id as "user_id!",
               case when notification_id < (select id_floor(max(erased_at) + interval '1 ms') from erased_users)
                    then exists (
                      select from erased_users e
                      where e.app_id = $3 and e.user_digest = user_digest($3, t.user_id)
                        and t.notification_id < id_floor(e.erased_at + interval '1 ms'))
                    else false end as "is_erased!"
        from targets t
        where notification_id = any($1) and device_id = any($2) and user_id is not null
        "#,
        &uuids(ids),
        &devices,
        app.0
    )
    .fetch_all(conn)
    .await?;
    let users = rows.into_iter().map(|row| {
        let user = AddressedUser { user: UserId::stored(row.user_id), is_erased: row.is_erased };
        ((NotificationId(row.notification_id), DeviceId(row.device_id)), user)
    });
    Ok(users.collect())
}

fn uuids(ids: &[NotificationId]) -> Vec<Uuid> {
    ids.iter().map(|id| id.0).collect()
}

/// The traces of notifications of an app. Those that are not traced, or not kept any more, are left out.
///
/// # Errors
/// Postgres is out of reach.
pub async fn traces_of(
    conn: &mut Session,
    app: AppId,
    ids: &[NotificationId],
) -> Result<Vec<(NotificationId, TraceId)>, Error> {
    let ids = uuids(ids);
    let (first, last) = id_span(&ids);
    let rows = sqlx::query!(
        r#"
        select n.notification_id as "notification_id!", n.trace_id as "trace_id!"
        from unnest($1::uuid[]) id
        cross join lateral (
          select notification_id, trace_id from notifications
          where notification_id = id and app_id = $2 and trace_id is not null and notification_id between $3 and $4 offset 0) n
        "#,
        &ids,
        app.0,
        first,
        last
    )
    .fetch_all(conn)
    .await?;
    let traces = rows
        .into_iter()
        .filter_map(|row| Some((NotificationId(row.notification_id), TraceId::from_stored(&row.trace_id)?)));
    Ok(traces.collect())
}
