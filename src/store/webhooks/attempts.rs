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

/// A success that is noted together with others.
#[derive(Clone, PartialEq, Debug)]
pub struct NewSuccess {
    /// When it was recorded. None: now.
    pub at: Option<DateTime<Utc>>,
    /// The id of the message.
    pub message: String,
    /// Number of its events.
    pub events: i16,
    /// Attempts since the last success before it, this one included.
    pub attempt: i32,
    /// The status of the answer.
    pub status: Option<i16>,
    /// How long it took.
    pub elapsed_ms: i32,
    /// The first printable characters of the answer.
    pub response: String,
}

/// Successes as the columns that statements take.
#[derive(Default)]
pub(super) struct SuccessColumns {
    pub(super) at: Vec<Option<DateTime<Utc>>>,
    pub(super) message: Vec<String>,
    pub(super) events: Vec<i16>,
    pub(super) attempt: Vec<i32>,
    pub(super) status: Vec<Option<i16>>,
    pub(super) elapsed_ms: Vec<i32>,
    pub(super) response: Vec<String>,
}

impl SuccessColumns {
    pub(super) fn of(successes: &[NewSuccess]) -> Self {
        let mut columns = Self::default();
        for success in successes.iter().cloned() {
            columns.at.push(success.at);
            columns.message.push(success.message);
            columns.events.push(success.events);
            columns.attempt.push(success.attempt);
            columns.status.push(success.status);
            columns.elapsed_ms.push(success.elapsed_ms);
            columns.response.push(success.response);
        }
        columns
    }
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

/// Notes successes of a node in their order, whether or not the node still holds the lease. Of a webhook that is gone nothing is noted.
///
/// # Errors
/// Postgres is out of reach.
pub async fn note_successes(
    conn: &mut Session,
    webhook: WebhookId,
    successes: &[NewSuccess],
    node_name: &str,
) -> Result<(), Error> {
    let columns = SuccessColumns::of(successes);
    sqlx::query!(
        "
        insert into webhook_attempts (webhook_id, succeeded, at, message, events, attempt, status, elapsed_ms, response, node_name)
        select webhook_id, true, coalesce(s.at, now()), s.message, s.events, s.attempt, s.status, s.elapsed_ms, s.response, $9
        from webhooks
        cross join unnest($2::timestamptz[], $3::text[], $4::smallint[], $5::int[], $6::smallint[], $7::int[], $8::text[])
          with ordinality as s(at, message, events, attempt, status, elapsed_ms, response, place)
        where webhook_id = $1 order by s.place
        ",
        webhook.0,
        &columns.at as &[Option<DateTime<Utc>>],
        &columns.message,
        &columns.events,
        &columns.attempt,
        &columns.status as &[Option<i16>],
        &columns.elapsed_ms,
        &columns.response,
        node_name
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
