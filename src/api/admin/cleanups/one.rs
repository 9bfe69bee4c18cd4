//! `GET` and `DELETE /v1/admin/cleanups/{id}`, and `POST /v1/admin/cleanups/{id}/restore`: one run by its id.

use axum::Json;
use axum::extract;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::answer::CleanupAnswer;
use crate::api::State;
use crate::api::auth::{Administer, Caller};
use crate::api::body::NoBody;
use crate::api::error::{ApiError, ChangeProblems, NotFoundKind, ReadProblems, RestoreCleanupProblems};
use crate::api::path::PathId;
use crate::api::query::Parameters;
use crate::pruning::cleanups;

/// Read a clean-up run
#[utoipa::path(
    get, path = "/v1/admin/cleanups/{id}", operation_id = "getCleanup", tag = "admin",
    security(("key" = ["admin"])),
    params(("id" = String, Path, description = "The run's id.", example = "run_5bf4acbbbcffe5d67fbfee43320f88a6")),
    responses((status = 200, description = "The run as it stands.", body = CleanupAnswer), ReadProblems)
)]
pub(super) async fn find(
    extract::State(state): extract::State<State>,
    caller: Caller<Administer>,
    parameters: Parameters,
    id: PathId,
) -> Result<Response, ApiError> {
    parameters.finish()?;
    let id = id.cleanup_run(&state.installation, caller.app.id)?;
    let run = cleanups::find(&state.pool, caller.app.id, id).await?;
    let run = run.ok_or(ApiError::NotFound(NotFoundKind::Id))?;
    Ok(Json(CleanupAnswer::of(&state.installation, &run)).into_response())
}

/// Stop a clean-up run
///
/// Stops a run, or its restoration. Once it is answered, no further device is quarantined or restored. What was quarantined
/// stays so, and can be restored. A run that has ended stays as it is, so a repeat is harmless.
#[utoipa::path(
    delete, path = "/v1/admin/cleanups/{id}", operation_id = "cancelCleanup", tag = "admin",
    security(("key" = ["admin"])),
    params(("id" = String, Path, description = "The run's id.", example = "run_5bf4acbbbcffe5d67fbfee43320f88a6")),
    responses((status = 200, description = "The run, which is not under way.", body = CleanupAnswer), ChangeProblems)
)]
pub(super) async fn cancel(
    extract::State(state): extract::State<State>,
    caller: Caller<Administer>,
    id: PathId,
    NoBody(parameters): NoBody,
) -> Result<Response, ApiError> {
    parameters.finish()?;
    let id = id.cleanup_run(&state.installation, caller.app.id)?;
    let run = cleanups::cancel(&state.pool, caller.app.id, id).await?;
    let run = run.ok_or(ApiError::NotFound(NotFoundKind::Id))?;
    let answer = CleanupAnswer::of(&state.installation, &run);
    Ok(Json(answer).into_response())
}

/// Restore what a clean-up run quarantined
///
/// The devices that the run quarantined, and that are still quarantined by it, are active again. That is no registration:
/// the next run with the same criteria matches them. A repeat is harmless.
#[utoipa::path(
    post, path = "/v1/admin/cleanups/{id}/restore", operation_id = "restoreCleanup", tag = "admin",
    security(("key" = ["admin"])),
    params(("id" = String, Path, description = "The run's id.", example = "run_5bf4acbbbcffe5d67fbfee43320f88a6")),
    responses(
        (status = 202, description = "The run, which is being restored or is restored.", body = CleanupAnswer),
        RestoreCleanupProblems,
    )
)]
pub(super) async fn restore(
    extract::State(state): extract::State<State>,
    caller: Caller<Administer>,
    id: PathId,
    NoBody(parameters): NoBody,
) -> Result<Response, ApiError> {
    parameters.finish()?;
    let id = id.cleanup_run(&state.installation, caller.app.id)?;
    let run = cleanups::restore(&state.pool, caller.app.id, id).await?;
    let run = run.ok_or(ApiError::NotFound(NotFoundKind::Id))?;
    let answer = CleanupAnswer::of(&state.installation, &run);
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}
