//! `POST /v1/notifications/preview`: what would be sent. Nothing is stored or sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use axum::{Json, extract};
use http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;

use super::idempotency::{self, HeaderKey};
use super::request::{self, Context};
use super::schema::PreviewRequest;
use super::send;
use crate::api::State;
use crate::api::auth::{Caller, SendNotifications};
use crate::api::body::JsonBody;
use crate::api::error::{ApiError, PreviewProblems};
use crate::api::problem::{ErrorEntries, ValidationErrorSchema};
use crate::api::query::Parameters;
use crate::domain::App;
use crate::notifications::preview::{self, PlatformPreview};

/// The path of the endpoint. It only reads, although its method is POST.
pub(in crate::api) const PATH: &str = "/v1/notifications/preview";

/// What would be sent.
#[derive(Serialize, ToSchema, Debug)]
#[schema(example = json!({
    "targets": 2,
    "platforms": {"apns": {
        "headers": {
            "content-type": "application/json", "apns-push-type": "alert", "apns-topic": "com.example.shop",
            "apns-priority": "10", "apns-collapse-id": "order-789", "apns-expiration": "1795944000"
        },
        "body": "{\"aps\":{\"alert\":{\"title\":\"Hi\"}},\"pushpost\":\"ntf_00000000000000000000000000000000\"}",
        "size": 83, "limit": 4096, "problems": []
    }},
    "problems": []
}))]
pub(super) struct PreviewAnswer<'a> {
    /// Devices that would be targets now; null without `to`, or if the audience would be found after the answer.
    #[schema(required)]
    targets: Option<usize>,
    /// By the name of the platform: those with credentials that the audience may reach.
    platforms: BTreeMap<&'static str, PlatformPreviewAnswer<'a>>,
    /// Why the notification would be refused with 422.
    #[schema(inline, value_type = Vec<ValidationErrorSchema>)]
    problems: ErrorEntries<'a>,
}

/// The request to a provider, without token, id of the message and credential.
#[derive(Serialize, ToSchema, Debug)]
pub(super) struct PlatformPreviewAnswer<'a> {
    /// Its headers, without the credential and the id of the message.
    headers: BTreeMap<&'a str, &'a str>,
    /// Its body as it would be sent, but for the token and the id of the notification.
    body: &'a str,
    /// The bytes that count towards the limit.
    size: usize,
    /// The most bytes that the provider takes.
    limit: usize,
    /// Why it would not be sent.
    #[schema(inline, value_type = Vec<ValidationErrorSchema>)]
    problems: ErrorEntries<'a>,
}

/// Preview a notification
///
/// The answer has what a provider would be sent. Nothing is stored or sent, and an idempotency key is not used up. `to` may
/// be left out.
#[utoipa::path(
    post, path = PATH, operation_id = "previewNotification", tag = "notifications",
    security(("key" = ["send"])),
    params((
        "Idempotency-Key" = Option<String>, Header,
        description = "Checked, and otherwise ignored: a preview uses up no key.",
    )),
    request_body = PreviewRequest,
    responses((status = 200, description = "What would be sent.", body = PreviewAnswer), PreviewProblems)
)]
pub(super) async fn preview(
    extract::State(state): extract::State<State>,
    caller: Caller<SendNotifications>,
    mut parameters: Parameters,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let header_key = idempotency::from_header(&headers, &mut parameters);
    answer(&state, &caller.app, parameters, header_key, body).await
}

/// The answer, also to `POST /v1/notifications?dry_run=true`.
pub(super) async fn answer(
    state: &State,
    app: &Arc<App>,
    parameters: Parameters,
    header_key: HeaderKey,
    body: Vec<u8>,
) -> Result<Response, ApiError> {
    let (asked_app, shared) = (Arc::clone(app), state.clone());
    let read = state.parse_pool.run(body.len(), move || {
        let context = send::context(&asked_app, &shared, header_key);
        request::read_preview(body, Context { checks_size: false, ..context })
    });
    let (submission, problems) = parameters.and(read.await)?;
    let targets = preview::count_targets(&state.lookup, app, &submission).await?;
    let now = state.node_lease.clock().now();
    let previews = preview::render(&submission, app, &state.providers, now);
    let platforms = previews.iter().map(|one| (one.platform.as_str(), PlatformPreviewAnswer::of(one)));
    let answer = PreviewAnswer { targets, platforms: platforms.collect(), problems: ErrorEntries(&problems) };
    Ok(Json(answer).into_response())
}

impl<'a> PlatformPreviewAnswer<'a> {
    fn of(one: &'a PlatformPreview) -> Self {
        let headers = one.preview.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        Self {
            headers: headers.collect(),
            body: &one.preview.body,
            size: one.preview.size,
            limit: one.preview.limit,
            problems: ErrorEntries(&one.problems),
        }
    }
}
