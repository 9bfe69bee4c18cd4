//! Leases of webhooks to nodes.

use chrono::{DateTime, NaiveDate, Utc};

use super::list::WebhookSource;
use crate::domain::{AppId, EventPlace, LogPosition, MessageFocus, NodeId, WebhookId, WebhookProgress};
use crate::store::{Error, Session};

/// What a node may serve.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ClaimScope {
    /// Webhooks of its configuration: app and name.
    pub declared: Vec<(AppId, String)>,
    /// Apps, the webhooks of which that the API made it serves too.
    pub apps: Vec<AppId>,
}

/// A webhook that is leased to a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeasedWebhook {
    /// The number of its row.
    pub id: WebhookId,
    /// The app the events of which it gets.
    pub app: AppId,
    /// Unique in its app.
    pub name: String,
    /// What made it.
    pub source: WebhookSource,
    /// The node that holds the lease.
    pub node: NodeId,
    /// The version of the lease.
    pub version: i32,
    /// All events up to here are done with.
    pub cursor: EventPlace,
    /// How often the cursor was wound back.
    pub replays: i32,
    /// The last event of the message under way. None: no message is.
    pub message: Option<EventPlace>,
    /// Events of this time were dropped before they were delivered.
    pub gap: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// How its delivery stands.
    pub progress: WebhookProgress,
    /// Postgres's time at the claim.
    pub now: DateTime<Utc>,
}

/// Leases webhooks that have something to deliver, those due first.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn claim(
    conn: &mut Session,
    node: NodeId,
    scope: &ClaimScope,
    limit: i64,
) -> Result<Vec<LeasedWebhook>, Error> {
    let apps: Vec<i16> = scope.declared.iter().map(|(app, _)| app.0).collect();
    let names: Vec<String> = scope.declared.iter().map(|(_, name)| name.clone()).collect();
    let served: Vec<i16> = scope.apps.iter().map(|app| app.0).collect();
    let rows = sqlx::query!(
        r#"
        with due as materialized (
          select webhook_id from webhooks w
          where node_id is null and paused_at is null and disabled_at is null and next_attempt_at <= now()
            and (source = 2 and app_id = any($4)
              or source = 1 and (app_id, name) in (select * from unnest($2::smallint[], $3::text[])))
            and (message_position is not null or gap_from is not null
              -- A cursor within a row of the log has the rest of that row before it. With `exists` a plan may read both
              -- tables for all webhooks.
              or (select true from event_log l
                  where l.app_id = w.app_id and l.position > w.cursor_position - (w.cursor_index < 4294967295)::int
                    and l.logged_at >= w.cursor_day::timestamp at time zone 'UTC' - interval '1 hour'
                    and l.logged_at < now() + interval '1 day' limit 1)
              or failures = 0 and (select true from webhook_set_aside s
                                   where s.webhook_id = w.webhook_id and s.next_attempt_at <= now() limit 1))
          order by next_attempt_at limit $5 for update skip locked)
        update webhooks w set node_id = $1, version = version + 1
        where webhook_id = any(array(select webhook_id from due))
        returning webhook_id, app_id, name, source, version, cursor_position, cursor_index, cursor_day, replays, message_position,
                  message_index, message_day, gap_from, gap_to, focus, ahead, failures, step, refusals, probed,
                  failing_since, clock_timestamp() as "now!"
        "#,
        node.0,
        &apps,
        &names,
        &served,
        limit
    )
    .fetch_all(conn)
    .await?;
    let leased = rows.into_iter().map(|row| {
        let odd = Error::Inconsistent { table: "webhooks", column: "focus", row: row.webhook_id };
        let message = row.message_position.zip(row.message_index).zip(row.message_day);
        Ok(LeasedWebhook {
            id: WebhookId(row.webhook_id),
            app: AppId(row.app_id),
            name: row.name,
            source: WebhookSource::of_column(row.source),
            node,
            version: row.version,
            cursor: place(row.cursor_position, row.cursor_index, row.cursor_day),
            replays: row.replays,
            message: message.map(|((position, index), day)| place(position, index, day)),
            gap: row.gap_from.zip(row.gap_to),
            progress: WebhookProgress {
                focus: focus(row.focus, row.ahead).ok_or(odd)?,
                failures: row.failures.cast_unsigned(),
                step: row.step.cast_unsigned(),
                refusals: row.refusals.cast_unsigned(),
                probed: row.probed.cast_unsigned(),
                failing_since: row.failing_since,
            },
            now: row.now,
        })
    });
    leased.collect()
}

/// Gives the lease back. `cursor`: events up to here were read and are not wanted. Returns false if the lease was lost.
///
/// # Errors
/// Postgres is out of reach.
pub async fn release(conn: &mut Session, held: &LeasedWebhook, cursor: EventPlace) -> Result<bool, Error> {
    let (position, index, day) = columns(cursor);
    let done = sqlx::query!(
        "
        update webhooks set node_id = null, cursor_position = $4, cursor_index = $5, cursor_day = $6
        where webhook_id = $1 and node_id = $2 and version = $3
        ",
        held.id.0,
        held.node.0,
        held.version,
        position,
        index,
        day
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Frees the webhooks of these nodes. Returns how many.
///
/// # Errors
/// Postgres is out of reach.
pub async fn free_of(conn: &mut Session, dead: &[NodeId]) -> Result<u64, Error> {
    let dead: Vec<i32> = dead.iter().map(|node| node.0).collect();
    let done = sqlx::query!(
        "update webhooks set node_id = null, version = version + 1 where node_id = any($1)",
        &dead
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// Frees the webhooks of dead nodes, and of nodes that have no row. Returns how many.
///
/// # Errors
/// Postgres is out of reach.
pub async fn free_of_dead(conn: &mut Session) -> Result<u64, Error> {
    let done = sqlx::query!(
        "
        update webhooks w set node_id = null, version = version + 1
        where node_id is not null
          and not exists (select from nodes n where n.node_id = w.node_id and n.dead_at is null)
        "
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// A place of its columns.
pub(super) fn place(position: i64, index: i64, day: NaiveDate) -> EventPlace {
    EventPlace::new(LogPosition { position, day }, u32::try_from(index).unwrap_or(u32::MAX))
}

/// The columns of a place.
pub(super) fn columns(place: EventPlace) -> (i64, i64, NaiveDate) {
    (place.position, place.index.into(), place.day())
}

pub(super) fn focus(code: i16, ahead: i32) -> Option<MessageFocus> {
    match code {
        0 => Some(MessageFocus::Batch),
        1 => Some(MessageFocus::First),
        2 => Some(MessageFocus::Ahead(ahead.cast_unsigned())),
        _ => None,
    }
}

pub(super) fn focus_columns(focus: MessageFocus) -> (i16, i32) {
    match focus {
        MessageFocus::Batch => (0, 0),
        MessageFocus::First => (1, 0),
        MessageFocus::Ahead(ahead) => (2, ahead.cast_signed()),
    }
}
