//! `POST /v1/admin/webhooks/{id}/rotate`: a new secret, beside which the old ones sign for a while.

use axum::response::{IntoResponse, Response};
use axum::{Json, extract};
use chrono::{DateTime, TimeDelta, Utc};

use super::answer::WebhookWithSecret;
use super::request::RequestedRotation;
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
use crate::store::webhooks::{self, StoredSecret};

/// Make a new secret
///
/// The answer has the new secret, which is not shown again. The old ones sign beside it for `keep_old`, so that a receiver may be
/// configured meanwhile. At most three secrets sign. While three do, a further one is refused, unless the request ends old ones by
/// `drop_oldest` or `"keep_old": "0s"`.
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
    let requested = parameters.and(request::rotate(body))?;
    let (app, id) = (&caller.app, id.webhook(&state.installation, caller.app.id)?);
    one::read_own(&state, app, id).await?;
    let new = WebhookSecret::random();
    let mut conn = state.observe.acquire().await.map_err(store::Error::from)?;
    let mut transaction = conn.begin().await.map_err(store::Error::from)?;
    let old = webhooks::lock_secrets(&mut transaction, id).await?;
    let kept = kept(old, &requested, state.node_lease.clock().now())?;
    let secrets: Vec<StoredSecret> = std::iter::once((new.as_bytes().to_vec(), None)).chain(kept).collect();
    webhooks::set_secrets(&mut transaction, id, &secrets).await?;
    transaction.commit().await.map_err(store::Error::from)?;
    drop(conn);
    state.webhooks.wake();
    let (_, shown) = one::read(&state, app, id).await?;
    Ok(Json(WebhookWithSecret::of(shown, &new)).into_response())
}

/// The old secrets that sign beside the new one, the newest first.
///
/// # Errors
/// There would be too many, and the request does not say that the oldest ends.
fn kept(
    old: Vec<StoredSecret>,
    requested: &RequestedRotation,
    now: DateTime<Utc>,
) -> Result<Vec<StoredSecret>, ApiError> {
    if requested.keep_old.is_zero() {
        return Ok(Vec::new());
    }
    let first_end = old.iter().filter_map(|(_, ends)| *ends).min();
    let until = now + TimeDelta::from_std(requested.keep_old).unwrap_or_default();
    let kept = old.into_iter().map(|(bytes, ends)| (bytes, Some(ends.map_or(until, |ends| ends.min(until)))));
    let mut kept: Vec<StoredSecret> = kept.collect();
    if kept.len() >= SECRETS_MAX && !requested.drop_oldest {
        return Err(ApiError::TooManySecrets { limit: SECRETS_MAX, expires_at: first_end.unwrap_or(until) });
    }
    kept.truncate(SECRETS_MAX - 1);
    Ok(kept)
}
