//! Runs an import: writes batch after batch, and reads the next one while a batch is written.

use std::pin::pin;

use super::batch::ImportBatch;
use super::progress::ImportProgress;
use crate::api::error::ApiError;
use crate::domain::App;
use crate::registry::devices;
use crate::registry::import_check::ImportCheck;
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

/// What is done with the registrations of a batch.
trait LineSink: Send {
    /// The outcomes in the order given; none for registrations after one that ends the import.
    fn take(
        &mut self,
        registrations: &[Registration],
    ) -> impl Future<Output = Result<Vec<Result<RegistrationResult, ApiError>>, store::Error>> + Send;
}

/// Writes registrations; the lines with a fault are left out.
struct Importer<'a> {
    pool: &'a SessionPool,
    app: &'a App,
    after: OnFailure,
}

/// Finds the faults of registrations and writes nothing.
struct Checker<'a> {
    pool: &'a SessionPool,
    check: &'a mut ImportCheck,
    after: OnFailure,
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
    told: impl FnMut(&mut ImportProgress) + Send,
) -> (ImportProgress, Result<(), B::Error>) {
    go_through(&mut Importer { pool, app, after }, after, batches, told).await
}

/// Goes through all batches as [`run`] does and reports the same faults, but writes nothing. Lines without a fault count as
/// updated.
///
/// # Errors
/// Why the check did not come to its end.
pub async fn check<B: BatchSource>(
    pool: &SessionPool,
    check: &mut ImportCheck,
    after: OnFailure,
    batches: &mut B,
    told: impl FnMut(&mut ImportProgress) + Send,
) -> (ImportProgress, Result<(), B::Error>) {
    go_through(&mut Checker { pool, check, after }, after, batches, told).await
}

async fn go_through<B: BatchSource>(
    sink: &mut impl LineSink,
    after: OnFailure,
    batches: &mut B,
    mut told: impl FnMut(&mut ImportProgress) + Send,
) -> (ImportProgress, Result<(), B::Error>) {
    let mut progress = ImportProgress::new(after);
    let done = take_all(sink, batches, &mut progress, &mut told).await;
    if done.is_err() {
        progress.stop();
    }
    (progress, done)
}

async fn take_all<B: BatchSource>(
    sink: &mut impl LineSink,
    batches: &mut B,
    progress: &mut ImportProgress,
    told: &mut (impl FnMut(&mut ImportProgress) + Send),
) -> Result<(), B::Error> {
    let mut next = batches.next().await?;
    while let Some(mut batch) = next {
        let is_last = batch.is_last();
        let registrations = std::mem::take(&mut batch.registrations);
        let mut reading = pin!(async { if is_last { Ok(None) } else { batches.next().await } });
        let mut writing = pin!(sink.take(&registrations));
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

impl LineSink for Importer<'_> {
    async fn take(
        &mut self,
        registrations: &[Registration],
    ) -> Result<Vec<Result<RegistrationResult, ApiError>>, store::Error> {
        write(self.pool, self.app, registrations, self.after).await
    }
}

impl LineSink for Checker<'_> {
    async fn take(
        &mut self,
        registrations: &[Registration],
    ) -> Result<Vec<Result<RegistrationResult, ApiError>>, store::Error> {
        let judged = self.check.judge(self.pool, registrations, self.after).await?;
        let outcomes = judged.into_iter().zip(registrations).map(|(judged, registration)| {
            let ignored = registration.details.ignored.clone();
            judged.map(|()| RegistrationResult { is_new: false, ignored }).map_err(ApiError::from)
        });
        Ok(outcomes.collect())
    }
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
