//! `POST /v1/admin/webhooks/{id}/pause`, `…/resume` and `…/retry`.

use axum::extract;
use axum::response::Response;

use super::answer::WebhookAnswer;
use super::one;
use crate::api::State;
use crate::api::auth::{Administer, Caller};
use crate::api::body::NoBody;
use crate::api::error::{ApiError, ChangeProblems};
use crate::api::path::PathId;
use crate::api::query::Parameters;
use crate::store;
use crate::store::webhooks;

/// What an operator may tell a webhook.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum WebhookCommand {
    Pause,
    Resume,
    Retry,
}

/// Pause a webhook
///
/// The message under way is its last one. Events wait in the log, as long as that is kept.
#[utoipa::path(
    post, path = "/v1/admin/webhooks/{id}/pause", operation_id = "pauseWebhook", tag = "admin",
    security(("key" = ["admin"])),
    params(("id" = String, Path, description = "The webhook's id.", example = "whk_5bf4acbbbcffe5d67fbfee43320f88a6")),
    responses((status = 200, description = "The webhook as it is now.", body = WebhookAnswer), ChangeProblems)
)]
pub(super) async fn pause(
    state: extract::State<State>,
    caller: Caller<Administer>,
    id: PathId,
    NoBody(parameters): NoBody,
) -> Result<Response, ApiError> {
    command(WebhookCommand::Pause, state, caller, id, parameters).await
}

/// Resume a webhook
///
/// Ends a pause, and the state `disabled`. It goes on where it stopped, at once.
#[utoipa::path(
    post, path = "/v1/admin/webhooks/{id}/resume", operation_id = "resumeWebhook", tag = "admin",
    security(("key" = ["admin"])),
    params(("id" = String, Path, description = "The webhook's id.", example = "whk_5bf4acbbbcffe5d67fbfee43320f88a6")),
    responses((status = 200, description = "The webhook as it is now.", body = WebhookAnswer), ChangeProblems)
)]
pub(super) async fn resume(
    state: extract::State<State>,
    caller: Caller<Administer>,
    id: PathId,
    NoBody(parameters): NoBody,
) -> Result<Response, ApiError> {
    command(WebhookCommand::Resume, state, caller, id, parameters).await
}

/// Retry a webhook
///
/// The message that failed is sent again now, without the rest of its wait.
#[utoipa::path(
    post, path = "/v1/admin/webhooks/{id}/retry", operation_id = "retryWebhook", tag = "admin",
    security(("key" = ["admin"])),
    params(("id" = String, Path, description = "The webhook's id.", example = "whk_5bf4acbbbcffe5d67fbfee43320f88a6")),
    responses((status = 200, description = "The webhook as it is now.", body = WebhookAnswer), ChangeProblems)
)]
pub(super) async fn retry(
    state: extract::State<State>,
    caller: Caller<Administer>,
    id: PathId,
    NoBody(parameters): NoBody,
) -> Result<Response, ApiError> {
    command(WebhookCommand::Retry, state, caller, id, parameters).await
}

async fn command(
    command: WebhookCommand,
    extract::State(state): extract::State<State>,
    caller: Caller<Administer>,
    id: PathId,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    parameters.finish()?;
    let id = id.webhook(&state.installation, caller.app.id)?;
    one::read(&state, &caller.app, id).await?;
    let mut conn = state.observe.acquire().await.map_err(store::Error::from)?;
    match command {
        WebhookCommand::Pause => webhooks::pause(&mut conn, id).await?,
        WebhookCommand::Resume => webhooks::resume(&mut conn, id).await?,
        WebhookCommand::Retry => webhooks::retry(&mut conn, id).await?,
    }
    drop(conn);
    state.webhooks.wake();
    one::answer(&state, &caller.app, id).await
}
