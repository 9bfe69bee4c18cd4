//! Runs an import: writes batch after batch, and reads the next one while a batch is written.

use std::pin::pin;

use super::batch::ImportBatch;
use super::progress::ImportProgress;
use crate::api::error::ApiError;
use crate::domain::App;
use crate::registry::devices;
use crate::registry::register::{OnFailure, register_all};
use crate::registry::registration::{Registrar, Registration, RegistrationResult};
use crate::store;
use crate::store::SessionPool;

/// A source of batches: a request's body, or a file.
pub trait BatchSource: Send {
    /// Why there is no next batch.
    type Error: From<store::Error> + Send;

    /// The next batch; none at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<ImportBatch>, Self::Error>> + Send;
}

/// Imports all batches, and reports the progress after each.
///
/// # Errors
/// Why the import did not come to its end. The progress says how far it came; everything up to there is stored.
pub async fn run<B: BatchSource>(
    pool: &SessionPool,
    app: &App,
    after: OnFailure,
    batches: &mut B,
    mut told: impl FnMut(&ImportProgress) + Send,
) -> (ImportProgress, Result<(), B::Error>) {
    let mut progress = ImportProgress::new(after);
    let done = import(pool, app, after, batches, &mut progress, &mut told).await;
    if done.is_err() {
        progress.stop();
    }
    (progress, done)
}

async fn import<B: BatchSource>(
    pool: &SessionPool,
    app: &App,
    after: OnFailure,
    batches: &mut B,
    progress: &mut ImportProgress,
    told: &mut (impl FnMut(&ImportProgress) + Send),
) -> Result<(), B::Error> {
    let mut next = batches.next().await?;
    while let Some(mut batch) = next {
        let is_last = batch.is_last();
        let registrations = std::mem::take(&mut batch.registrations);
        let mut reading = pin!(async { if is_last { Ok(None) } else { batches.next().await } });
        let mut writing = pin!(write(pool, app, &registrations, after));
        let (written, read) = tokio::select! {
            written = &mut writing => (written, None),
            read = &mut reading => (writing.await, Some(read)),
        };
        progress.add(batch, written?);
        told(progress);
        // Lines after the one that ended the import are not waited for.
        if progress.stopped_at.is_some() {
            return Ok(());
        }
        next = match read {
            Some(read) => read?,
            None => reading.await?,
        };
    }
    Ok(())
}

/// A value that Postgres refuses, or a topic too many, is the fault of one line: bisection finds it
/// (docs/queue.md#poisoned-values).
async fn write(
    pool: &SessionPool,
    app: &App,
    registrations: &[Registration],
    after: OnFailure,
) -> Result<Vec<Result<RegistrationResult, ApiError>>, store::Error> {
    let fault = match register_all(pool, app, registrations, Registrar::Import, after).await {
        Ok(outcomes) => {
            let told = |outcome: Result<_, _>| outcome.map_err(|future| devices::Error::from(future).into());
            return Ok(outcomes.into_iter().map(told).collect());
        }
        Err(devices::Error::Store(error)) if !error.is_poison() => return Err(error),
        Err(error) => error,
    };
    if let [_] = registrations {
        return Ok(vec![Err(match fault {
            devices::Error::Store(fault) => {
                tracing::error!(error = %fault, "a line of an import could not be stored");
                ApiError::internal(fault)
            }
            fault => fault.into(),
        })]);
    }
    let (left, right) = registrations.split_at(registrations.len() / 2);
    let mut outcomes = Box::pin(write(pool, app, left, after)).await?;
    let stopped = after == OnFailure::Stop && outcomes.iter().any(Result::is_err);
    if !stopped {
        outcomes.extend(Box::pin(write(pool, app, right, after)).await?);
    }
    Ok(outcomes)
}
