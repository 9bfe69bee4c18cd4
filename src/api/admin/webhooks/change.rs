//! `PATCH` and `DELETE /v1/admin/webhooks/{id}`: of webhooks that the API made.

use axum::extract;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::answer::WebhookAnswer;
use super::schema::WebhookChanges;
use super::{one, request};
use crate::api::State;
use crate::api::auth::{Administer, Caller};
use crate::api::body::{JsonBody, NoBody};
use crate::api::error::{ApiError, ChangeWebhookProblems, DeleteWebhookProblems};
use crate::api::path::PathId;
use crate::api::query::Parameters;
use crate::store;
use crate::store::webhooks::{self, WebhookEdit};

/// Change a webhook
///
/// What is left out stays as it is. A message under way ends as it began; the next one is as the webhook is now.
#[utoipa::path(
    patch, path = "/v1/admin/webhooks/{id}", operation_id = "changeWebhook", tag = "admin",
    security(("key" = ["admin"])),
    params(("id" = String, Path, description = "The webhook's id.", example = "whk_5bf4acbbbcffe5d67fbfee43320f88a6")),
    request_body = WebhookChanges,
    responses((status = 200, description = "The webhook as it is now.", body = WebhookAnswer), ChangeWebhookProblems)
)]
pub(super) async fn change(
    extract::State(state): extract::State<State>,
    caller: Caller<Administer>,
    parameters: Parameters,
    id: PathId,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let changes = parameters.and(request::change(body))?;
    let (app, id) = (&caller.app, id.webhook(&state.installation, caller.app.id)?);
    let stored = one::read_own(&state, app, id).await?;
    if changes.url.as_ref().is_some_and(|url| !state.webhooks.allows_host(app.id, &url.host())) {
        return Err(ApiError::HostNotAllowed);
    }
    let edit = WebhookEdit {
        url: changes.url.map(|url| url.expose().to_string()),
        types: changes.types.map(|types| types.patterns),
        devices: changes.devices.map(|devices| devices.as_str().to_owned()),
        batch_max: changes.batch_max.map(u16::cast_signed),
    };
    let mut conn = state.observe.acquire().await.map_err(store::Error::from)?;
    webhooks::update(&mut conn, stored.id, &edit).await?;
    drop(conn);
    state.webhooks.wake();
    one::answer(&state, app, id).await
}

/// Delete a webhook
///
/// With its attempts and set-aside events. A message under way may still arrive.
#[utoipa::path(
    delete, path = "/v1/admin/webhooks/{id}", operation_id = "deleteWebhook", tag = "admin",
    security(("key" = ["admin"])),
    params(("id" = String, Path, description = "The webhook's id.", example = "whk_5bf4acbbbcffe5d67fbfee43320f88a6")),
    responses((status = 204, description = "It is deleted."), DeleteWebhookProblems)
)]
pub(super) async fn delete(
    extract::State(state): extract::State<State>,
    caller: Caller<Administer>,
    id: PathId,
    NoBody(parameters): NoBody,
) -> Result<Response, ApiError> {
    parameters.finish()?;
    let id = id.webhook(&state.installation, caller.app.id)?;
    let stored = one::read_own(&state, &caller.app, id).await?;
    let mut conn = state.observe.acquire().await.map_err(store::Error::from)?;
    webhooks::delete(&mut conn, stored.id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
