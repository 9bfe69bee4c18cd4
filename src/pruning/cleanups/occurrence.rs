//! Starts the run of a schedule's occurrence.

use chrono::{DateTime, Utc};

use crate::domain::{AppId, CleanupSchedule};
use crate::store::cleanups::{NewCleanupRun, insert, schedules};
use crate::store::{self, Session};

/// What became of an occurrence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OccurrenceStart {
    /// Its run is stored.
    Started,
    /// The app has another run under way. The occurrence is not made up for.
    Skipped,
    /// It, or a later one, was started or skipped before.
    Taken,
}

/// Starts the run of an occurrence, unless any leader has started or skipped it before.
///
/// # Errors
/// Postgres is out of reach.
pub async fn start_occurrence(
    conn: &mut Session,
    app: AppId,
    schedule: &CleanupSchedule,
    at: DateTime<Utc>,
) -> Result<OccurrenceStart, store::Error> {
    let mut transaction = conn.begin().await?;
    if !schedules::take(&mut transaction, app, &schedule.name, at).await? {
        transaction.rollback().await?;
        return Ok(OccurrenceStart::Taken);
    }
    let name = Some(schedule.name.as_str());
    let new = NewCleanupRun { app, criteria: &schedule.criteria, is_dry_run: false, schedule: name };
    let run = insert(&mut transaction, new).await?;
    transaction.commit().await?;
    Ok(if run.is_some() { OccurrenceStart::Started } else { OccurrenceStart::Skipped })
}
