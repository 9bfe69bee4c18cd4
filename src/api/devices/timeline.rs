//! `GET /v1/devices/{id}/deliveries`: the timeline of one phone.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{self, Path};
use serde_json::{Value, json};
use uuid::Uuid;

use super::device_id;
use crate::api::State;
use crate::api::auth::{Caller, ReadDevices};
use crate::api::delivery::DeliveryView;
use crate::api::error::ApiError;
use crate::api::query::Parameters;
use crate::domain::NotificationId;
use crate::registry::devices;
use crate::store::deliveries::timeline;

/// The latest of each notification that is on record, newest first. What waits for its first attempt is not in it.
pub(super) async fn list(
    extract::State(state): extract::State<State>,
    caller: Caller<ReadDevices>,
    mut parameters: Parameters,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let name = id.as_ref().map(|Path(id)| format!("timeline {id}")).unwrap_or_default();
    let asked = parameters.page(&name, caller.app.id, &state.installation);
    parameters.finish()?;
    let device = device_id(&state, caller.app.id, id)?;
    let before = asked.after.as_deref().and_then(|bytes| Uuid::from_slice(bytes).ok()).map(NotificationId);
    // One more than asked for tells whether there is a next page.
    let found = timeline(&state.pool, device, before, asked.limit + 1);
    let (known, found) = tokio::join!(devices::find(&state.pool, caller.app.id, device), found);
    known?.ok_or(ApiError::NotFound)?;
    let mut found = found?;
    let has_more = found.len() > asked.limit;
    found.truncate(asked.limit);
    let last = found.last().filter(|_| has_more);
    let next = last.map(|(id, _)| asked.cursor(&state.installation, id.0.as_bytes()));
    let shown = DeliveryView { app: caller.app, key: state.installation.clone() };
    let items: Vec<Value> = found
        .iter()
        .map(|(id, delivery)| {
            let mut document = shown.document(*id, delivery);
            document["notification"] = json!(id.to_string());
            document
        })
        .collect();
    Ok(Json(json!({"items": items, "next_cursor": next})))
}
