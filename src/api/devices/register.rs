//! `PUT /v1/devices` and `POST /v1/devices/unregister`: the calls that an app makes for its own device, and a backend for
//! any.

use axum::Json;
use axum::extract;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::answer::{DeviceAnswer, DeviceView};
use super::request;
use super::schema::{DeviceRegistration, TokenOfDevice};
use super::user_token::{UserTokenHeader, UserTokenParameter};
use crate::api::State;
use crate::api::auth::{Caller, RegisterDevice};
use crate::api::body::DeviceBody;
use crate::api::error::{ApiError, RegisterProblems, UnregisterProblems};
use crate::api::query::Parameters;
use crate::domain::DeviceToken;
use crate::registry::devices;
use crate::registry::registration;

/// Register a device
///
/// An upsert by platform and token: 201 if the token was unknown, else 200. With a user token the device is bound to that
/// user, unless `user` is null.
#[utoipa::path(
    put, path = "/v1/devices", operation_id = "registerDevice", tag = "devices",
    security(("key" = ["devices", "register"])),
    params(UserTokenParameter),
    request_body = DeviceRegistration,
    responses(
        (status = 200, description = "The token was known; the device as it is now.", body = DeviceAnswer),
        (status = 201, description = "The token was unknown; the new device.", body = DeviceAnswer),
        RegisterProblems,
    )
)]
pub(super) async fn register(
    extract::State(state): extract::State<State>,
    caller: Caller<RegisterDevice>,
    user_token: UserTokenHeader,
    parameters: Parameters,
    DeviceBody(body): DeviceBody,
) -> Result<Response, ApiError> {
    let user_token = user_token.verify(&state, &caller.app)?;
    let by_app = caller.scopes.is_publishable();
    let who = if by_app { registration::Registrar::App } else { registration::Registrar::Backend };
    let (platforms, length) = (caller.app.platforms(), body.len());
    let read = move || request::proven_registration(body, who, user_token, &platforms);
    let read = state.parse_pool.run(length, read).await;
    let registration = parameters.and(read)?;
    take_token_rate(&state, &caller, &registration.token)?;
    let registered = devices::register(&state.pool, &caller.app, &registration, who).await?;
    let view = DeviceView::of(&caller);
    let answer = view.show(&state.installation, &registered.known, &registered.ignored);
    let status = if registered.is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(answer)).into_response())
}

/// Unregister a device
///
/// The answer is the same whether the token was known or not.
#[utoipa::path(
    post, path = "/v1/devices/unregister", operation_id = "unregisterDevice", tag = "devices",
    security(("key" = ["devices", "register"])),
    params(UserTokenParameter),
    request_body = TokenOfDevice,
    responses((status = 204, description = "The device is not registered."), UnregisterProblems)
)]
pub(super) async fn unregister(
    extract::State(state): extract::State<State>,
    caller: Caller<RegisterDevice>,
    user_token: UserTokenHeader,
    parameters: Parameters,
    DeviceBody(body): DeviceBody,
) -> Result<StatusCode, ApiError> {
    user_token.verify(&state, &caller.app)?;
    let platforms = caller.app.platforms();
    let read = state.parse_pool.run(body.len(), move || request::platform_and_token(body, &platforms)).await;
    let (platform, token) = parameters.and(read)?;
    take_token_rate(&state, &caller, &token)?;
    devices::unregister(&state.pool, caller.app.id, platform, &token).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Counts a request of a publishable key against its device's rate limit, because a faulty app repeats requests for its
/// one device.
fn take_token_rate(
    state: &State,
    caller: &Caller<RegisterDevice>,
    token: &DeviceToken,
) -> Result<(), ApiError> {
    match caller.scopes.is_publishable() {
        true => Ok(state.rates.take_token(caller.app.id, token)?),
        false => Ok(()),
    }
}
