//! Idempotency keys of accepted requests. [`super::accept`] stores them, in the statement that stores the notification.

use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;

use super::Error;
use crate::domain::{AppId, IdempotencyKey, NotificationId, RequestDigest};
use crate::store::Session;

/// What is stored with a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredAnswer {
    /// The request that the key was stored with.
    pub request: RequestDigest,
    /// The notification of that request.
    pub notification: NotificationId,
    /// The body of its answer.
    pub answer: Vec<u8>,
}

/// Reads what is stored with these keys. Keys that are free are left out.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn find(
    conn: &mut Session,
    keys: &[(AppId, IdempotencyKey)],
) -> Result<HashMap<(AppId, IdempotencyKey), StoredAnswer>, Error> {
    let apps: Vec<i16> = keys.iter().map(|(app, _)| app.0).collect();
    let digests: Vec<Vec<u8>> = keys.iter().map(|(_, key)| key.0.to_vec()).collect();
    // One probe of the primary key per key, whatever the planner expects (docs/queue.md#stable-plans).
    let rows = sqlx::query!(
        r#"
        select k.app_id, k.key_digest, k.request_digest, k.notification_id as "notification_id: Uuid", k.answer
        from unnest($1::smallint[], $2::bytea[]) as wanted(app, key)
        cross join lateral (
          select * from idempotency_keys where app_id = wanted.app and key_digest = wanted.key offset 0) k
        "#,
        &apps,
        &digests
    )
    .fetch_all(conn)
    .await?;
    let answers = rows.into_iter().map(|row| {
        let key = IdempotencyKey(digest(&row.key_digest, "key_digest")?);
        let request = RequestDigest(digest(&row.request_digest, "request_digest")?);
        let notification = NotificationId(row.notification_id);
        Ok(((AppId(row.app_id), key), StoredAnswer { request, notification, answer: row.answer }))
    });
    answers.collect()
}

fn digest(stored: &[u8], column: &'static str) -> Result<[u8; 16], Error> {
    stored.try_into().map_err(|_| Error::Inconsistent { table: "idempotency_keys", column, row: 0 })
}

/// From now on, statements of this session wait this long for locks of other sessions.
///
/// # Errors
/// Postgres is out of reach.
pub async fn limit_lock_wait(conn: &mut Session, wait: Duration) -> Result<(), Error> {
    let wait_ms = wait.as_millis().to_string();
    sqlx::query!("select set_config('lock_timeout', $1, false)", wait_ms).fetch_one(conn).await?;
    Ok(())
}

/// Deletes up to `limit` keys that were stored more than `secs` ago, the oldest first. Returns how many.
///
/// # Errors
/// Postgres is out of reach.
pub async fn delete_old(conn: &mut Session, secs: f64, limit: i64) -> Result<u64, Error> {
    let deleted = sqlx::query!(
        "with old as materialized (
           select ctid from idempotency_keys
           where created_at < now() - make_interval(secs => $1)
           order by created_at limit $2 for update skip locked)
         delete from idempotency_keys where ctid = any(array(select ctid from old))",
        secs,
        limit
    )
    .execute(conn)
    .await?;
    Ok(deleted.rows_affected())
}
