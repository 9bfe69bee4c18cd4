//! Dropping what notifications say once they have been done for long enough.
//!
//! A cursor goes over the notifications once, in the order of their ids. Those that it passes too early are listed and
//! looked at again, so that no day is read twice.

use uuid::Uuid;

use super::Error;
use crate::store::Session;

/// A notification as the retention of its content sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// Which.
    pub id: Uuid,
    /// Its content is still there.
    pub has_content: bool,
    /// All of its targets have ended, and the last one did so long enough ago.
    pub is_over: bool,
    /// Who was addressed in vain: JSON.
    pub unmatched: Option<Vec<u8>>,
}

/// Up to which notification contents were looked at.
///
/// # Errors
/// The database's.
pub async fn cursor(conn: &mut Session) -> Result<Uuid, Error> {
    Ok(sqlx::query_scalar!("select reached_id from content_cursor").fetch_one(conn).await?)
}

/// Moves the cursor, but not past notifications that are younger than `settled_secs`: an acceptance that is under way
/// may still commit one.
///
/// # Errors
/// The database's.
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
/// The database's.
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

/// Listed notifications that are to be looked at again, at most `limit`.
///
/// # Errors
/// The database's.
pub async fn due(conn: &mut Session, limit: i64) -> Result<Vec<Uuid>, Error> {
    let ids = sqlx::query_scalar!(
        "select notification_id from kept_contents where recheck_at <= now() order by recheck_at limit $1",
        limit
    );
    Ok(ids.fetch_all(conn).await?)
}

/// What is to be known of these notifications; those whose day is gone are missing. One statement, so that receipts and
/// jobs come from one snapshot (docs/queue.md#fenced-record).
///
/// # Errors
/// The database's.
pub async fn facts(conn: &mut Session, ids: &[Uuid], content_secs: f64) -> Result<Vec<Facts>, Error> {
    let (Some(first), Some(last)) = (ids.iter().min(), ids.iter().max()) else { return Ok(Vec::new()) };
    let rows = sqlx::query!(
        r#"select notification_id, content is not null as "has_content!", unmatched,
                  target_count is not null
                  and (select true from jobs j where j.notification_id = n.notification_id limit 1) is null
                  and coalesce((select max(recorded_at) from receipts r where r.notification_id = n.notification_id),
                               created_at)
                      <= now() - make_interval(secs => $4) as "is_over!"
           from notifications n
           where notification_id = any($1) and notification_id >= $2 and notification_id <= $3"#,
        ids,
        first,
        last,
        content_secs
    )
    .fetch_all(conn)
    .await?;
    let facts = rows.into_iter().map(|row| Facts {
        id: row.notification_id,
        has_content: row.has_content,
        is_over: row.is_over,
        unmatched: row.unmatched,
    });
    Ok(facts.collect())
}

/// Drops the content of notifications, and puts `unmatched` without names in the place of the stored one.
///
/// # Errors
/// The database's.
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

/// Lists notifications, to be looked at again in `secs`.
///
/// # Errors
/// The database's.
pub async fn keep(conn: &mut Session, ids: &[Uuid], secs: f64) -> Result<(), Error> {
    sqlx::query!(
        "insert into kept_contents (notification_id, recheck_at)
         select id, now() + make_interval(secs => $2) from unnest($1::uuid[]) as k(id)
         on conflict (notification_id) do update set recheck_at = excluded.recheck_at",
        ids,
        secs
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes notifications from the list.
///
/// # Errors
/// The database's.
pub async fn unlist(conn: &mut Session, ids: &[Uuid]) -> Result<(), Error> {
    sqlx::query!("delete from kept_contents where notification_id = any($1)", ids).execute(conn).await?;
    Ok(())
}
