//! What the dashboard asks beside the figures that others read too.

use chrono::{DateTime, Utc};

use super::Error;
use crate::domain::{AppId, FAILING_FAILURES, WebhookId};
use crate::store::Session;

/// Webhooks that are listed at most.
const WEBHOOKS_MAX: i64 = 20;

/// Webhooks that need an operator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TroubledWebhooks {
    /// At most 20 of them: those that fail or were given up first, then by their names.
    pub first: Vec<TroubledWebhook>,
    /// How many others there are.
    pub others: u32,
}

/// A webhook that fails, was given up, or has set events aside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TroubledWebhook {
    /// The number of its row.
    pub id: WebhookId,
    /// Unique in its app.
    pub name: String,
    /// It was given up.
    pub is_disabled: bool,
    /// Three attempts in a row failed, or more.
    pub is_failing: bool,
    /// The first failure after the last success; if it does not fail, when the first of the events was set aside.
    pub since: DateTime<Utc>,
    /// What came of the last failed attempt.
    pub why: Option<String>,
    /// Number of set-aside events.
    pub set_aside: u32,
}

/// The webhooks of an app that need an operator. Those that are paused, or that no node has in its configuration any more, need
/// none.
///
/// # Errors
/// Postgres is out of reach.
pub async fn troubled_webhooks(conn: &mut Session, app: AppId) -> Result<TroubledWebhooks, Error> {
    let rows = sqlx::query!(
        r#"
        select w.webhook_id, w.name, w.disabled_at is not null as "is_disabled!", w.failures >= $2 as "is_failing!",
               case when w.failures >= $2 or w.disabled_at is not null
                 then coalesce(w.failing_since, w.disabled_at, w.state_since)
                 else coalesce(a.since, w.state_since) end as "since!", w.why,
               a.events as "set_aside!", count(*) over () as "all!"
        from webhooks w
        cross join lateral (
          select count(*)::int as events, min(set_aside_at) as since
          from webhook_set_aside where webhook_id = w.webhook_id) a
        where w.app_id = $1 and (w.source = 2 or w.seen_at > now() - interval '2 hours') and w.paused_at is null
          and (w.disabled_at is not null or w.failures >= $2 or a.events > 0)
        order by w.disabled_at is null and w.failures < $2, w.name limit $3
        "#,
        app.0,
        i32::try_from(FAILING_FAILURES).unwrap_or(i32::MAX),
        WEBHOOKS_MAX
    )
    .fetch_all(conn)
    .await?;
    let all = rows.first().map_or(0, |row| row.all);
    let first = rows.into_iter().map(|row| TroubledWebhook {
        id: WebhookId(row.webhook_id),
        name: row.name,
        is_disabled: row.is_disabled,
        is_failing: row.is_failing,
        since: row.since,
        why: row.why,
        set_aside: u32::try_from(row.set_aside).unwrap_or_default(),
    });
    let first: Vec<_> = first.collect();
    let others =
        u32::try_from(all).unwrap_or_default().saturating_sub(u32::try_from(first.len()).unwrap_or_default());
    Ok(TroubledWebhooks { first, others })
}
