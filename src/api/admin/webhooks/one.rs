//! `GET /v1/admin/webhooks/{id}`, and how every other call finds its webhook.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use axum::{Json, extract};

use super::answer::WebhookAnswer;
use crate::api::State;
use crate::api::auth::{Administer, Caller};
use crate::api::error::{ApiError, NotFoundKind, ReadProblems};
use crate::api::path::PathId;
use crate::api::query::Parameters;
use crate::domain::{App, WebhookId};
use crate::store;
use crate::store::webhooks::{self, StoredWebhook, WebhookSource};

/// Read a webhook
#[utoipa::path(
    get, path = "/v1/admin/webhooks/{id}", operation_id = "getWebhook", tag = "admin",
    security(("key" = ["admin"])),
    params(("id" = String, Path, description = "The webhook's id.", example = "whk_5bf4acbbbcffe5d67fbfee43320f88a6")),
    responses((status = 200, description = "The webhook as it stands.", body = WebhookAnswer), ReadProblems)
)]
pub(super) async fn find(
    extract::State(state): extract::State<State>,
    caller: Caller<Administer>,
    parameters: Parameters,
    id: PathId,
) -> Result<Response, ApiError> {
    parameters.finish()?;
    let id = id.webhook(&state.installation, caller.app.id)?;
    answer(&state, &caller.app, id).await
}

/// The webhook as it stands now.
pub(super) async fn answer(state: &State, app: &Arc<App>, id: WebhookId) -> Result<Response, ApiError> {
    Ok(Json(read(state, app, id).await?.1).into_response())
}

/// The row of a webhook, and the webhook as answers show it.
pub(super) async fn read(
    state: &State,
    app: &Arc<App>,
    id: WebhookId,
) -> Result<(StoredWebhook, WebhookAnswer), ApiError> {
    let mut conn = state.observe.acquire().await.map_err(store::Error::from)?;
    let stored = webhooks::find(&mut conn, app.id, id).await?;
    let missing = || ApiError::NotFound(NotFoundKind::Id);
    let stored = stored.ok_or_else(missing)?;
    let shown = WebhookAnswer::of(&state.installation, &state.webhooks, app, &stored).ok_or_else(missing)?;
    Ok((stored, shown))
}

/// As [`read`], for a change of what the API alone may change.
///
/// # Errors
/// The configuration has it.
pub(super) async fn read_own(
    state: &State,
    app: &Arc<App>,
    id: WebhookId,
) -> Result<StoredWebhook, ApiError> {
    let (stored, _) = read(state, app, id).await?;
    match stored.source {
        WebhookSource::Api => Ok(stored),
        WebhookSource::Config => Err(ApiError::DeclaredInConfiguration),
    }
}
