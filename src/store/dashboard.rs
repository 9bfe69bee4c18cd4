//! What the dashboard asks beside the figures that others read too.

use chrono::{DateTime, Utc};

use super::Error;
use crate::domain::{AppId, FAILING_FAILURES, WebhookId};
use crate::store::Session;

/// Webhooks that are listed at most.
const WEBHOOKS_MAX: i64 = 20;

/// A webhook that fails, or was given up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FailingWebhook {
    /// The number of its row.
    pub id: WebhookId,
    /// Unique in its app.
    pub name: String,
    /// It was given up.
    pub is_disabled: bool,
    /// The first failure after the last success.
    pub since: DateTime<Utc>,
    /// What came of the last attempt.
    pub why: Option<String>,
}

/// The webhooks of an app that need an operator, by their names: at most 20. Those that are paused, or that no node has in its
/// configuration any more, need none.
///
/// # Errors
/// Postgres is out of reach.
pub async fn failing_webhooks(conn: &mut Session, app: AppId) -> Result<Vec<FailingWebhook>, Error> {
    let rows = sqlx::query!(
        r#"
        select webhook_id, name, disabled_at is not null as "is_disabled!",
               coalesce(failing_since, disabled_at, state_since) as "since!", why
        from webhooks
        where app_id = $1 and (source = 2 or seen_at > now() - interval '2 hours') and paused_at is null
          and (disabled_at is not null or failures >= $2)
        order by name limit $3
        "#,
        app.0,
        i32::try_from(FAILING_FAILURES).unwrap_or(i32::MAX),
        WEBHOOKS_MAX
    )
    .fetch_all(conn)
    .await?;
    let webhooks = rows.into_iter().map(|row| FailingWebhook {
        id: WebhookId(row.webhook_id),
        name: row.name,
        is_disabled: row.is_disabled,
        since: row.since,
        why: row.why,
    });
    Ok(webhooks.collect())
}
