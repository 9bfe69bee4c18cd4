//! `DELETE /v1/topics/{topic}`: ends every subscription to a topic.

use axum::Json;
use axum::extract;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::State;
use crate::api::auth::{Caller, ManageDevices};
use crate::api::body::NoBody;
use crate::api::error::{ApiError, NamedDeletionProblems, NotFoundKind};
use crate::api::path::PathName;
use crate::registry::topics;

/// How many subscriptions ended with a topic.
#[derive(Serialize, ToSchema, Debug)]
#[schema(example = json!({"devices": 1200, "users": 40}))]
pub(super) struct DeletedTopic {
    /// Subscriptions of devices.
    devices: u64,
    /// Subscriptions of users.
    users: u64,
}

/// Delete a topic
///
/// Ends every subscription to it. A topic without subscribers is no error. Subscriptions that are added meanwhile may stay.
/// After a problem some subscriptions may have ended; a repeat ends the rest.
#[utoipa::path(
    delete, path = "/v1/topics/{topic}", operation_id = "deleteTopic", tag = "topics",
    security(("key" = ["devices"])),
    params(("topic" = String, Path, description = "The topic's name.", example = "news")),
    responses(
        (status = 200, description = "How many subscriptions ended.", body = DeletedTopic),
        NamedDeletionProblems,
    )
)]
pub(super) async fn delete(
    extract::State(state): extract::State<State>,
    caller: Caller<ManageDevices>,
    name: PathName,
    NoBody(mut parameters): NoBody,
) -> Result<Response, ApiError> {
    let topic = name.topic(&mut parameters);
    parameters.finish()?;
    let topic = topic.ok_or(ApiError::NotFound(NotFoundKind::Id))?;
    let ended = topics::delete(&state.pool, caller.app.id, &topic).await?;
    Ok(Json(DeletedTopic { devices: ended.devices, users: ended.users }).into_response())
}
