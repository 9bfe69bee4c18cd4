//! The messages under way, and what came of them. Every change is fenced by the lease.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::attempts::{NewSuccess, SuccessColumns};
use super::lease::{LeasedWebhook, columns, focus_columns};
use crate::domain::{EventPlace, WebhookProgress};
use crate::store::{Error, Session};

/// How a webhook stands in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MessageBounds {
    /// All events up to here are done with.
    pub cursor: EventPlace,
    /// The last event of the next message. None: nothing more is known to be delivered, and the lease is given back.
    pub message: Option<EventPlace>,
}

/// Stores the bounds of a message before its first attempt. Returns false if the lease was lost, or the webhook paused.
///
/// # Errors
/// Postgres is out of reach.
pub async fn record_start(
    conn: &mut Session,
    held: &LeasedWebhook,
    bounds: MessageBounds,
) -> Result<bool, Error> {
    let (position, index, day) = columns(bounds.cursor);
    let message = bounds.message.map(columns);
    let row = sqlx::query!(
        r#"
        update webhooks set cursor_position = $4, cursor_index = $5, cursor_day = $6, message_position = $7,
               message_index = $8, message_day = $9
        where webhook_id = $1 and node_id = $2 and version = $3 and paused_at is null
        returning 1 as "held!"
        "#,
        held.id.0,
        held.node.0,
        held.version,
        position,
        index,
        day,
        message.map(|message| message.0),
        message.map(|message| message.1),
        message.map(|message| message.2)
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.is_some())
}

/// Records a success of a webhook that does not fail, with the bounds of the next message. The attempt is noted later. None: the lease
/// was lost, and nothing has changed. Else when it was recorded, and whether the next message may be sent: a webhook that was paused
/// meanwhile has given its lease back.
///
/// # Errors
/// Postgres is out of reach.
pub async fn record_progress(
    conn: &mut Session,
    held: &LeasedWebhook,
    cursor: EventPlace,
    message: EventPlace,
) -> Result<Option<(DateTime<Utc>, bool)>, Error> {
    let ((position, index, day), message) = (columns(cursor), columns(message));
    let row = sqlx::query!(
        r#"
        update webhooks set cursor_position = $4, cursor_index = $5, cursor_day = $6, message_position = $7,
               message_index = $8, message_day = $9, node_id = case when paused_at is null then node_id end,
               last_success_at = now(), why = null
        where webhook_id = $1 and node_id = $2 and version = $3
        returning now() as "at!", paused_at is null as "may_go_on!"
        "#,
        held.id.0,
        held.node.0,
        held.version,
        position,
        index,
        day,
        message.0,
        message.1,
        message.2
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| (row.at, row.may_go_on)))
}

/// Records a success: the cursor moves, and the next message has its bounds, in one statement with the notes of this success and of
/// those before it. Without a next message the lease is given back. None: the lease was lost, and nothing has changed. Else whether
/// the next message may be sent, which it may not while the webhook is paused.
///
/// # Errors
/// Postgres is out of reach.
pub async fn record_success(
    conn: &mut Session,
    held: &LeasedWebhook,
    bounds: MessageBounds,
    ends_gap: bool,
    (successes, node_name): (&[NewSuccess], &str),
) -> Result<Option<bool>, Error> {
    let noted = SuccessColumns::of(successes);
    let (position, index, day) = columns(bounds.cursor);
    let message = bounds.message.map(columns);
    let row = sqlx::query!(
        r#"
        with moved as (
          update webhooks set cursor_position = $4, cursor_index = $5, cursor_day = $6, message_position = $7,
                 message_index = $8, message_day = $9, node_id = case when $7::bigint is null or paused_at is not null then null else node_id end,
                 gap_from = case when $10 then null else gap_from end, gap_to = case when $10 then null else gap_to end,
                 focus = 0, ahead = 0, failures = 0, step = 0, refusals = 0, probed = 0, failing_since = null, why = null,
                 state_since = case when failures >= 3 then now() else state_since end, last_success_at = now(),
                 next_attempt_at = now()
          where webhook_id = $1 and node_id = $2 and version = $3
          returning webhook_id, paused_at is null as may_go_on),
        noted as (
          insert into webhook_attempts (webhook_id, succeeded, at, message, events, attempt, status, elapsed_ms, response,
                                        node_name)
          select webhook_id, true, coalesce(s.at, now()), s.message, s.events, s.attempt, s.status, s.elapsed_ms, s.response, $18
          from moved
          cross join unnest($11::timestamptz[], $12::text[], $13::smallint[], $14::int[], $15::smallint[], $16::int[], $17::text[])
            with ordinality as s(at, message, events, attempt, status, elapsed_ms, response, place)
          order by s.place)
        select may_go_on as "may_go_on!" from moved
        "#,
        held.id.0,
        held.node.0,
        held.version,
        position,
        index,
        day,
        message.map(|message| message.0),
        message.map(|message| message.1),
        message.map(|message| message.2),
        ends_gap,
        &noted.at as &[Option<DateTime<Utc>>],
        &noted.message,
        &noted.events,
        &noted.attempt,
        &noted.status as &[Option<i16>],
        &noted.elapsed_ms,
        &noted.response,
        node_name
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| row.may_go_on))
}

/// What follows from a failure.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Failure {
    /// How the delivery stands now.
    pub progress: WebhookProgress,
    /// The wait before the next attempt.
    pub wait: Duration,
    /// The webhook is given up.
    pub is_disabled: bool,
    /// The message is cut or another one, so its bounds are found anew.
    pub forgets_message: bool,
    /// The gap is not told any more, because the receiver refuses to hear of it.
    pub forgets_gap: bool,
}

impl Failure {
    /// Nothing but this progress, without a wait.
    pub fn of(progress: WebhookProgress) -> Self {
        let wait = Duration::ZERO;
        Self { progress, wait, is_disabled: false, forgets_message: false, forgets_gap: false }
    }
}

/// Records a failure, and gives the lease back. Returns false if the lease was lost; then nothing has changed.
///
/// # Errors
/// Postgres is out of reach.
pub async fn record_failure(
    conn: &mut Session,
    held: &LeasedWebhook,
    failure: &Failure,
    why: Option<&str>,
) -> Result<bool, Error> {
    let (focus, ahead) = focus_columns(failure.progress.focus);
    let done = sqlx::query!(
        "
        update webhooks set node_id = null, focus = $4, ahead = $5, failures = $6, step = $7, refusals = $8, probed = $9,
               failing_since = $10, why = coalesce($11, why), next_attempt_at = now() + make_interval(secs => $12),
               disabled_at = case when $13 then now() else disabled_at end,
               state_since = case when $13 or $6 = 3 and failures < 3 then now() else state_since end,
               message_position = case when $14 then null else message_position end,
               message_index = case when $14 then null else message_index end,
               message_day = case when $14 then null else message_day end,
               gap_from = case when $15 then null else gap_from end, gap_to = case when $15 then null else gap_to end
        where webhook_id = $1 and node_id = $2 and version = $3
        ",
        held.id.0,
        held.node.0,
        held.version,
        focus,
        ahead,
        failure.progress.failures.cast_signed(),
        failure.progress.step.cast_signed(),
        failure.progress.refusals.cast_signed(),
        failure.progress.probed.cast_signed(),
        failure.progress.failing_since,
        why,
        failure.wait.as_secs_f64(),
        failure.is_disabled,
        failure.forgets_message,
        failure.forgets_gap
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Notes that events were dropped before they were delivered, and goes on behind them. Returns false if the lease was lost.
///
/// # Errors
/// Postgres is out of reach.
pub async fn record_gap(
    conn: &mut Session,
    held: &LeasedWebhook,
    cursor: EventPlace,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
) -> Result<bool, Error> {
    let (position, index, day) = columns(cursor);
    let done = sqlx::query!(
        "
        update webhooks set cursor_position = $4, cursor_index = $5, cursor_day = $6, message_position = null,
               message_index = null, message_day = null, gap_from = least(gap_from, $7), gap_to = greatest(gap_to, $8)
        where webhook_id = $1 and node_id = $2 and version = $3
        ",
        held.id.0,
        held.node.0,
        held.version,
        position,
        index,
        day,
        from,
        to
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}
