//! `/v1/users`: the devices and topics of a user, and their erasure.

use axum::Json;
use axum::extract;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::State;
use super::auth::{Caller, ManageDevices, ReadDevices};
use super::body::NoBody;
use super::devices::{DeviceAnswer, DeviceView};
use super::error::{ApiError, NamedDeletionProblems, NotFoundKind, UserProblems};
use super::path::PathName;
use super::query::Parameters;
use crate::domain::TopicName;
use crate::registry::{erasure, users};

/// The most devices of an answer.
const DEVICES_MAX: usize = 1000;

/// The routes of `/v1/users`.
pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(find, erase))
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
    let found = users::find(&state.pool, caller.app.id, &user, DEVICES_MAX).await?;
    let found = found.ok_or(ApiError::NotFound(NotFoundKind::Id))?;
    let view = DeviceView::of(&caller);
    let devices = found.devices.iter().map(|known| view.show(&state.installation, known, &[])).collect();
    let topics = found.topics.iter().map(TopicName::as_str).collect();
    Ok(Json(User { user: user.as_str(), devices, topics }).into_response())
}

/// What the erasure of a user did.
#[derive(Serialize, ToSchema, Debug)]
#[schema(example = json!({"devices": 2, "cancelled": 1}))]
struct UserErasure {
    /// Devices that were deleted.
    devices: u64,
    /// Deliveries to these devices that waited and are `cancelled` now. What was being sent is not counted.
    cancelled: u64,
}

/// Erase a user
///
/// Deletes the devices and subscriptions of the user, and cancels what waits for the devices. From then on no answer names the
/// user, except `unmatched`, and stored answers for 24 h. A user that is unknown is no error. After a problem a repeat does the
/// rest.
#[utoipa::path(
    delete, path = "/v1/users/{user}", operation_id = "eraseUser", tag = "users",
    security(("key" = ["devices"])),
    params(("user" = String, Path, description = "The user id, percent-encoded.", example = "u42")),
    responses((status = 200, description = "What was erased.", body = UserErasure), NamedDeletionProblems)
)]
async fn erase(
    extract::State(state): extract::State<State>,
    caller: Caller<ManageDevices>,
    name: PathName,
    NoBody(mut parameters): NoBody,
) -> Result<Response, ApiError> {
    let user = name.user(&mut parameters);
    parameters.finish()?;
    let user = user.ok_or(ApiError::NotFound(NotFoundKind::Id))?;
    let erased = erasure::erase(&state.pool, caller.app.id, &user).await?;
    let erasure::ErasedUser { devices, cancelled } = erased;
    tracing::info!(app = caller.app.name, key = %caller.key, devices, cancelled, "a user is erased");
    Ok(Json(UserErasure { devices, cancelled }).into_response())
}
