//! `POST /v1/notifications`: the answer leaves when the notification is durable.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use axum::{Json, extract};
use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::request::{self, Context};
use super::schema::SendRequest;
use super::unmatched::UnmatchedAnswer;
use crate::api::State;
use crate::api::auth::{Caller, SendNotifications};
use crate::api::body::JsonBody;
use crate::api::error::{ApiError, SendProblems};
use crate::api::query::Parameters;
use crate::api::words;
use crate::domain::{InputCode, ValidationError};
use crate::notifications::send::{self, Accepted};

/// The path of the endpoint.
pub(in crate::api) const PATH: &str = "/v1/notifications";
/// As problems name it; header names have no case.
const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// A notification that was accepted: it is stored and will be sent.
#[derive(Serialize, ToSchema, Debug)]
#[schema(example = json!({
    "id": "ntf_0198a2f1c3d47e5f8a9b0c1d2e3f4a5b", "status": "queued", "targets": 2,
    "unmatched": {"users": ["u8"], "users_total": 1, "devices": [], "devices_total": 0}
}))]
pub(super) struct SendAnswer<'a> {
    /// The notification's id.
    id: &'a str,
    /// `queued`, or `done` if there is no device to send to.
    #[schema(value_type = words::NotificationStatus)]
    status: &'static str,
    /// Number of devices; null while a large audience is still to be expanded.
    #[schema(required)]
    targets: Option<usize>,
    /// Users and devices that were not found; null while a large audience is still to be expanded.
    #[schema(required)]
    unmatched: Option<UnmatchedAnswer<'a>>,
}

/// Send a notification
///
/// The answer leaves after the notification was committed to the database: it will not be lost.
#[utoipa::path(
    post, path = PATH, operation_id = "sendNotification", tag = "notifications",
    security(("key" = ["send"])),
    params(("dry_run" = Option<bool>, Query, description = "`false`. This version has no previews: `true` is refused.")),
    request_body = SendRequest,
    responses(
        (
            status = 202, description = "The notification is stored.", body = SendAnswer,
            headers(("Location" = String, description = "The path of the notification.")),
        ),
        SendProblems,
    )
)]
pub(super) async fn send(
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
            providers: &shared.providers,
            installation: &shared.installation,
            targets_max: shared.limits.targets,
            default_ttl: shared.default_ttl,
        };
        request::read(body, context)
    });
    let submission = parameters.and(read.await)?;
    let sent = send::send(&state.lookup, &state.acceptor, &state.backlog, &caller.app, submission).await?;
    answer(&sent)
}

fn answer(sent: &Accepted) -> Result<Response, ApiError> {
    let id = sent.id.to_string();
    let body = Json(SendAnswer {
        id: &id,
        status: sent.status.as_str(),
        targets: sent.targets,
        unmatched: sent.unmatched.as_ref().map(UnmatchedAnswer::from),
    });
    let location = HeaderValue::from_str(&["/v1/notifications/", &id].concat());
    let location = location.map_err(ApiError::internal)?;
    Ok((StatusCode::ACCEPTED, [(LOCATION, location)], body).into_response())
}

/// Refused, because this version can't prevent that a repeated request is sent twice.
fn refuse_idempotency_key(headers: &HeaderMap, parameters: &mut Parameters) {
    if headers.contains_key(IDEMPOTENCY_KEY) {
        let detail = "this version does not serve this yet";
        parameters.add(ValidationError::in_header(IDEMPOTENCY_KEY, InputCode::NotSupportedYet, detail));
    }
}

/// A preview must not be sent as a notification, and this version has no previews.
fn refuse_dry_run(parameters: &mut Parameters) {
    let asked = parameters.choices("dry_run", &[true, false], |yes| if yes { "true" } else { "false" });
    if asked.contains(&true) {
        parameters.fault("dry_run", InputCode::NotSupportedYet, "this version does not serve this yet");
    }
}

impl From<send::Error> for ApiError {
    fn from(error: send::Error) -> Self {
        match error {
            send::Error::BacklogFull(full) => full.into(),
            send::Error::Store(error) => error.into(),
            send::Error::Accept(error) => error.into(),
        }
    }
}
