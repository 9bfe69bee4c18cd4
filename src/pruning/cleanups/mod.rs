//! Clean-up runs: devices of apps that were not opened for long are quarantined, and can be restored. The rules of
//! starting, stopping and restoring a run; [`CleanupWorker`] carries runs out.
//!
//! A run counts first and then quarantines, so that a run which would quarantine too large a share changes nothing.

mod occurrence;
mod worker;

pub use occurrence::{OccurrenceStart, start_occurrence};
pub use worker::{CleanupStep, CleanupWorker};

use crate::domain::{AppId, CleanupRunId, CleanupStatus};
use crate::store::cleanups::{CleanupRun, NewCleanupRun};
use crate::store::{self, SessionPool};

/// SQLSTATE of a row that would be the second one of its key.
const UNIQUE_VIOLATION: &str = "23505";

/// Why a run was not started or not restored. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum CleanupError {
    /// The app has a run, or a restoration, under way.
    #[error("a clean-up run of the app is under way")]
    Running,
    /// The run quarantined nothing: it only counted, or was refused.
    #[error("the run quarantined nothing")]
    NotRestorable,
    /// Postgres is out of reach or refused the statement.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Stores a run. The leader carries it out.
///
/// # Errors
/// See [`CleanupError`].
pub async fn start(pool: &SessionPool, new: NewCleanupRun<'_>) -> Result<CleanupRun, CleanupError> {
    let mut transaction = store::begin(pool).await?;
    let run = store::cleanups::insert(&mut transaction, new).await?.ok_or(CleanupError::Running)?;
    store::commits::commit(pool, transaction).await?;
    Ok(run)
}

/// Finds a run of an app.
///
/// # Errors
/// Postgres is out of reach.
pub async fn find(
    pool: &SessionPool,
    app: AppId,
    id: CleanupRunId,
) -> Result<Option<CleanupRun>, store::Error> {
    let mut conn = pool.acquire().await?;
    store::cleanups::find(&mut conn, app, id).await
}

/// Lists runs of an app before `before`, the newest first. None of `statuses` means any.
///
/// # Errors
/// Postgres is out of reach.
pub async fn list(
    pool: &SessionPool,
    app: AppId,
    statuses: &[CleanupStatus],
    before: CleanupRunId,
    limit: i64,
) -> Result<Vec<CleanupRun>, store::Error> {
    let mut conn = pool.acquire().await?;
    let statuses = (!statuses.is_empty()).then_some(statuses);
    store::cleanups::list(&mut conn, app, statuses, before, limit).await
}

/// Stops a run, or its restoration. What it quarantined stays so, and can be restored. A run that has ended stays as it
/// is. None: there is no such run.
///
/// # Errors
/// Postgres is out of reach.
pub async fn cancel(
    pool: &SessionPool,
    app: AppId,
    id: CleanupRunId,
) -> Result<Option<CleanupRun>, store::Error> {
    let mut transaction = store::begin(pool).await?;
    store::cleanups::cancel(&mut transaction, app, id).await?;
    let run = store::cleanups::find(&mut transaction, app, id).await?;
    store::commits::commit(pool, transaction).await?;
    Ok(run)
}

/// Begins to restore the devices that a run quarantined and that are still quarantined by it. A run that is being
/// restored, or is restored, stays as it is. None: there is no such run.
///
/// # Errors
/// See [`CleanupError`].
pub async fn restore(
    pool: &SessionPool,
    app: AppId,
    id: CleanupRunId,
) -> Result<Option<CleanupRun>, CleanupError> {
    let mut transaction = store::begin(pool).await?;
    match store::cleanups::begin_restoration(&mut transaction, app, id).await {
        Ok(_) => {}
        Err(error) if error.sqlstate().as_deref() == Some(UNIQUE_VIOLATION) => {
            return Err(CleanupError::Running);
        }
        Err(error) => return Err(error.into()),
    }
    let Some(run) = store::cleanups::find(&mut transaction, app, id).await? else { return Ok(None) };
    if run.is_dry_run || run.status == CleanupStatus::Failed {
        return Err(CleanupError::NotRestorable);
    }
    if run.status == CleanupStatus::Running {
        return Err(CleanupError::Running);
    }
    store::commits::commit(pool, transaction).await?;
    Ok(Some(run))
}
