//! `POST /v1/admin/cleanups`: the answer leaves when the run is durable; the leader carries the run out.

use std::sync::Arc;

use axum::Json;
use axum::extract;
use axum::response::{IntoResponse, Response};
use http::header::LOCATION;
use http::{HeaderValue, StatusCode};

use super::answer::CleanupAnswer;
use super::request;
use super::schema::CleanupRequest;
use crate::api::State;
use crate::api::auth::{Administer, Caller};
use crate::api::body::JsonBody;
use crate::api::error::{ApiError, StartCleanupProblems};
use crate::api::query::Parameters;
use crate::pruning::cleanups;
use crate::store::cleanups::NewCleanupRun;

/// Start a clean-up run
///
/// Quarantines devices that were not registered for long; it never deletes one. First the run counts. If it would quarantine
/// more than `max_share`, it ends `failed` and has changed nothing. An app has one run at a time.
#[utoipa::path(
    post, path = "/v1/admin/cleanups", operation_id = "startCleanup", tag = "admin",
    security(("key" = ["admin"])),
    request_body = CleanupRequest,
    responses(
        (
            status = 202, description = "The run is stored.", body = CleanupAnswer,
            headers(("Location" = String, description = "The path of the run.")),
        ),
        StartCleanupProblems,
    )
)]
pub(super) async fn start(
    extract::State(state): extract::State<State>,
    caller: Caller<Administer>,
    parameters: Parameters,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let app = Arc::clone(&caller.app);
    let read = state.parse_pool.run(body.len(), move || request::read(body, &app)).await;
    let requested = parameters.and(read)?;
    let new = NewCleanupRun {
        app: caller.app.id,
        criteria: &requested.criteria,
        is_dry_run: requested.is_dry_run,
        schedule: None,
    };
    let run = cleanups::start(&state.pool, new).await?;
    let id = state.installation.cleanup_run_id(run.app, run.id);
    let location = HeaderValue::from_str(&format!("/v1/admin/cleanups/{id}")).map_err(ApiError::internal)?;
    let answer = Json(CleanupAnswer::of(&state.installation, &run));
    Ok((StatusCode::ACCEPTED, [(LOCATION, location)], answer).into_response())
}
