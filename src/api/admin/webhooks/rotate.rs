//! `POST /v1/admin/webhooks/{id}/rotate`: a new secret, beside which the old ones sign for a while.

use axum::response::{IntoResponse, Response};
use axum::{Json, extract};
use chrono::TimeDelta;

use super::answer::WebhookWithSecret;
use super::schema::RotateRequest;
use super::{one, request};
use crate::api::State;
use crate::api::auth::{Administer, Caller};
use crate::api::body::JsonBody;
use crate::api::error::{ApiError, RotateWebhookProblems};
use crate::api::path::PathId;
use crate::api::query::Parameters;
use crate::domain::WebhookSecret;
use crate::events::webhooks::SECRETS_MAX;
use crate::store;
use crate::store::webhooks;

/// Make a new secret
///
/// The answer has the new secret, which is not shown again. The old ones sign beside it for `keep_old`, so that a receiver may be
/// configured meanwhile. At most three secrets sign; the oldest goes first.
#[utoipa::path(
    post, path = "/v1/admin/webhooks/{id}/rotate", operation_id = "rotateWebhookSecret", tag = "admin",
    security(("key" = ["admin"])),
    params(("id" = String, Path, description = "The webhook's id.", example = "whk_5bf4acbbbcffe5d67fbfee43320f88a6")),
    request_body = RotateRequest,
    responses((status = 200, description = "The webhook with its new secret.", body = WebhookWithSecret), RotateWebhookProblems)
)]
pub(super) async fn rotate(
    extract::State(state): extract::State<State>,
    caller: Caller<Administer>,
    parameters: Parameters,
    id: PathId,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let keep_old = parameters.and(request::rotate(body))?;
    let (app, id) = (&caller.app, id.webhook(&state.installation, caller.app.id)?);
    let stored = one::read_own(&state, app, id).await?;
    let until = state.node_lease.clock().now() + TimeDelta::from_std(keep_old).unwrap_or_default();
    let new = WebhookSecret::random();
    let mut secrets = vec![(new.as_bytes().to_vec(), None)];
    let old = stored
        .secrets
        .into_iter()
        .map(|(bytes, ends)| (bytes, Some(ends.map_or(until, |ends| ends.min(until)))));
    secrets.extend(old.filter(|_| !keep_old.is_zero()).take(SECRETS_MAX - 1));
    let mut conn = state.observe.acquire().await.map_err(store::Error::from)?;
    webhooks::set_secrets(&mut conn, id, &secrets).await?;
    drop(conn);
    state.webhooks.wake();
    let (_, shown) = one::read(&state, app, id).await?;
    Ok(Json(WebhookWithSecret::of(shown, &new)).into_response())
}
