//! `/v1/users`: the devices and topics of a user.

use axum::Json;
use axum::extract;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::State;
use super::auth::{Caller, ReadDevices};
use super::devices::{DeviceAnswer, DeviceView};
use super::error::{ApiError, NotFoundKind, UserProblems};
use super::path::PathName;
use super::query::Parameters;
use crate::domain::TopicName;
use crate::registry::users;

/// The most devices of an answer.
const DEVICES_MAX: usize = 1000;

/// The routes of `/v1/users`.
pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(find))
}

/// A user: what Pushpost knows by the id that the backend gave.
#[derive(Serialize, ToSchema, Debug)]
#[schema(example = json!({"user": "u42", "devices": [], "topics": ["news"]}))]
struct User<'a> {
    /// The user id.
    user: &'a str,
    /// The first 1,000 devices that are bound to the user, quarantined ones included. `GET /v1/devices?user=` lists all.
    #[schema(max_items = 1000)]
    devices: Vec<DeviceAnswer<'a>>,
    /// The topics that the user is subscribed to, by name. They hold for each of the devices.
    topics: Vec<&'a str>,
}

/// Read a user
///
/// A user without devices and topics is not found.
#[utoipa::path(
    get, path = "/v1/users/{user}", operation_id = "getUser", tag = "users",
    security(("key" = ["devices", "read"])),
    params(("user" = String, Path, description = "The user id, percent-encoded.", example = "u42")),
    responses((status = 200, description = "The user's devices and topics.", body = User), UserProblems)
)]
async fn find(
    extract::State(state): extract::State<State>,
    caller: Caller<ReadDevices>,
    mut parameters: Parameters,
    name: PathName,
) -> Result<Response, ApiError> {
    let user = name.user(&mut parameters);
    parameters.finish()?;
    let user = user.ok_or(ApiError::NotFound(NotFoundKind::Id))?;
    let found = users::find(&state.pool, caller.app.id, &user, DEVICES_MAX as i64).await?;
    let found = found.ok_or(ApiError::NotFound(NotFoundKind::Id))?;
    let view = DeviceView::of(caller.scopes);
    let devices = found.devices.iter().map(|known| view.show(&state.installation, known, &[])).collect();
    let topics = found.topics.iter().map(TopicName::as_str).collect();
    Ok(Json(User { user: user.as_str(), devices, topics }).into_response())
}
