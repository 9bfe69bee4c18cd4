//! Events that a webhook refused while it took a later one. They are sent again hourly for a day, then on command.

use chrono::{DateTime, NaiveDate, Utc};

use super::lease::{columns, place};
use crate::domain::{EventPlace, WebhookId};
use crate::store::{Error, Session};

/// Attempts by themselves: hourly for a day.
const ATTEMPTS_MAX: i32 = 24;

/// A set-aside event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetAsideRow {
    /// Its place in the log.
    pub place: EventPlace,
    /// When it was set aside.
    pub set_aside_at: DateTime<Utc>,
    /// Attempts since then.
    pub attempts: i32,
    /// When it is sent again. None: only on command.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// The status of the last answer.
    pub status: Option<i16>,
    /// What came of the last attempt.
    pub error: Option<String>,
}

/// Sets events aside, with what the receiver answered to them last. Their first attempt is due in an hour. In the transaction of the success that passed them over.
///
/// # Errors
/// Postgres is out of reach.
pub async fn set_aside(
    conn: &mut Session,
    webhook: WebhookId,
    events: &[EventPlace],
    (status, error): (Option<i16>, Option<&str>),
) -> Result<(), Error> {
    let (mut positions, mut indexes, mut days) = (Vec::new(), Vec::new(), Vec::new());
    for event in events {
        let (position, index, day) = columns(*event);
        positions.push(position);
        indexes.push(index);
        days.push(day);
    }
    sqlx::query!(
        "
        insert into webhook_set_aside (webhook_id, position, index, day, next_attempt_at, status, error)
        select $1, position, index, day, now() + interval '1 hour', $5, $6
        from unnest($2::bigint[], $3::bigint[], $4::date[]) e(position, index, day)
        on conflict do nothing
        ",
        webhook.0,
        &positions,
        &indexes,
        &days as &[NaiveDate],
        status,
        error
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The set-aside event of a webhook that is due first, if one is.
///
/// # Errors
/// Postgres is out of reach.
pub async fn due_set_aside(conn: &mut Session, webhook: WebhookId) -> Result<Option<SetAsideRow>, Error> {
    let row = sqlx::query!(
        "
        select position, index, day, set_aside_at, attempts, next_attempt_at, status, error from webhook_set_aside
        where webhook_id = $1 and next_attempt_at <= now() order by next_attempt_at limit 1
        ",
        webhook.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| SetAsideRow {
        place: place(row.position, row.index, row.day),
        set_aside_at: row.set_aside_at,
        attempts: row.attempts,
        next_attempt_at: row.next_attempt_at,
        status: row.status,
        error: row.error,
    }))
}

/// Set-aside events of a webhook after a place, in the order of the log.
///
/// # Errors
/// Postgres is out of reach.
pub async fn set_aside_list(
    conn: &mut Session,
    webhook: WebhookId,
    after: (i64, i64),
    limit: i64,
) -> Result<Vec<SetAsideRow>, Error> {
    let rows = sqlx::query!(
        "
        select position, index, day, set_aside_at, attempts, next_attempt_at, status, error from webhook_set_aside
        where webhook_id = $1 and (position, index) > ($2, $3) order by position, index limit $4
        ",
        webhook.0,
        after.0,
        after.1,
        limit
    )
    .fetch_all(conn)
    .await?;
    let listed = rows.into_iter().map(|row| SetAsideRow {
        place: place(row.position, row.index, row.day),
        set_aside_at: row.set_aside_at,
        attempts: row.attempts,
        next_attempt_at: row.next_attempt_at,
        status: row.status,
        error: row.error,
    });
    Ok(listed.collect())
}

/// Makes a set-aside event due now. Returns false if it is not set aside.
///
/// # Errors
/// Postgres is out of reach.
pub async fn retry_set_aside(
    conn: &mut Session,
    webhook: WebhookId,
    event: EventPlace,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update webhook_set_aside set next_attempt_at = now() where webhook_id = $1 and position = $2 and index = $3",
        webhook.0,
        event.position,
        i64::from(event.index)
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Removes an event that was taken after all, or that the log does not have any more.
///
/// # Errors
/// Postgres is out of reach.
pub async fn remove_set_aside(
    conn: &mut Session,
    webhook: WebhookId,
    event: EventPlace,
) -> Result<(), Error> {
    sqlx::query!(
        "delete from webhook_set_aside where webhook_id = $1 and position = $2 and index = $3",
        webhook.0,
        event.position,
        i64::from(event.index)
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes that a set-aside event was refused again. It is due in an hour, until a day's attempts are used up.
///
/// # Errors
/// Postgres is out of reach.
pub async fn note_set_aside_failure(
    conn: &mut Session,
    webhook: WebhookId,
    event: EventPlace,
    status: Option<i16>,
    error: &str,
) -> Result<(), Error> {
    sqlx::query!(
        "
        update webhook_set_aside set attempts = attempts + 1, status = $4, error = $5,
               next_attempt_at = case when attempts + 1 < $6 then now() + interval '1 hour' end
        where webhook_id = $1 and position = $2 and index = $3
        ",
        webhook.0,
        event.position,
        i64::from(event.index),
        status,
        error,
        ATTEMPTS_MAX
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Removes set-aside events of days that the log does not keep, and has their webhooks told by a gap. Returns how many.
///
/// # Errors
/// Postgres is out of reach.
pub async fn drop_lost(conn: &mut Session, first_day: NaiveDate) -> Result<u64, Error> {
    let done = sqlx::query!(
        "
        with lost as (delete from webhook_set_aside where day < $1 returning webhook_id, day)
        update webhooks w
        set gap_from = least(gap_from, (select min(day)::timestamp at time zone 'UTC' from lost l where l.webhook_id = w.webhook_id)),
            gap_to = greatest(gap_to, (select max(day + 1)::timestamp at time zone 'UTC' from lost l where l.webhook_id = w.webhook_id))
        where webhook_id = any(array(select webhook_id from lost))
        ",
        first_day
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}
