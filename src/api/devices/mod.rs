//! `/v1/devices`: tokens and whose they are.

mod answer;
pub mod export;
pub mod import;
mod list;
mod lookup;
mod request;
mod timeline;

use axum::extract::rejection::PathRejection;
use axum::extract::{self, Path};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::State;
use super::auth::{Caller, ManageDevices, ReadDevices, RegisterDevice};
use super::body::DeviceBody;
use super::error::ApiError;
use super::query::Parameters;
use crate::domain::{AppId, DeviceId, DeviceToken, InputCode, ValidationError};
use crate::registry::devices::{self, Error};
use crate::registry::registration;

/// How a mobile app proves who its user is. No app of this version can check one.
const USER_TOKEN: &str = "pushpost-user-token";

/// The routes.
pub(super) fn routes() -> Router<State> {
    Router::new()
        .route("/v1/devices", put(register).get(list::list))
        .route("/v1/devices/unregister", post(unregister))
        .route(import::PATH, post(import::import))
        .route("/v1/devices/lookup", post(lookup::lookup))
        .route("/v1/devices/{id}", get(find).patch(describe).delete(remove))
        .route("/v1/devices/{id}/deliveries", get(timeline::list))
}

/// `PUT /v1/devices`: 201 if the token was unknown, else 200.
async fn register(
    extract::State(state): extract::State<State>,
    caller: Caller<RegisterDevice>,
    headers: HeaderMap,
    parameters: Parameters,
    DeviceBody(body): DeviceBody,
) -> Result<Response, ApiError> {
    refuse_user_token(&headers)?;
    let by_app = caller.scopes.is_publishable();
    let who = if by_app { registration::Registrar::App } else { registration::Registrar::Backend };
    let read = state.parse_pool.run(body.len(), move || request::registration(body, who)).await;
    let registration = parameters.and(read)?;
    pace(&state, &caller, &registration.token)?;
    let registered = devices::register(&state.pool, &caller.app, &registration, who).await?;
    let view = answer::DeviceView::of(caller.scopes);
    let document = view.document(&state.installation, &registered.known);
    let document = answer::with_ignored(document, &registered.ignored);
    let status = if registered.is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(document)).into_response())
}

/// `POST /v1/devices/unregister`: the same answer whether the token was known or not.
async fn unregister(
    extract::State(state): extract::State<State>,
    caller: Caller<RegisterDevice>,
    headers: HeaderMap,
    parameters: Parameters,
    DeviceBody(body): DeviceBody,
) -> Result<StatusCode, ApiError> {
    refuse_user_token(&headers)?;
    let read = state.parse_pool.run(body.len(), || request::platform_and_token(body)).await;
    let (platform, token) = parameters.and(read)?;
    pace(&state, &caller, &token)?;
    devices::unregister(&state.pool, caller.app.id, platform, &token).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /v1/devices/{id}`.
async fn find(
    extract::State(state): extract::State<State>,
    caller: Caller<ReadDevices>,
    parameters: Parameters,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    parameters.finish()?;
    let id = device_id(&state, caller.app.id, id)?;
    let known = devices::find(&state.pool, caller.app.id, id).await?.ok_or(ApiError::NotFound)?;
    Ok(Json(answer::DeviceView::of(caller.scopes).document(&state.installation, &known)))
}

/// `PATCH /v1/devices/{id}`: the fields of a registration that are no registration.
async fn describe(
    extract::State(state): extract::State<State>,
    caller: Caller<ManageDevices>,
    parameters: Parameters,
    id: Result<Path<String>, PathRejection>,
    DeviceBody(body): DeviceBody,
) -> Result<Json<Value>, ApiError> {
    let id = device_id(&state, caller.app.id, id)?;
    let details = parameters.and(state.parse_pool.run(body.len(), || request::details(body)).await)?;
    let known = devices::update(&state.pool, &caller.app, id, &details).await?;
    let known = known.ok_or(ApiError::NotFound)?;
    let document = answer::DeviceView::of(caller.scopes).document(&state.installation, &known);
    Ok(Json(answer::with_ignored(document, &details.ignored)))
}

/// `DELETE /v1/devices/{id}`.
async fn remove(
    extract::State(state): extract::State<State>,
    caller: Caller<ManageDevices>,
    parameters: Parameters,
    id: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, ApiError> {
    parameters.finish()?;
    let id = device_id(&state, caller.app.id, id)?;
    let gone = devices::remove(&state.pool, caller.app.id, id).await?;
    if gone { Ok(StatusCode::NO_CONTENT) } else { Err(ApiError::NotFound) }
}

/// An app that goes wrong asks for its one device again and again.
fn pace(state: &State, caller: &Caller<RegisterDevice>, token: &DeviceToken) -> Result<(), ApiError> {
    match caller.scopes.is_publishable() {
        true => Ok(state.rates.take_token(caller.app.id, token)?),
        false => Ok(()),
    }
}

fn device_id(
    state: &State,
    app: AppId,
    id: Result<Path<String>, PathRejection>,
) -> Result<DeviceId, ApiError> {
    let Path(public) = id.map_err(|_| ApiError::NotFound)?;
    state.installation.parse_device_id(app, &public).map_err(|_| ApiError::NotFound)
}

fn refuse_user_token(headers: &HeaderMap) -> Result<(), ApiError> {
    if headers.contains_key(USER_TOKEN) { Err(ApiError::UserTokensNotConfigured) } else { Ok(()) }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match error {
            Error::RegisteredInFuture(_) => {
                let detail = "registered_at lies in the future";
                Self::fault(ValidationError::at("#/registered_at", InputCode::BadValue, detail))
            }
            Error::UnsupportedDetail(unfit) => Self::Invalid(unfit.into_iter().map(request::unfit).collect()),
            Error::TooManyTopics(limit) => {
                let detail = format!("the app would have more than {limit} topics");
                Self::fault(request::too_many_topics(limit as usize, detail))
            }
            Error::Store(error) => error.into(),
        }
    }
}
