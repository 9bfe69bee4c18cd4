//! `GET /v1/admin/webhooks/{id}/set-aside`, and `POST …/set-aside/{event}/retry`: events that the receiver refused while it took
//! later ones.

use axum::extract::{FromRequestParts, Path};
use axum::response::{IntoResponse, Response};
use axum::{Json, extract};
use http::StatusCode;
use http::request::Parts;
use serde::Serialize;
use utoipa::ToSchema;

use super::one;
use crate::api::State;
use crate::api::auth::{Administer, Caller};
use crate::api::body::NoBody;
use crate::api::error::{ApiError, ChangeProblems, NotFoundKind, ReadProblems};
use crate::api::path::PathId;
use crate::api::query::Parameters;
use crate::api::time::Timestamp;
use crate::store;
use crate::store::webhooks;

/// An event that was set aside.
#[derive(Serialize, ToSchema, Debug)]
#[schema(example = json!({
    "event": "evt_5bf4acbbbcffe5d67fbfee43320f88a65bf4acbbbcffe5d67fbfee43320f", "at": "2026-11-28T09:00:00.000Z", "attempts": 2,
    "next_attempt_at": "2026-11-28T11:00:00.000Z", "status": 500, "error": "status 500"
}))]
pub(super) struct SetAsideEvent {
    /// The event's id.
    event: String,
    /// When it was set aside.
    at: Timestamp,
    /// Attempts since then.
    attempts: i32,
    /// When it is sent again; null: only on command.
    #[schema(required)]
    next_attempt_at: Option<Timestamp>,
    /// The status of the last answer; null: there was none.
    #[schema(required)]
    status: Option<i16>,
    /// What came of the last attempt that failed; null: none is known.
    #[schema(required)]
    error: Option<String>,
}

/// A page of set-aside events, in the order of the log.
#[derive(Serialize, ToSchema, Debug)]
pub(super) struct SetAsideList {
    /// The events of this page.
    items: Vec<SetAsideEvent>,
    /// What to send as `cursor` for the next page; null: this is the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// List set-aside events
///
/// Events that the receiver refused while it took later ones. They are sent again hourly for a day, with `"late": true`, and then
/// on command.
#[utoipa::path(
    get, path = "/v1/admin/webhooks/{id}/set-aside", operation_id = "listSetAsideEvents", tag = "admin",
    security(("key" = ["admin"])),
    params(
        ("id" = String, Path, description = "The webhook's id.", example = "whk_5bf4acbbbcffe5d67fbfee43320f88a6"),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "Items of a page; 100 if left out."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page of events.", body = SetAsideList), ReadProblems)
)]
pub(super) async fn list(
    extract::State(state): extract::State<State>,
    caller: Caller<Administer>,
    id: PathId,
    mut parameters: Parameters,
) -> Result<Response, ApiError> {
    let app = &caller.app;
    let asked = parameters.page("set-aside events", app.id, &state.installation);
    parameters.finish()?;
    let id = id.webhook(&state.installation, app.id)?;
    one::read(&state, app, id).await?;
    // One more than asked for tells whether there is a next page.
    let limit = i64::try_from(asked.limit).map_or(i64::MAX, |limit| limit + 1);
    let after = asked.after.as_deref().and_then(place_of).unwrap_or((0, -1));
    let mut conn = state.observe.acquire().await.map_err(store::Error::from)?;
    let mut found = webhooks::set_aside_list(&mut conn, id, after, limit).await?;
    let has_more = found.len() > asked.limit;
    found.truncate(asked.limit);
    let last = found
        .last()
        .filter(|_| has_more)
        .map(|last| [last.place.position.to_be_bytes(), i64::from(last.place.index).to_be_bytes()].concat());
    let next_cursor = last.map(|last| asked.cursor(&state.installation, &last));
    let items = found.into_iter().map(|row| SetAsideEvent {
        event: state.installation.event_id(app.id, row.place),
        at: Timestamp(row.set_aside_at),
        attempts: row.attempts,
        next_attempt_at: row.next_attempt_at.map(Timestamp),
        status: row.status,
        error: row.error,
    });
    Ok(Json(SetAsideList { items: items.collect(), next_cursor }).into_response())
}

fn place_of(bytes: &[u8]) -> Option<(i64, i64)> {
    let (position, index) = bytes.split_first_chunk()?;
    Some((i64::from_be_bytes(*position), i64::from_be_bytes(index.try_into().ok()?)))
}

/// The two variable parts of the path.
#[derive(Debug)]
pub(super) struct WebhookEvent {
    webhook: PathId,
    event: String,
}

impl FromRequestParts<State> for WebhookEvent {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        let read = Path::<(String, String)>::from_request_parts(parts, state).await;
        read.map(|Path((webhook, event))| Self { webhook: PathId(webhook), event })
            .map_err(|_| ApiError::NotFound(NotFoundKind::Id))
    }
}

/// Send a set-aside event again
///
/// At once, with `"late": true`. Taken, it is set aside no more.
#[utoipa::path(
    post, path = "/v1/admin/webhooks/{id}/set-aside/{event}/retry", operation_id = "retrySetAsideEvent", tag = "admin",
    security(("key" = ["admin"])),
    params(
        ("id" = String, Path, description = "The webhook's id.", example = "whk_5bf4acbbbcffe5d67fbfee43320f88a6"),
        (
            "event" = String, Path, description = "The event's id.",
            example = "evt_5bf4acbbbcffe5d67fbfee43320f88a65bf4acbbbcffe5d67fbfee43320f",
        ),
    ),
    responses((status = 202, description = "It is due now."), ChangeProblems)
)]
pub(super) async fn retry(
    extract::State(state): extract::State<State>,
    caller: Caller<Administer>,
    path: WebhookEvent,
    NoBody(parameters): NoBody,
) -> Result<Response, ApiError> {
    parameters.finish()?;
    let app = &caller.app;
    let id = path.webhook.webhook(&state.installation, app.id)?;
    one::read(&state, app, id).await?;
    let missing = || ApiError::NotFound(NotFoundKind::Id);
    let event = state.installation.parse_event_id(app.id, &path.event).map_err(|_| missing())?;
    let mut conn = state.observe.acquire().await.map_err(store::Error::from)?;
    let is_due = webhooks::retry_set_aside(&mut conn, id, event).await?;
    drop(conn);
    state.webhooks.wake();
    if is_due { Ok(StatusCode::ACCEPTED.into_response()) } else { Err(missing()) }
}
