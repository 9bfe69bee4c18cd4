//! `GET`, `PATCH` and `DELETE /v1/devices/{id}`, and `POST /v1/devices/{id}/restore`: one device by its id.

use axum::Json;
use axum::extract;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::answer::{Device, DeviceView};
use super::request;
use super::schema::DeviceChanges;
use crate::api::State;
use crate::api::auth::{Caller, ManageDevices, ReadDevices};
use crate::api::body::{DeviceBody, NoBody};
use crate::api::error::{ApiError, ChangeProblems, DescribeProblems, NotFoundKind, ReadProblems};
use crate::api::path::PathId;
use crate::api::query::Parameters;
use crate::registry::devices;

/// Read a device
#[utoipa::path(
    get, path = "/v1/devices/{id}", operation_id = "getDevice", tag = "devices",
    security(("key" = ["devices", "read"])),
    params(("id" = String, Path, description = "The device's id.", example = "dev_5bf4acbbbcffe5d67fbfee43320f88a6")),
    responses((status = 200, description = "The device.", body = Device), ReadProblems)
)]
pub(super) async fn find(
    extract::State(state): extract::State<State>,
    caller: Caller<ReadDevices>,
    parameters: Parameters,
    id: PathId,
) -> Result<Response, ApiError> {
    parameters.finish()?;
    let id = id.device(&state.installation, caller.app.id)?;
    let known =
        devices::find(&state.pool, caller.app.id, id).await?.ok_or(ApiError::NotFound(NotFoundKind::Id))?;
    Ok(Json(DeviceView::of(&caller).show(&state.installation, &known, &[])).into_response())
}

/// Change a device
///
/// Sets members of a registration without being one: `registered_at` and a quarantine stay.
#[utoipa::path(
    patch, path = "/v1/devices/{id}", operation_id = "changeDevice", tag = "devices",
    security(("key" = ["devices"])),
    params(("id" = String, Path, description = "The device's id.", example = "dev_5bf4acbbbcffe5d67fbfee43320f88a6")),
    request_body = DeviceChanges,
    responses((status = 200, description = "The device as it is now.", body = Device), DescribeProblems)
)]
pub(super) async fn describe(
    extract::State(state): extract::State<State>,
    caller: Caller<ManageDevices>,
    parameters: Parameters,
    id: PathId,
    DeviceBody(body): DeviceBody,
) -> Result<Response, ApiError> {
    let id = id.device(&state.installation, caller.app.id)?;
    let platforms = caller.app.platforms();
    let read = state.parse_pool.run(body.len(), move || request::details(body, &platforms)).await;
    let details = parameters.and(read)?;
    let known = devices::update(&state.pool, &caller.app, id, &details).await?;
    let known = known.ok_or(ApiError::NotFound(NotFoundKind::Id))?;
    let view = DeviceView::of(&caller);
    Ok(Json(view.show(&state.installation, &known, &details.ignored)).into_response())
}

/// Delete a device
///
/// The device and its token are forgotten. What was pending for it ends `cancelled`.
#[utoipa::path(
    delete, path = "/v1/devices/{id}", operation_id = "deleteDevice", tag = "devices",
    security(("key" = ["devices"])),
    params(("id" = String, Path, description = "The device's id.", example = "dev_5bf4acbbbcffe5d67fbfee43320f88a6")),
    responses((status = 204, description = "The device is gone."), ChangeProblems)
)]
pub(super) async fn remove(
    extract::State(state): extract::State<State>,
    caller: Caller<ManageDevices>,
    id: PathId,
    NoBody(parameters): NoBody,
) -> Result<StatusCode, ApiError> {
    parameters.finish()?;
    let id = id.device(&state.installation, caller.app.id)?;
    let gone = devices::remove(&state.pool, caller.app.id, id).await?;
    if gone { Ok(StatusCode::NO_CONTENT) } else { Err(ApiError::NotFound(NotFoundKind::Id)) }
}

/// Restore a device
///
/// A quarantined device is active again. That is no registration: `registered_at` stays, and a provider that calls the
/// token dead again quarantines the device again. An active device stays as it is, so a repeat is harmless.
#[utoipa::path(
    post, path = "/v1/devices/{id}/restore", operation_id = "restoreDevice", tag = "devices",
    security(("key" = ["devices"])),
    params(("id" = String, Path, description = "The device's id.", example = "dev_5bf4acbbbcffe5d67fbfee43320f88a6")),
    responses((status = 200, description = "The device, which is active.", body = Device), ChangeProblems)
)]
pub(super) async fn restore(
    extract::State(state): extract::State<State>,
    caller: Caller<ManageDevices>,
    id: PathId,
    NoBody(parameters): NoBody,
) -> Result<Response, ApiError> {
    parameters.finish()?;
    let id = id.device(&state.installation, caller.app.id)?;
    let known = devices::restore(&state.pool, caller.app.id, id)
        .await?
        .ok_or(ApiError::NotFound(NotFoundKind::Id))?;
    Ok(Json(DeviceView::of(&caller).show(&state.installation, &known, &[])).into_response())
}
