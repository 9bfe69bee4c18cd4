//! The last attempts of each webhook, as a ring.

use chrono::{DateTime, Utc};

use crate::domain::WebhookId;
use crate::store::{Error, Session};

/// Failed attempts of a webhook that are kept.
const FAILURES_KEPT: i64 = 800;
/// Successful attempts of a webhook that are kept.
const SUCCESSES_KEPT: i64 = 200;

/// An attempt that is noted.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct NewAttempt<'a> {
    /// The id of the message.
    pub message: &'a str,
    /// Number of its events.
    pub events: i16,
    /// Attempts since the last success before it, this one included.
    pub attempt: i32,
    /// The status of the answer.
    pub status: Option<i16>,
    /// Why it failed. None: it succeeded.
    pub error: Option<&'a str>,
    /// How long it took.
    pub elapsed_ms: i32,
    /// The first printable characters of the answer.
    pub response: &'a str,
    /// The node that made it.
    pub node_name: &'a str,
}

/// An attempt that was noted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttemptRow {
    /// Its number, which rises with time.
    pub id: i64,
    /// When it was recorded.
    pub at: DateTime<Utc>,
    /// The id of the message.
    pub message: String,
    /// Number of its events.
    pub events: i16,
    /// Attempts since the last success before it, this one included.
    pub attempt: i32,
    /// The status of the answer.
    pub status: Option<i16>,
    /// Why it failed. None: it succeeded.
    pub error: Option<String>,
    /// How long it took.
    pub elapsed_ms: i32,
    /// The first printable characters of the answer.
    pub response: String,
    /// The node that made it.
    pub node_name: String,
}

/// Notes an attempt.
///
/// # Errors
/// Postgres is out of reach.
pub async fn note_attempt(conn: &mut Session, webhook: WebhookId, new: &NewAttempt<'_>) -> Result<(), Error> {
    sqlx::query!(
        "
        insert into webhook_attempts (webhook_id, succeeded, message, events, attempt, status, error, elapsed_ms, response,
                                      node_name)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        ",
        webhook.0,
        new.error.is_none(),
        new.message,
        new.events,
        new.attempt,
        new.status,
        new.error,
        new.elapsed_ms,
        new.response,
        new.node_name
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Status and error of the last attempt that failed. None: none is kept.
///
/// # Errors
/// Postgres is out of reach.
pub async fn last_failure(
    conn: &mut Session,
    webhook: WebhookId,
) -> Result<Option<(Option<i16>, Option<String>)>, Error> {
    let row = sqlx::query!(
        "
        select status, error from webhook_attempts where webhook_id = $1 and succeeded = false
        order by attempt_id desc limit 1
        ",
        webhook.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| (row.status, row.error)))
}

/// A page of the attempts of a webhook before an attempt, the latest first.
///
/// # Errors
/// Postgres is out of reach.
pub async fn attempts(
    conn: &mut Session,
    webhook: WebhookId,
    succeeded: Option<bool>,
    before: i64,
    limit: i64,
) -> Result<Vec<AttemptRow>, Error> {
    let rows = sqlx::query!(
        r#"
        select attempt_id as "attempt_id!", at as "at!", message as "message!", events as "events!", attempt as "attempt!",
               status, error, elapsed_ms as "elapsed_ms!", response as "response!", node_name as "node_name!"
        from unnest(array[true, false]) wanted
        cross join lateral (
          select * from webhook_attempts
          where webhook_id = $1 and succeeded = wanted and attempt_id < $3
          order by attempt_id desc limit $4) a
        where wanted = coalesce($2, wanted)
        order by attempt_id desc limit $4
        "#,
        webhook.0,
        succeeded,
        before,
        limit
    )
    .fetch_all(conn)
    .await?;
    let attempts = rows.into_iter().map(|row| AttemptRow {
        id: row.attempt_id,
        at: row.at,
        message: row.message,
        events: row.events,
        attempt: row.attempt,
        status: row.status,
        error: row.error,
        elapsed_ms: row.elapsed_ms,
        response: row.response,
        node_name: row.node_name,
    });
    Ok(attempts.collect())
}

/// Deletes what is more than the ring of each webhook holds, and what is older than `kept_seconds`. Returns how many.
///
/// # Errors
/// Postgres is out of reach.
pub async fn delete_old_attempts(conn: &mut Session, kept_seconds: f64) -> Result<u64, Error> {
    let mut deleted = 0;
    for (succeeded, kept) in [(true, SUCCESSES_KEPT), (false, FAILURES_KEPT)] {
        let rings = sqlx::query!(
            r#"
            select webhook_id, last.attempt_id as "attempt_id!" from webhooks w
            cross join lateral (
              select attempt_id from webhook_attempts a
              where a.webhook_id = w.webhook_id and a.succeeded = $1
              order by a.attempt_id desc offset $2 limit 1) last
            "#,
            succeeded,
            kept
        )
        .fetch_all(&mut *conn)
        .await?;
        // Ring by ring: a join may read all attempts.
        for ring in rings {
            let beyond = sqlx::query!(
                "delete from webhook_attempts where webhook_id = $1 and succeeded = $2 and attempt_id <= $3",
                ring.webhook_id,
                succeeded,
                ring.attempt_id
            )
            .execute(&mut *conn)
            .await?;
            deleted += beyond.rows_affected();
        }
    }
    let old = sqlx::query!(
        "delete from webhook_attempts where at < now() - make_interval(secs => $1)",
        kept_seconds
    )
    .execute(conn)
    .await?;
    Ok(deleted + old.rows_affected())
}
