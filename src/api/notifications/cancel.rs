//! `DELETE /v1/notifications/{id}`: stops what no provider has yet.

use axum::response::{IntoResponse, Response};
use axum::{Json, extract};

use super::status::Notification;
use crate::api::State;
use crate::api::auth::{Caller, SendNotifications};
use crate::api::body::NoBody;
use crate::api::error::{ApiError, ChangeProblems, NotFoundKind};
use crate::api::path::PathId;
use crate::notifications::cancel;

/// Cancel a notification
///
/// Stops what no provider has yet, also while a large audience is being found. `counts` says how many devices had gone. The
/// status is `cancelled` if anything was stopped, else `done`; or as before, while its last devices are with a provider. A
/// repeat changes nothing.
#[utoipa::path(
    delete, path = "/v1/notifications/{id}", operation_id = "cancelNotification", tag = "notifications",
    security(("key" = ["send"])),
    params(("id" = String, Path, description = "The notification's id.", example = "ntf_0198a2f1c3d47e5f8a9b0c1d2e3f4a5b")),
    responses((status = 200, description = "The notification.", body = Notification), ChangeProblems)
)]
pub(super) async fn cancel(
    extract::State(state): extract::State<State>,
    caller: Caller<SendNotifications>,
    id: PathId,
    NoBody(parameters): NoBody,
) -> Result<Response, ApiError> {
    parameters.finish()?;
    let id = id.notification()?;
    let found = cancel::cancel(&state.pool, caller.app.id, id).await?;
    let found = found.ok_or(ApiError::NotFound(NotFoundKind::Id))?;
    Ok(Json(Notification::of(&caller.app, id, &found, &state.trace_page)).into_response())
}
