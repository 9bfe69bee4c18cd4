//! `POST /v1/notifications`: the answer leaves when the notification is durable.

use std::sync::Arc;

use axum::extract;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::idempotency::{self, HeaderKey};
use super::preview::{self, PreviewAnswer};
use super::request::{self, Context};
use super::schema::SendOrPreview;
use super::unmatched::UnmatchedAnswer;
use crate::api::State;
use crate::api::auth::{Caller, SendNotifications};
use crate::api::body::JsonBody;
use crate::api::error::{ApiError, SendProblems};
use crate::api::query::Parameters;
use crate::api::request_log::AnswerFacts;
use crate::api::schema_enums;
use crate::domain::{App, NotificationId, TraceContext};
use crate::notifications::acceptance::Acceptance;
use crate::notifications::replay::replay_refused;
use crate::notifications::send::{self, SendParts, SendResult};

/// The path of the endpoint.
pub(in crate::api) const PATH: &str = "/v1/notifications";
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// A notification that was accepted: it is stored and will be sent.
#[derive(Serialize, ToSchema, Debug)]
#[schema(example = json!({
    "id": "ntf_0198a2f1c3d47e5f8a9b0c1d2e3f4a5b", "status": "queued", "targets": 2,
    "unmatched": {"users": ["u8"], "users_total": 1, "devices": [], "devices_total": 0}
}))]
pub(super) struct SendAnswer<'a> {
    /// The notification's id.
    id: &'a str,
    /// `queued`, `scheduled` if it is sent later, or `done` if there is no device to send to.
    #[schema(value_type = schema_enums::NotificationStatus)]
    status: &'static str,
    /// Number of devices; null while a large or later audience is still to be expanded.
    #[schema(required)]
    targets: Option<usize>,
    /// Users and devices that were not found; null while a large or later audience is still to be expanded.
    #[schema(required)]
    unmatched: Option<UnmatchedAnswer<'a>>,
}

/// Send a notification
///
/// The answer leaves after the notification was committed to the database: it will not be lost. A repeat with the same
/// idempotency key and the same body gets the same answer, and nothing is sent twice.
#[utoipa::path(
    post, path = PATH, operation_id = "sendNotification", tag = "notifications",
    security(("key" = ["send"])),
    params(
        ("dry_run" = Option<bool>, Query, description = "`true`: as `POST /v1/notifications/preview`; nothing is sent."),
        (
            "Idempotency-Key" = Option<String>, Header, example = "order-789-shipped",
            description = "1 to 255 visible ASCII characters, with or without quotation marks. Kept for 24 h, per app.",
        ),
    ),
    request_body(
        content = inline(SendOrPreview),
        description = "A `SendRequest`. With `dry_run=true` a `PreviewRequest`, so that `to` may be left out.",
    ),
    responses(
        (status = 200, description = "With `dry_run=true`: what would be sent.", body = PreviewAnswer),
        (
            status = 202, description = "The notification is stored.", body = SendAnswer,
            headers(
                ("Location" = String, description = "The path of the notification."),
                (
                    "Idempotent-Replayed" = String,
                    description = "`true` if this is the answer to an earlier request with the same key."
                ),
            ),
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
    // The body is read last of all, and has just arrived.
    let read_at = Instant::now();
    let is_dry_run = dry_run(&mut parameters);
    let header_key = idempotency::from_header(&headers, &mut parameters);
    if is_dry_run {
        return preview::answer(&state, &caller.app, parameters, header_key, body).await;
    }
    let (app, shared) = (Arc::clone(&caller.app), state.clone());
    let read = state
        .parse_pool
        .run(body.len(), move || request::read(body, self::context(&app, &shared, header_key)));
    let (idempotency, read) = read.await;
    // A request with a faulty query was never accepted.
    let idempotency = idempotency.filter(|_| parameters.is_sound());
    let result = match parameters.and(read) {
        Ok(submission) => send::send(parts(&state, caller.trace), &caller.app, submission, idempotency)
            .await
            .map_err(ApiError::from),
        Err(refused) => {
            let refused = vec![(idempotency, refused)];
            let results = replay_refused(&state.pool, caller.app.id, refused, ApiError::from).await;
            results.into_iter().next().expect("one result for one request")
        }
    };
    match result? {
        SendResult::Accepted(id, acceptance) => {
            state.metrics.accept.seconds.observe(read_at.elapsed());
            let mut response = accepted(id, write_answer(id, &acceptance))?;
            let facts = AnswerFacts { notification: id, targets: acceptance.targets };
            response.extensions_mut().insert(facts);
            Ok(response)
        }
        SendResult::Replayed(id, first) => replayed(id, &first),
    }
}

/// What reading a request depends on, besides its body.
pub(super) fn context<'a>(app: &'a App, state: &'a State, header_key: HeaderKey) -> Context<'a> {
    Context {
        app,
        providers: &state.providers,
        installation: &state.installation,
        targets_max: state.limits.targets,
        now: state.node_lease.clock().now(),
        default_ttl: state.default_ttl,
        header_key,
        checks_size: true,
        rejects_bad_tokens: false,
    }
}

/// What accepting notifications needs.
pub(super) fn parts(state: &State, trace: Option<TraceContext>) -> SendParts<'_> {
    SendParts { lookup: &state.lookup, acceptor: &state.acceptor, backlog: &state.backlog, trace }
}

/// The body of the answer. A repeat with the same idempotency key gets the same bytes.
pub(super) fn write_answer(id: NotificationId, acceptance: &Acceptance) -> Vec<u8> {
    let id = id.to_string();
    let answer = SendAnswer {
        id: &id,
        status: acceptance.status.as_str(),
        targets: acceptance.targets,
        unmatched: acceptance.unmatched.as_ref().map(UnmatchedAnswer::from),
    };
    serde_json::to_vec(&answer).expect("strings and numbers become JSON")
}

fn accepted(id: NotificationId, body: Vec<u8>) -> Result<Response, ApiError> {
    let location = HeaderValue::from_str(&format!("/v1/notifications/{id}")).map_err(ApiError::internal)?;
    let headers = [(LOCATION, location), (CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Ok((StatusCode::ACCEPTED, headers, body).into_response())
}

/// The answer to an earlier request, byte for byte.
fn replayed(id: NotificationId, first: &Acceptance) -> Result<Response, ApiError> {
    let mut response = accepted(id, write_answer(id, first))?;
    response.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

/// Is a preview asked for? What is neither `true` nor `false` is reported, because nothing may be sent by mistake.
fn dry_run(parameters: &mut Parameters) -> bool {
    parameters.text("dry_run");
    let asked = parameters.choices("dry_run", &[true, false], |yes| if yes { "true" } else { "false" });
    asked.contains(&true)
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
