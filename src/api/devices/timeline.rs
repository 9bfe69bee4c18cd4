//! `GET /v1/devices/{id}/deliveries`: the notifications of one device.

use axum::Json;
use axum::extract;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::State;
use crate::api::auth::{Caller, ReadDevices};
use crate::api::delivery::{Delivery, DeliveryView};
use crate::api::error::{ApiError, NotFoundKind, ReadProblems};
use crate::api::path::PathId;
use crate::api::query::Parameters;
use crate::domain::NotificationId;
use crate::registry::devices;
use crate::store::deliveries::timeline;

/// A delivery in the timeline of its device.
#[derive(Serialize, ToSchema, Debug)]
pub(super) struct TimelineEntry<'a> {
    #[serde(flatten)]
    delivery: Delivery<'a>,
    /// The notification's id.
    #[schema(example = "ntf_0198a2f1c3d47e5f8a9b0c1d2e3f4a5b")]
    notification: String,
}

/// A page of a device's timeline, the newest notification first.
#[derive(Serialize, ToSchema, Debug)]
pub(super) struct Timeline<'a> {
    /// The latest state of each notification to the device.
    items: Vec<TimelineEntry<'a>>,
    /// What to send as `cursor` for the next page; null: this is the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// List the notifications of a device
///
/// Newest first. A notification that waits for its first attempt is not listed yet.
#[utoipa::path(
    get, path = "/v1/devices/{id}/deliveries", operation_id = "listDeviceDeliveries", tag = "devices",
    security(("key" = ["devices", "read"])),
    params(
        ("id" = String, Path, description = "The device's id.", example = "dev_5bf4acbbbcffe5d67fbfee43320f88a6"),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "Items of a page; 100 if left out."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page of the timeline.", body = Timeline), ReadProblems)
)]
pub(super) async fn list(
    extract::State(state): extract::State<State>,
    caller: Caller<ReadDevices>,
    mut parameters: Parameters,
    id: PathId,
) -> Result<Response, ApiError> {
    let asked = parameters.page(&format!("timeline {}", id.0), caller.app.id, &state.installation);
    parameters.finish()?;
    let device = id.device(&state.installation, caller.app.id)?;
    let before = asked.after.as_deref().and_then(|bytes| Uuid::from_slice(bytes).ok()).map(NotificationId);
    // One more than asked for tells whether there is a next page.
    let found = timeline(&state.pool, caller.app.id, device, before, asked.limit + 1);
    let (known, found) = tokio::join!(devices::find(&state.pool, caller.app.id, device), found);
    known?.ok_or(ApiError::NotFound(NotFoundKind::Id))?;
    let mut found = found?;
    let has_more = found.len() > asked.limit;
    found.truncate(asked.limit);
    let last = found.last().filter(|_| has_more);
    let next_cursor = last.map(|(id, _)| asked.cursor(&state.installation, id.0.as_bytes()));
    let view = DeliveryView { app: caller.app, key: state.installation.clone() };
    let entries = found.iter().map(|(id, delivery)| TimelineEntry {
        delivery: view.show(*id, delivery, None),
        notification: id.to_string(),
    });
    let items = entries.collect();
    Ok(Json(Timeline { items, next_cursor }).into_response())
}
