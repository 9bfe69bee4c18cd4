//! Figures of webhooks, which the leader exports.

use crate::domain::AppId;
use crate::store::{Error, Session};

/// The figures of a webhook.
#[derive(Clone, PartialEq, Debug)]
pub struct WebhookFigures {
    /// The app the events of which it gets.
    pub app: AppId,
    /// Unique in its app.
    pub name: String,
    /// It is paused.
    pub is_paused: bool,
    /// It was given up.
    pub is_disabled: bool,
    /// Failed attempts since the last success.
    pub failures: u32,
    /// Age of the oldest event that is not delivered, in seconds. 0: there is none.
    pub lag_seconds: f64,
    /// Number of set-aside events.
    pub set_aside: u32,
}

/// The figures of all webhooks that a node has served of late.
///
/// # Errors
/// Postgres is out of reach.
pub async fn figures(conn: &mut Session) -> Result<Vec<WebhookFigures>, Error> {
    let rows = sqlx::query!(
        r#"
        select app_id, name, paused_at is not null as "is_paused!", disabled_at is not null as "is_disabled!", failures,
               coalesce(extract(epoch from clock_timestamp() - (
                 select l.at from event_log l
                 where l.app_id = w.app_id and l.position > w.cursor_position - (w.cursor_index < 4294967295)::int
                   and l.logged_at >= w.cursor_day::timestamp at time zone 'UTC' - interval '1 hour'
                   and l.logged_at < now() + interval '1 day'
                 order by l.position limit 1)), 0)::float8 as "lag_seconds!",
               (select count(*) from webhook_set_aside s where s.webhook_id = w.webhook_id)::int as "set_aside!"
        from webhooks w where source = 2 or seen_at > now() - interval '2 hours'
        "#
    )
    .fetch_all(conn)
    .await?;
    let figures = rows.into_iter().map(|row| WebhookFigures {
        app: AppId(row.app_id),
        name: row.name,
        is_paused: row.is_paused,
        is_disabled: row.is_disabled,
        failures: row.failures.cast_unsigned(),
        lag_seconds: row.lag_seconds.max(0.0),
        set_aside: row.set_aside.unsigned_abs(),
    });
    Ok(figures.collect())
}
