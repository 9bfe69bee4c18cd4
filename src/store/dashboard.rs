//! What the dashboard asks beside the figures that others read too.

use super::Error;
use crate::domain::{AppId, FAILING_FAILURES};
use crate::store::Session;

/// What is under way in an app, or needs an operator.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct AppAttention {
    /// Clean-up runs, and restorations of runs, that are under way.
    pub cleanups_running: i64,
    /// Webhooks that fail, and those that were given up.
    pub webhooks_failing: i64,
}

/// Reads it from indexes and small tables.
///
/// # Errors
/// Postgres is out of reach.
pub async fn attention(conn: &mut Session, app: AppId) -> Result<AppAttention, Error> {
    let row = sqlx::query!(
        r#"
        select (select count(*) from cleanup_runs where app_id = $1 and status in (0, 4)) as "cleanups_running!",
               (select count(*) from webhooks
                where app_id = $1 and (source = 2 or seen_at > now() - interval '2 hours') and paused_at is null
                  and (disabled_at is not null or failures >= $2)) as "webhooks_failing!"
        "#,
        app.0,
        i32::try_from(FAILING_FAILURES).unwrap_or(i32::MAX)
    )
    .fetch_one(conn)
    .await?;
    Ok(AppAttention { cleanups_running: row.cleanups_running, webhooks_failing: row.webhooks_failing })
}
