//! `GET /v1/notifications/{id}/deliveries`: what became of each device, in pages or as a stream of all.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use axum::{Json, extract};
use futures_util::TryStreamExt;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::State;
use crate::api::accept::accepts;
use crate::api::auth::{Caller, ReadNotifications};
use crate::api::delivery::{Delivery, DeliveryView};
use crate::api::error::{ApiError, DeliveryListProblems, NotFoundKind};
use crate::api::path::{NO_DEVICE_ID, PathId};
use crate::api::query::{PageRequest, Parameters};
use crate::api::schema_enums;
use crate::domain::{App, DeliveryStatus, DeviceId, InputCode, InstallationKey, NotificationId, UserId};
use crate::notifications::deliveries;
use crate::store::deliveries::{DeliveryFilter, DeliveryPosition};

/// The media type of the stream.
const NDJSON: &str = "application/x-ndjson";

/// A page of a notification's deliveries.
#[derive(Serialize, ToSchema, Debug)]
pub(super) struct DeliveryList<'a> {
    /// The deliveries of this page.
    items: Vec<Delivery<'a>>,
    /// What to send as `cursor` for the next page; null: this is the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// List the deliveries of a notification
///
/// With `Accept: application/x-ndjson` all of them come as a stream, one per line. A stream that is cut off was not all.
#[utoipa::path(
    get, path = "/v1/notifications/{id}/deliveries", operation_id = "listDeliveries", tag = "notifications",
    security(("key" = ["send", "read"])),
    params(
        ("id" = String, Path, description = "The notification's id.", example = "ntf_0198a2f1c3d47e5f8a9b0c1d2e3f4a5b"),
        ("status" = Option<Vec<schema_enums::DeliveryStatus>>, Query, description = "Only deliveries with this status.", example = json!(["accepted"])),
        ("user" = Option<Vec<String>>, Query, description = "Only devices that were addressed through this user."),
        ("device" = Option<Vec<String>>, Query, description = "Only this device."),
        ("history" = Option<bool>, Query, description = "Add the attempts at each device."),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "Items of a page; 100 if left out."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before, with the same filters."),
    ),
    responses(
        (status = 200, description = "A page of deliveries, or a stream of all.", content(
            (DeliveryList = "application/json"), (Delivery = "application/x-ndjson"),
        )),
        DeliveryListProblems,
    )
)]
pub(super) async fn list(
    extract::State(state): extract::State<State>,
    caller: Caller<ReadNotifications>,
    mut parameters: Parameters,
    id: PathId,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let filter = filter(&mut parameters, &caller.app, &state.installation);
    let has_history = parameters.flag("history");
    let asked = parameters.page(&format!("deliveries {}", id.0), caller.app.id, &state.installation);
    let from = position(&asked, &mut parameters);
    parameters.finish()?;
    let id = id.notification()?;
    if !deliveries::is_of_app(&state.pool, caller.app.id, id).await? {
        return Err(ApiError::NotFound(NotFoundKind::Id));
    }
    let app = caller.app.id;
    let view = DeliveryView { app: caller.app, key: state.installation.clone() };
    if accepts(&headers, NDJSON) {
        return Ok(stream_all(&state, view, id, filter, from, has_history));
    }
    let found = deliveries::page(&state.pool, app, id, &filter, from, asked.limit, has_history).await?;
    let items = found.items.iter().map(|delivery| view.show(id, delivery, found.attempts.as_ref())).collect();
    let next_cursor = found.next.map(|next| asked.cursor(&state.installation, &to_bytes(next)));
    Ok(Json(DeliveryList { items, next_cursor }).into_response())
}

fn filter(parameters: &mut Parameters, app: &App, key: &InstallationKey) -> DeliveryFilter {
    let statuses = parameters.choices("status", DeliveryStatus::ALL, DeliveryStatus::as_str);
    let mut users = Vec::new();
    for text in parameters.texts("user") {
        match UserId::parse(&text) {
            Some(user) => users.push(user),
            None => {
                parameters.fault("user", InputCode::BadUser, "this is no user id");
            }
        }
    }
    let devices = parameters.texts("device");
    for _ in devices.iter().filter(|text| !DeviceId::is_public_form(text)) {
        parameters.fault("device", InputCode::BadDeviceId, NO_DEVICE_ID);
    }
    // An id that is not this app's matches no delivery.
    let known = devices.iter().filter_map(|text| key.parse_device_id(app.id, text).ok()).collect();
    DeliveryFilter { statuses, users, devices: (!devices.is_empty()).then_some(known) }
}

fn position(asked: &PageRequest, parameters: &mut Parameters) -> DeliveryPosition {
    let Some(bytes) = &asked.after else { return DeliveryPosition::START };
    from_bytes(bytes).unwrap_or_else(|| {
        parameters.fault("cursor", InputCode::InvalidCursor, "this is no cursor of this list");
        DeliveryPosition::START
    })
}

fn to_bytes(position: DeliveryPosition) -> Vec<u8> {
    let (phase, row, passed) = match position {
        DeliveryPosition::Job { job, passed } => (0, job, passed),
        DeliveryPosition::Receipt { receipt, passed } => (1, receipt, passed),
    };
    [&[phase][..], &row.to_be_bytes(), &passed.to_be_bytes()].concat()
}

fn from_bytes(bytes: &[u8]) -> Option<DeliveryPosition> {
    let (phase, rest) = bytes.split_first()?;
    let (row, passed) = rest.split_first_chunk::<8>()?;
    let (row, passed) = (i64::from_be_bytes(*row), i32::from_be_bytes(passed.try_into().ok()?));
    match phase {
        0 => Some(DeliveryPosition::Job { job: row, passed }),
        1 => Some(DeliveryPosition::Receipt { receipt: row, passed }),
        _ => None,
    }
}

/// An error cuts the answer off, so that a part is not taken for all.
fn stream_all(
    state: &State,
    view: DeliveryView,
    id: NotificationId,
    filter: DeliveryFilter,
    from: DeliveryPosition,
    has_history: bool,
) -> Response {
    let (pool, permits) = (state.pool.clone(), state.stream_permits.clone());
    let pages = deliveries::pages(pool, permits, view.app.id, id, filter, from, has_history);
    let lines = pages.map_ok(move |page| {
        let mut lines = Vec::new();
        for delivery in &page.items {
            serde_json::to_writer(&mut lines, &view.show(id, delivery, page.attempts.as_ref()))
                .expect("a delivery is always writable");
            lines.push(b'\n');
        }
        lines
    });
    ([(CONTENT_TYPE, NDJSON)], Body::from_stream(lines)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::openapi::tests::query_parameters;

    #[test]
    fn the_documented_parameters_are_those_that_are_read() {
        let (key, app) = (InstallationKey::new([7; 32]), crate::api::tests::app());
        let mut parameters = Parameters::new(Vec::new());
        filter(&mut parameters, &app, &key);
        parameters.flag("history");
        parameters.page("deliveries", app.id, &key);
        assert_eq!(query_parameters("listDeliveries"), parameters.asked());
    }

    #[test]
    fn a_position_survives_its_cursor() {
        for position in [
            DeliveryPosition::START,
            DeliveryPosition::Job { job: 7, passed: 499 },
            DeliveryPosition::Receipt { receipt: i64::MAX, passed: 1 },
        ] {
            assert_eq!(from_bytes(&to_bytes(position)), Some(position));
        }
        for wrong in [&[][..], &[2; 13], &[0; 12], &[0; 14]] {
            assert_eq!(from_bytes(wrong), None);
        }
    }
}
