//! Webhooks that are made, changed and removed, and what operators do to their delivery.

use super::lease::columns;
use crate::domain::{AppId, EventPlace, WebhookId};
use crate::store::{Error, Session};

/// A webhook that the API makes.
#[derive(Clone, PartialEq, Debug)]
pub struct NewWebhook<'a> {
    /// The app the events of which it gets.
    pub app: AppId,
    /// Unique in its app.
    pub name: &'a str,
    /// Where messages are posted to.
    pub url: &'a str,
    /// Names and patterns of types.
    pub types: &'a [String],
    /// Which devices events name, as requests have it.
    pub devices: &'a str,
    /// Events of a message at most.
    pub batch_max: i16,
    /// What messages are signed with.
    pub secret: &'a [u8],
    /// Where it begins to read.
    pub cursor: EventPlace,
}

/// What the API changes of a webhook that it made. None: it stays.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct WebhookEdit {
    /// Where messages are posted to.
    pub url: Option<String>,
    /// Names and patterns of types.
    pub types: Option<Vec<String>>,
    /// Which devices events name, as requests have it.
    pub devices: Option<String>,
    /// Events of a message at most.
    pub batch_max: Option<i16>,
}

/// Inserts a webhook. None: the app has one of this name, or `most` webhooks.
///
/// # Errors
/// Postgres is out of reach.
pub async fn insert(conn: &mut Session, new: &NewWebhook<'_>, most: i64) -> Result<Option<WebhookId>, Error> {
    let (position, index, day) = columns(new.cursor);
    let mut transaction = conn.begin().await?;
    // A statement does not see what others have not committed yet, so those that count the app's webhooks take turns.
    sqlx::query_scalar!("select app_id from apps where app_id = $1 for no key update", new.app.0)
        .fetch_optional(&mut *transaction)
        .await?;
    let row = sqlx::query_scalar!(
        "
        insert into webhooks (app_id, name, source, url, types, devices, batch_max, secrets, secrets_expire_at, cursor_position,
                              cursor_index, cursor_day)
        select $1, $2, 2, $3, $4, $5, $6, array[$7::bytea], array[null::timestamptz], $8, $9, $10
        where (select count(*) from webhooks where app_id = $1 and source = 2) < $11
        on conflict (app_id, name) do nothing returning webhook_id
        ",
        new.app.0,
        new.name,
        new.url,
        new.types,
        new.devices,
        new.batch_max,
        new.secret,
        position,
        index,
        day,
        most
    )
    .fetch_optional(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(row.map(WebhookId))
}

/// Enters the webhooks of a configuration. A new one begins to read at `cursor`. Of one that the API made with the same name
/// nothing changes. Returns the names that the API has taken.
///
/// # Errors
/// Postgres is out of reach.
pub async fn ensure_declared(
    conn: &mut Session,
    declared: &[(AppId, String)],
    cursor: EventPlace,
) -> Result<Vec<(AppId, String)>, Error> {
    let (position, index, day) = columns(cursor);
    let apps: Vec<i16> = declared.iter().map(|(app, _)| app.0).collect();
    let names: Vec<String> = declared.iter().map(|(_, name)| name.clone()).collect();
    sqlx::query!(
        "
        insert into webhooks (app_id, name, source, cursor_position, cursor_index, cursor_day)
        select app_id, name, 1, $3, $4, $5 from unnest($1::smallint[], $2::text[]) d(app_id, name) order by app_id, name
        on conflict (app_id, name) do update set seen_at = now() where webhooks.source = 1
        ",
        &apps,
        &names,
        position,
        index,
        day
    )
    .execute(&mut *conn)
    .await?;
    let taken = sqlx::query!(
        "
        select app_id, name from webhooks
        where source = 2 and (app_id, name) in (select * from unnest($1::smallint[], $2::text[]))
        ",
        &apps,
        &names
    )
    .fetch_all(conn)
    .await?;
    Ok(taken.into_iter().map(|row| (AppId(row.app_id), row.name)).collect())
}

/// Deletes webhooks that no node has had in its configuration for this long. Returns how many.
///
/// # Errors
/// Postgres is out of reach.
pub async fn forget_undeclared(conn: &mut Session, kept_seconds: f64) -> Result<u64, Error> {
    let done = sqlx::query!(
        "delete from webhooks where source = 1 and seen_at < now() - make_interval(secs => $1)",
        kept_seconds
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// Moves the cursors of webhooks that have nothing to read to the end of the log, so that the day of a cursor is not dropped
/// while nothing happens. Returns how many.
///
/// # Errors
/// Postgres is out of reach.
pub async fn refresh_idle(conn: &mut Session) -> Result<u64, Error> {
    let done = sqlx::query!(
        "
        update webhooks w
        set cursor_position = h.position, cursor_index = 4294967295, cursor_day = (now() at time zone 'UTC')::date
        from event_head h
        where node_id is null and message_position is null and cursor_day < (now() at time zone 'UTC')::date
          -- Webhook by webhook: a join may read all of the log.
          and (select l.position from event_log l
               where l.app_id = w.app_id and l.position > w.cursor_position - (w.cursor_index < 4294967295)::int
                 and l.logged_at >= w.cursor_day::timestamp at time zone 'UTC' - interval '1 hour'
                 and l.logged_at < now() + interval '1 day'
               order by l.position limit 1) is null
        "
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// Changes a webhook that the API made, and voids its lease, so that the next message is as it is now.
///
/// # Errors
/// Postgres is out of reach.
pub async fn update(conn: &mut Session, webhook: WebhookId, edit: &WebhookEdit) -> Result<(), Error> {
    sqlx::query!(
        "
        update webhooks set url = coalesce($2, url), types = coalesce($3, types), devices = coalesce($4, devices),
               batch_max = coalesce($5, batch_max), node_id = null, version = version + 1, next_attempt_at = now()
        where webhook_id = $1 and source = 2
        ",
        webhook.0,
        edit.url,
        edit.types.as_deref(),
        edit.devices,
        edit.batch_max
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Deletes a webhook that the API made, with its attempts and set-aside events.
///
/// # Errors
/// Postgres is out of reach.
pub async fn delete(conn: &mut Session, webhook: WebhookId) -> Result<(), Error> {
    sqlx::query!("delete from webhooks where webhook_id = $1 and source = 2", webhook.0)
        .execute(conn)
        .await?;
    Ok(())
}

/// Pauses a webhook. The message under way is its last one.
///
/// # Errors
/// Postgres is out of reach.
pub async fn pause(conn: &mut Session, webhook: WebhookId) -> Result<(), Error> {
    sqlx::query!(
        "update webhooks set paused_at = now(), state_since = now() where webhook_id = $1 and paused_at is null",
        webhook.0
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends a pause, and the state of a webhook that was disabled. It goes on where it stopped, at once.
///
/// # Errors
/// Postgres is out of reach.
pub async fn resume(conn: &mut Session, webhook: WebhookId) -> Result<(), Error> {
    sqlx::query!(
        "
        update webhooks set next_attempt_at = now(), paused_at = null, disabled_at = null,
               state_since = case when num_nulls(paused_at, disabled_at) < 2 then now() else state_since end,
               failures = case when disabled_at is null then failures else 0 end,
               failing_since = case when disabled_at is null then failing_since end
        where webhook_id = $1
        ",
        webhook.0
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends the wait of a webhook that failed.
///
/// # Errors
/// Postgres is out of reach.
pub async fn retry(conn: &mut Session, webhook: WebhookId) -> Result<(), Error> {
    sqlx::query!("update webhooks set next_attempt_at = now() where webhook_id = $1", webhook.0)
        .execute(conn)
        .await?;
    Ok(())
}

/// Winds the cursor back, never forward: what was not delivered yet stays to be. Events that were set aside and come again in
/// their order are not set aside any more. The lease is void, so what is under way changes nothing any more.
///
/// # Errors
/// Postgres is out of reach.
pub async fn replay(conn: &mut Session, webhook: WebhookId, cursor: EventPlace) -> Result<(), Error> {
    let (position, index, day) = columns(cursor);
    sqlx::query!(
        "
        with wound_back as (
          update webhooks set cursor_position = $2, cursor_index = $3, cursor_day = $4, replays = replays + 1,
                 message_position = null, message_index = null, message_day = null, focus = 0, ahead = 0, refusals = 0,
                 probed = 0, node_id = null, version = version + 1, next_attempt_at = now()
          where webhook_id = $1 and (cursor_position, cursor_index) > ($2, $3)
          returning webhook_id)
        delete from webhook_set_aside a using wound_back w
        where a.webhook_id = w.webhook_id and (a.position, a.index) > ($2, $3)
        ",
        webhook.0,
        position,
        index,
        day
    )
    .execute(conn)
    .await?;
    Ok(())
}
