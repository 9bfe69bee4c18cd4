//! The schedules of clean-up runs: which occurrence of each was started or skipped last.

use chrono::{DateTime, Utc};

use super::Error;
use crate::domain::AppId;
use crate::store::Session;

/// Takes an occurrence of a schedule. False: it, or a later one, is taken already. Whichever leader takes it, it is taken
/// once.
///
/// # Errors
/// Postgres is out of reach.
pub async fn take(conn: &mut Session, app: AppId, name: &str, at: DateTime<Utc>) -> Result<bool, Error> {
    let taken = sqlx::query!(
        "insert into cleanup_schedules (app_id, name, last_occurrence_at) values ($1, $2, $3)
         on conflict (app_id, name) do update set last_occurrence_at = excluded.last_occurrence_at
         where cleanup_schedules.last_occurrence_at < excluded.last_occurrence_at",
        app.0,
        name,
        at
    );
    Ok(taken.execute(conn).await?.rows_affected() == 1)
}
