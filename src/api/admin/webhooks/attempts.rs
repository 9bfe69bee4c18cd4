//! `GET /v1/admin/webhooks/{id}/attempts`: what came of the last attempts.

use axum::response::{IntoResponse, Response};
use axum::{Json, extract};
use serde::Serialize;
use utoipa::ToSchema;

use super::one;
use crate::api::State;
use crate::api::auth::{Administer, Caller};
use crate::api::error::{ApiError, ReadProblems};
use crate::api::path::PathId;
use crate::api::query::Parameters;
use crate::api::schema_enums::{self, ATTEMPT_RESULTS};
use crate::api::time::Timestamp;
use crate::store;
use crate::store::webhooks::{self, AttemptRow};

/// What came of an attempt.
#[derive(Serialize, ToSchema, Debug)]
#[schema(example = json!({
    "at": "2026-11-28T09:00:00.000Z", "message": "msg_5bf4acbbbcffe5d67fbfee43320f88a6", "events": 12, "attempt": 3,
    "status": 503, "error": "status 503", "elapsed_ms": 41, "response": "try later", "node": "web-1-4711"
}))]
pub(super) struct WebhookAttempt {
    /// When it was recorded.
    at: Timestamp,
    /// The message's id: `webhook-id` of the request.
    message: String,
    /// Number of its events.
    events: i16,
    /// Attempts since the last success before it, this one included.
    attempt: i32,
    /// The status of the answer; null: there was none.
    #[schema(required)]
    status: Option<i16>,
    /// Why it failed; null: it succeeded.
    #[schema(required)]
    error: Option<String>,
    /// How long it took, in milliseconds.
    elapsed_ms: i32,
    /// The first printable characters of the answer.
    response: String,
    /// The name of the node that made it.
    node: String,
}

/// A page of attempts, the latest first.
#[derive(Serialize, ToSchema, Debug)]
pub(super) struct WebhookAttemptList {
    /// The attempts of this page.
    items: Vec<WebhookAttempt>,
    /// What to send as `cursor` for the next page; null: this is the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// List a webhook's attempts
///
/// The latest first. The last 800 attempts that failed and 200 that succeeded are kept, no longer than events are.
#[utoipa::path(
    get, path = "/v1/admin/webhooks/{id}/attempts", operation_id = "listWebhookAttempts", tag = "admin",
    security(("key" = ["admin"])),
    params(
        ("id" = String, Path, description = "The webhook's id.", example = "whk_5bf4acbbbcffe5d67fbfee43320f88a6"),
        ("result" = Option<Vec<schema_enums::AttemptResult>>, Query, description = "Only attempts that came to one of these."),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "Items of a page; 100 if left out."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before, with the same filters."),
    ),
    responses((status = 200, description = "A page of attempts.", body = WebhookAttemptList), ReadProblems)
)]
pub(super) async fn list(
    extract::State(state): extract::State<State>,
    caller: Caller<Administer>,
    id: PathId,
    mut parameters: Parameters,
) -> Result<Response, ApiError> {
    let results = parameters.choices("result", &[false, true], |succeeded| match succeeded {
        false => ATTEMPT_RESULTS[0],
        true => ATTEMPT_RESULTS[1],
    });
    let asked = parameters.page("webhook attempts", caller.app.id, &state.installation);
    parameters.finish()?;
    let id = id.webhook(&state.installation, caller.app.id)?;
    one::read(&state, &caller.app, id).await?;
    let succeeded = match results.as_slice() {
        [only] => Some(*only),
        _ => None,
    };
    let before = asked.after.as_deref().and_then(|bytes| bytes.try_into().ok());
    let before = before.map_or(i64::MAX, i64::from_be_bytes);
    // One more than asked for tells whether there is a next page.
    let limit = i64::try_from(asked.limit).map_or(i64::MAX, |limit| limit + 1);
    let mut conn = state.observe.acquire().await.map_err(store::Error::from)?;
    let mut found = webhooks::attempts(&mut conn, id, succeeded, before, limit).await?;
    let has_more = found.len() > asked.limit;
    found.truncate(asked.limit);
    let last = found.last().filter(|_| has_more);
    let next_cursor = last.map(|last| asked.cursor(&state.installation, &last.id.to_be_bytes()));
    let items = found.into_iter().map(WebhookAttempt::from).collect();
    Ok(Json(WebhookAttemptList { items, next_cursor }).into_response())
}

impl From<AttemptRow> for WebhookAttempt {
    fn from(row: AttemptRow) -> Self {
        Self {
            at: Timestamp(row.at),
            message: row.message,
            events: row.events,
            attempt: row.attempt,
            status: row.status,
            error: row.error,
            elapsed_ms: row.elapsed_ms,
            response: row.response,
            node: row.node_name,
        }
    }
}
