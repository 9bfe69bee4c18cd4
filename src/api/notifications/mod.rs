//! `/v1/notifications`: sending, and what became of it.

mod audience;
mod content;
mod deliveries;
mod lanes;
mod request;
mod status;
mod unmatched;

use std::sync::Arc;

use axum::extract;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::Map;

use super::State;
use super::auth::{Caller, SendNotifications};
use super::body::JsonBody;
use super::error::ApiError;
use super::query::Parameters;
use crate::domain::{ErrorLocation, InputCode, NotificationStatus, ValidationError};
use crate::queue::accept::NewNotification;
use request::{Context, Request};
use unmatched::Unmatched;

/// As problems name it; header names have no case.
const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// The 202. `targets` and `unmatched` are null until all are found.
#[derive(Serialize)]
struct Answer<'a> {
    id: &'a str,
    status: &'a str,
    targets: Option<usize>,
    unmatched: Option<&'a Unmatched>,
}

/// The routes.
pub(super) fn routes() -> Router<State> {
    Router::new()
        .route("/v1/notifications", post(send))
        .route("/v1/notifications/{id}", get(status::get))
        .route("/v1/notifications/{id}/deliveries", get(deliveries::get))
}

/// `POST /v1/notifications`: durable before the answer.
async fn send(
    extract::State(state): extract::State<State>,
    caller: Caller<SendNotifications>,
    mut parameters: Parameters,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    refuse_dry_run(&mut parameters);
    refuse_idempotency_key(&headers, &mut parameters);
    let (app, shared) = (Arc::clone(&caller.app), state.clone());
    let read = state.parse_pool.run(body.len(), move || {
        let context = Context {
            app: &app,
            installation: &shared.installation,
            targets_max: shared.limits.targets,
            default_ttl: shared.default_ttl,
        };
        request::read(body, context)
    });
    let Request { content, ttl, metadata, audience } = parameters.and(read.await)?;
    state.backlog.admit(caller.app.id, audience.expected_devices()).await?;
    let kind = content.kind();
    let resolved = crate::audience::resolve(&state.resolver, &caller.app, &audience, kind).await?;
    let fan_out = audience.fan_out(&caller.app, &resolved, kind);
    let unmatched = Unmatched::of(&resolved);
    // How many it is for is not known before all are found.
    let known = fan_out.is_none();
    let targets = known.then_some(resolved.targets.len());
    let waiting = !known || resolved.targets.iter().any(|target| target.refused.is_none());
    let accepted = state
        .acceptor
        .accept(NewNotification {
            app: Arc::clone(&caller.app),
            label: content.label.clone(),
            content: Arc::new(content),
            ttl,
            metadata,
            unmatched: unmatched.stored(),
            targets: resolved.targets,
            loaded: resolved.loaded.map(Arc::new),
            fan_out,
        })
        .await?;
    let status = if waiting { NotificationStatus::Queued } else { NotificationStatus::Done };
    let (id, unmatched) = (accepted.id.to_string(), known.then_some(&unmatched));
    let answer = Json(Answer { id: &id, status: status.as_str(), targets, unmatched });
    let location = HeaderValue::from_str(&["/v1/notifications/", &id].concat());
    let location = location.map_err(ApiError::internal)?;
    Ok((StatusCode::ACCEPTED, [(LOCATION, location)], answer).into_response())
}

/// A sender that names a key means that a repeat sends nothing twice, which this version can't promise.
fn refuse_idempotency_key(headers: &HeaderMap, parameters: &mut Parameters) {
    if headers.contains_key(IDEMPOTENCY_KEY) {
        let (place, detail) =
            (ErrorLocation::Header(IDEMPOTENCY_KEY), "this version does not serve this yet".to_owned());
        parameters.add(ValidationError {
            place,
            code: InputCode::NotSupportedYet,
            detail,
            facts: Map::new(),
        });
    }
}

/// Until there are previews, one must not send in earnest.
fn refuse_dry_run(parameters: &mut Parameters) {
    let asked = parameters.choices("dry_run", &[true, false], |yes| if yes { "true" } else { "false" });
    if asked.contains(&true) {
        parameters.fault("dry_run", InputCode::NotSupportedYet, "this version does not serve this yet");
    }
}

#[cfg(test)]
mod tests;
