//! Drops the contents of notifications that have been done for long enough. Used by the leader's retention duty.
//!
//! A cursor passes over all notifications once, in the order of their ids. A notification that is not done for long
//! enough when the cursor passes is listed in `kept_contents` and checked again, so that no day is read twice.

use uuid::Uuid;

use super::Error;
use crate::store::Session;

/// What the retention of contents must know about a notification.
#[derive(Clone, PartialEq, Debug)]
pub struct ContentState {
    /// The notification's id.
    pub id: Uuid,
    /// Its content was not dropped yet.
    pub has_content: bool,
    /// All of its targets have ended, the last one long enough ago.
    pub is_over: bool,
    /// Seconds until its content was kept long enough after its due time, if it is not due yet; after its cancellation, if it
    /// was cancelled.
    pub kept_secs: Option<f64>,
    /// What was addressed in vain, as JSON.
    pub unmatched: Option<Vec<u8>>,
}

/// The position of the cursor: the last notification that it has passed.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn cursor(conn: &mut Session) -> Result<Uuid, Error> {
    Ok(sqlx::query_scalar!("select reached_id from content_cursor").fetch_one(conn).await?)
}

/// Moves the cursor forward, but not past notifications that are younger than `settled_secs`: an acceptance under way
/// may still commit one.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn move_cursor(conn: &mut Session, reached: Uuid, settled_secs: f64) -> Result<(), Error> {
    sqlx::query!(
        "update content_cursor
         set reached_id = greatest(reached_id, least($1, id_floor(now() - make_interval(secs => $2))))",
        reached,
        settled_secs
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The next notifications after `after` that are older than `age_secs`, at most `limit`, in the order of their ids.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn next(conn: &mut Session, after: Uuid, age_secs: f64, limit: i64) -> Result<Vec<Uuid>, Error> {
    let ids = sqlx::query_scalar!(
        "select notification_id from notifications
         where notification_id > $1 and notification_id < id_floor(now() - make_interval(secs => $2))
         order by notification_id limit $3",
        after,
        age_secs,
        limit
    );
    Ok(ids.fetch_all(conn).await?)
}

/// Listed notifications that are due for another check, at most `limit`.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn due(conn: &mut Session, limit: i64) -> Result<Vec<Uuid>, Error> {
    let ids = sqlx::query_scalar!(
        "select notification_id from kept_contents where recheck_at <= now() order by recheck_at limit $1",
        limit
    );
    Ok(ids.fetch_all(conn).await?)
}

/// Reads the states of these notifications. Those of a dropped day are missing. One statement, so that receipts and
/// jobs come from one snapshot (docs/queue.md#fenced-record).
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn states(conn: &mut Session, ids: &[Uuid], content_secs: f64) -> Result<Vec<ContentState>, Error> {
    let (Some(first), Some(last)) = (ids.iter().min(), ids.iter().max()) else { return Ok(Vec::new()) };
    let rows = sqlx::query!(
        r#"select notification_id, content is not null as "has_content!", unmatched,
                  target_count is not null
                  and (select true from jobs j where j.notification_id = n.notification_id limit 1) is null
                  and greatest((select max(recorded_at) from receipts r where r.notification_id = n.notification_id),
                               coalesce(cancelled_at, due_at))
                      <= now() - make_interval(secs => $4) as "is_over!",
                  case when due_at > now()
                       then extract(epoch from coalesce(cancelled_at, due_at) - now())::float8 + $4 end as kept_secs
           from notifications n
           where notification_id = any($1) and notification_id >= $2 and notification_id <= $3"#,
        ids,
        first,
        last,
        content_secs
    )
    .fetch_all(conn)
    .await?;
    let states = rows.into_iter().map(|row| ContentState {
        id: row.notification_id,
        has_content: row.has_content,
        is_over: row.is_over,
        kept_secs: row.kept_secs,
        unmatched: row.unmatched,
    });
    Ok(states.collect())
}

/// Drops the contents of notifications, and replaces `unmatched` by one without names.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn drop_all(conn: &mut Session, ids: &[Uuid], unmatched: &[Option<Vec<u8>>]) -> Result<(), Error> {
    let (Some(first), Some(last)) = (ids.iter().min(), ids.iter().max()) else { return Ok(()) };
    sqlx::query!(
        "update notifications
         set content = null, unmatched = ($2::bytea[])[array_position($1, notification_id)]
         where notification_id = any($1) and notification_id >= $3 and notification_id <= $4",
        ids,
        unmatched as &[Option<Vec<u8>>],
        first,
        last
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Lists notifications, each once, for another check in so many seconds.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn keep(conn: &mut Session, ids: &[Uuid], secs: &[f64]) -> Result<(), Error> {
    sqlx::query!(
        "insert into kept_contents (notification_id, recheck_at)
         select id, now() + make_interval(secs => secs) from unnest($1::uuid[], $2::float8[]) as k(id, secs)
         on conflict (notification_id) do update set recheck_at = excluded.recheck_at",
        ids,
        secs
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Removes notifications from the list.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn unlist(conn: &mut Session, ids: &[Uuid]) -> Result<(), Error> {
    sqlx::query!("delete from kept_contents where notification_id = any($1)", ids).execute(conn).await?;
    Ok(())
}
