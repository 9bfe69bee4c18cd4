//! `POST /v1/admin/webhooks/{id}/replay`: sends events again.

use axum::extract;
use axum::response::Response;

use super::answer::WebhookAnswer;
use super::request::ReplayStart;
use super::schema::ReplayRequest;
use super::{one, request};
use crate::api::State;
use crate::api::auth::{Administer, Caller};
use crate::api::body::JsonBody;
use crate::api::error::{ApiError, ReplayWebhookProblems};
use crate::api::path::PathId;
use crate::api::query::Parameters;
use crate::domain::{App, EventPlace, InputCode, ValidationError};
use crate::store;
use crate::store::{Session, webhooks};

/// Send events again
///
/// Winds the webhook back, and everything from there on is sent again in its order: with the same event ids, by which receivers
/// drop doubles, in messages with new ids. Events that were set aside from there on are sent in their order too. A place that the
/// webhook has not come to yet is refused, because what follows it is sent anyway.
#[utoipa::path(
    post, path = "/v1/admin/webhooks/{id}/replay", operation_id = "replayWebhook", tag = "admin",
    security(("key" = ["admin"])),
    params(("id" = String, Path, description = "The webhook's id.", example = "whk_5bf4acbbbcffe5d67fbfee43320f88a6")),
    request_body = ReplayRequest,
    responses((status = 200, description = "The webhook as it is now.", body = WebhookAnswer), ReplayWebhookProblems)
)]
pub(super) async fn replay(
    extract::State(state): extract::State<State>,
    caller: Caller<Administer>,
    parameters: Parameters,
    id: PathId,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let start = parameters.and(request::replay(body))?;
    let (app, id) = (&caller.app, id.webhook(&state.installation, caller.app.id)?);
    let (stored, _) = one::read(&state, app, id).await?;
    let mut conn = state.observe.acquire().await.map_err(store::Error::from)?;
    let not_yet = not_yet(&start);
    let cursor = place(&state, &mut conn, app, start).await?;
    if stored.cursor < cursor {
        return Err(ApiError::fault(not_yet));
    }
    webhooks::replay(&mut conn, id, cursor).await?;
    drop(conn);
    state.webhooks.wake();
    one::answer(&state, app, id).await
}

/// The fault of a start that lies behind the webhook's cursor.
fn not_yet(start: &ReplayStart) -> ValidationError {
    let (pointer, detail) = match start {
        ReplayStart::From(_) => {
            ("#/from", "the webhook has not come to this event yet; it is sent without a replay")
        }
        ReplayStart::Since(_) => {
            ("#/since", "the webhook has not come to this time yet; what follows it is sent without a replay")
        }
    };
    ValidationError::at(pointer, InputCode::BadValue, detail)
}

/// The place right before the first event that is sent again.
async fn place(
    state: &State,
    conn: &mut Session,
    app: &App,
    start: ReplayStart,
) -> Result<EventPlace, ApiError> {
    let first_day = store::events::first_day(conn).await?;
    match start {
        ReplayStart::From(id) => {
            let event = state.installation.parse_event_id(app.id, &id).map_err(|_| {
                let detail = "this is no id of an event of this app";
                ApiError::fault(ValidationError::at("#/from", InputCode::BadValue, detail))
            })?;
            match event.day() < first_day {
                true => Err(ApiError::EventsExpired(first_day)),
                false => Ok(event.before()),
            }
        }
        ReplayStart::Since(time) if time > state.node_lease.clock().now() => {
            let detail = "this time is in the future";
            Err(ApiError::fault(ValidationError::at("#/since", InputCode::BadValue, detail)))
        }
        ReplayStart::Since(time) if time.date_naive() < first_day => Ok(store::events::oldest(conn, app.id)
            .await?
            .map_or(EventPlace::behind(store::events::head(conn).await?), |oldest| {
                EventPlace::new(oldest, 0).before()
            })),
        ReplayStart::Since(time) => Ok(EventPlace::behind(store::events::since(conn, app.id, time).await?)),
    }
}
