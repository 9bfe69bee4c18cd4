//! Webhooks as operators see them.

use chrono::{DateTime, Utc};

use super::lease::place;
use crate::domain::{AppId, EventPlace, WebhookId};
use crate::store::{Error, Session};

/// What made a webhook.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WebhookSource {
    /// The configuration, which has its settings.
    Config,
    /// `POST /v1/admin/webhooks`. Its settings are in its row.
    Api,
}

impl WebhookSource {
    pub(super) fn of_column(code: i16) -> Self {
        if code == 1 { Self::Config } else { Self::Api }
    }
}

/// The row of a webhook.
#[derive(Clone, PartialEq, Debug)]
pub struct StoredWebhook {
    /// The number of its row.
    pub id: WebhookId,
    /// The app the events of which it gets.
    pub app: AppId,
    /// Unique in its app.
    pub name: String,
    /// What made it.
    pub source: WebhookSource,
    /// Of a webhook that the API made: the receiver.
    pub url: Option<String>,
    /// Of a webhook that the API made: names and patterns of types.
    pub types: Option<Vec<String>>,
    /// Of a webhook that the API made: which devices events name, as requests have it.
    pub devices: Option<String>,
    /// Of a webhook that the API made: events of a message at most.
    pub batch_max: Option<i16>,
    /// Of a webhook that the API made: the secrets that sign now, the newest first, and from when on each signs no more.
    pub secrets: Vec<(Vec<u8>, Option<DateTime<Utc>>)>,
    /// All events up to here are done with.
    pub cursor: EventPlace,
    /// It is paused.
    pub is_paused: bool,
    /// It was given up.
    pub is_disabled: bool,
    /// Failed attempts since the last success.
    pub failures: u32,
    /// Since when it has been in its state.
    pub state_since: DateTime<Utc>,
    /// What came of the last failed attempt.
    pub why: Option<String>,
    /// When the next attempt is due. None: nothing waits.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// When an attempt last succeeded.
    pub last_success_at: Option<DateTime<Utc>>,
    /// The first failure after that.
    pub failing_since: Option<DateTime<Utc>>,
    /// Age of the oldest event that is not delivered, in seconds. 0: there is none.
    pub lag_seconds: f64,
    /// Number of set-aside events.
    pub set_aside: i64,
}

/// The webhooks of an app, by their names.
///
/// # Errors
/// Postgres is out of reach.
pub async fn list(conn: &mut Session, app: AppId) -> Result<Vec<StoredWebhook>, Error> {
    read(conn, app, None).await
}

/// The webhooks of all apps with the names of these, by both names. Those of the configuration may be in it no more.
///
/// # Errors
/// Postgres is out of reach.
pub async fn list_all(conn: &mut Session) -> Result<Vec<(String, StoredWebhook)>, Error> {
    let apps = sqlx::query!(
        "select a.app_id, a.name from apps a where exists (select from webhooks w where w.app_id = a.app_id) order by a.name"
    );
    let mut all = Vec::new();
    for app in apps.fetch_all(&mut *conn).await? {
        let of_app = list(conn, AppId(app.app_id)).await?;
        all.extend(of_app.into_iter().map(|webhook| (app.name.clone(), webhook)));
    }
    Ok(all)
}

/// A webhook by its number.
///
/// # Errors
/// Postgres is out of reach.
pub async fn find(
    conn: &mut Session,
    app: AppId,
    webhook: WebhookId,
) -> Result<Option<StoredWebhook>, Error> {
    Ok(read(conn, app, Some(webhook)).await?.pop())
}

async fn read(conn: &mut Session, app: AppId, one: Option<WebhookId>) -> Result<Vec<StoredWebhook>, Error> {
    let rows = sqlx::query!(
        r#"
        select webhook_id, name, source, url, types, devices, batch_max, secrets,
               secrets_expire_at as "secrets_expire_at: Vec<Option<DateTime<Utc>>>", cursor_position, cursor_index, cursor_day,
               paused_at is not null as "is_paused!", disabled_at is not null as "is_disabled!", failures, state_since, why,
               case when failures > 0 and paused_at is null and disabled_at is null then next_attempt_at end as next_attempt_at,
               last_success_at, failing_since, clock_timestamp() as "now!",
               coalesce(extract(epoch from clock_timestamp() - (
                 select l.at from event_log l
                 where l.app_id = w.app_id and l.position > w.cursor_position - (w.cursor_index < 4294967295)::int
                   and l.logged_at >= w.cursor_day::timestamp at time zone 'UTC' - interval '1 hour'
                   and l.logged_at < now() + interval '1 day'
                 order by l.position limit 1)), 0)::float8 as "lag_seconds!",
               (select count(*) from webhook_set_aside s where s.webhook_id = w.webhook_id) as "set_aside!"
        from webhooks w where app_id = $1 and webhook_id = coalesce($2, webhook_id) order by name
        "#,
        app.0,
        one.map(|one| one.0)
    )
    .fetch_all(conn)
    .await?;
    let webhooks = rows.into_iter().map(|row| {
        let now = row.now;
        let secrets = row.secrets.into_iter().zip(row.secrets_expire_at);
        StoredWebhook {
            id: WebhookId(row.webhook_id),
            app,
            name: row.name,
            source: WebhookSource::of_column(row.source),
            url: row.url,
            types: row.types,
            devices: row.devices,
            batch_max: row.batch_max,
            secrets: secrets.filter(|(_, until)| until.is_none_or(|until| until > now)).collect(),
            cursor: place(row.cursor_position, row.cursor_index, row.cursor_day),
            is_paused: row.is_paused,
            is_disabled: row.is_disabled,
            failures: row.failures.cast_unsigned(),
            state_since: row.state_since,
            why: row.why,
            next_attempt_at: row.next_attempt_at,
            last_success_at: row.last_success_at,
            failing_since: row.failing_since,
            lag_seconds: row.lag_seconds.max(0.0),
            set_aside: row.set_aside,
        }
    });
    Ok(webhooks.collect())
}
