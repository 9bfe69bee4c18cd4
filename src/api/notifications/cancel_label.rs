//! `POST /v1/notifications/cancel`: stops all notifications of a label.

use axum::Json;
use axum::extract;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::label;
use crate::api::State;
use crate::api::auth::{Caller, SendNotifications};
use crate::api::body::JsonBody;
use crate::api::error::{ApiError, CancelLabelProblems};
use crate::api::json;
use crate::api::query::Parameters;
use crate::api::schema_enums;
use crate::queue::cancellation;

/// Which notifications are cancelled.
#[expect(dead_code, reason = "this type only describes; nothing constructs it")]
#[derive(ToSchema, Debug)]
#[schema(example = json!({"label": "spring-sale"}))]
pub(in crate::api) struct CancelRequest {
    /// The label that they were sent with.
    #[schema(value_type = schema_enums::Label)]
    label: String,
}

/// How much was stopped.
#[derive(Serialize, ToSchema, Debug)]
#[schema(example = json!({"notifications": 3, "devices": 1200}))]
pub(super) struct CancelledNotifications {
    /// Notifications that were not done, and were not cancelled before.
    notifications: u64,
    /// Devices that waited. Those that a lane holds are stopped within a second and not counted here.
    devices: u64,
}

/// Cancel the notifications of a label
///
/// Stops what no provider has yet of each. A repeat is harmless, and stops what an earlier request that was cut off has left.
#[utoipa::path(
    post, path = "/v1/notifications/cancel", operation_id = "cancelNotifications", tag = "notifications",
    security(("key" = ["send"])),
    request_body = CancelRequest,
    responses((status = 200, description = "How much was stopped.", body = CancelledNotifications), CancelLabelProblems)
)]
pub(super) async fn cancel(
    extract::State(state): extract::State<State>,
    caller: Caller<SendNotifications>,
    parameters: Parameters,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let label = parameters.and(read(body))?;
    let stopped = cancellation::cancel_label(&state.pool, caller.app.id, &label).await?;
    let answer = CancelledNotifications { notifications: stopped.notifications, devices: stopped.devices };
    Ok(Json(answer).into_response())
}

/// Reads the label of a body.
///
/// # Errors
/// All faults of the body.
pub(super) fn read(body: Vec<u8>) -> Result<String, ApiError> {
    let read = json::read(body, |mut fields| {
        fields.require("label");
        let label = label::read(&mut fields);
        fields.finish();
        label
    });
    Ok(read?)
}
