//! `POST /v1/admin/webhooks/{id}/test`: sends `webhook.test` at once and answers what came of it.

use axum::response::{IntoResponse, Response};
use axum::{Json, extract};
use serde::Serialize;
use utoipa::ToSchema;

use super::one;
use crate::api::State;
use crate::api::auth::{Administer, Caller};
use crate::api::body::NoBody;
use crate::api::error::{ApiError, ChangeProblems};
use crate::api::path::PathId;
use crate::api::rates::RateExceeded;
use crate::events::webhooks::WebhookMessage;

/// What came of a test.
#[derive(Serialize, ToSchema, Debug)]
#[schema(example = json!({"status": 200, "elapsed_ms": 41, "error": null, "response": "ok"}))]
pub(super) struct WebhookTest {
    /// The status of the answer; null: there was none.
    #[schema(required)]
    status: Option<u16>,
    /// How long it took, in milliseconds.
    elapsed_ms: u64,
    /// Why it failed; null: the receiver took the message.
    #[schema(required)]
    error: Option<String>,
    /// The first printable characters of the answer.
    response: String,
}

/// Test a webhook
///
/// Sends a message with one event `webhook.test`, once. The event is not in the log, and the test changes nothing of the webhook. The
/// answer takes up to 15 s, as long as the receiver may. One test of a webhook, and four of an app, are under way on a node at the same
/// time.
#[utoipa::path(
    post, path = "/v1/admin/webhooks/{id}/test", operation_id = "testWebhook", tag = "admin",
    security(("key" = ["admin"])),
    params(("id" = String, Path, description = "The webhook's id.", example = "whk_5bf4acbbbcffe5d67fbfee43320f88a6")),
    responses((status = 200, description = "What came of it.", body = WebhookTest), ChangeProblems)
)]
pub(super) async fn test(
    extract::State(state): extract::State<State>,
    caller: Caller<Administer>,
    id: PathId,
    NoBody(parameters): NoBody,
) -> Result<Response, ApiError> {
    parameters.finish()?;
    let id = id.webhook(&state.installation, caller.app.id)?;
    let (stored, _) = one::read(&state, &caller.app, id).await?;
    let _permit = state.webhooks.tests().take(caller.app.id, id).map_err(RateExceeded::from)?;
    let now = state.node_lease.clock().now();
    let answer = match state.webhooks.target(&caller.app, &stored.name, Some(&stored)) {
        Err(why) => WebhookTest { status: None, elapsed_ms: 0, error: Some(why), response: String::new() },
        Ok(target) => {
            let message = WebhookMessage::of_test(&caller.app.name, &stored.name, now);
            let attempted =
                target.client.post(&message.signed(&target.settings.secrets, now, None), now).await;
            WebhookTest {
                status: attempted.status,
                elapsed_ms: u64::try_from(attempted.elapsed.as_millis()).unwrap_or(u64::MAX),
                error: attempted.error,
                response: attempted.response,
            }
        }
    };
    Ok(Json(answer).into_response())
}
