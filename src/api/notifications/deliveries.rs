//! `GET /v1/notifications/{id}/deliveries`: what became of each device, in pages or as a stream of all.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use axum::{Json, extract};
use futures_util::stream;
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};
use serde_json::json;

use crate::api::State;
use crate::api::auth::{Caller, ReadNotifications};
use crate::api::delivery::DeliveryView;
use crate::api::error::ApiError;
use crate::api::path::{NO_DEVICE_ID, PathPart};
use crate::api::query::{PageRequest, Parameters};
use crate::domain::{App, DeliveryStatus, DeviceId, InputCode, InstallationKey, NotificationId, UserId};
use crate::store;
use crate::store::deliveries::{DeliveryFilter, DeliveryPosition, page};

/// The media type of the stream.
const NDJSON: &str = "application/x-ndjson";
/// Deliveries read at a time for the stream.
const STREAM_PAGE: usize = 1000;

/// The handler.
pub(super) async fn get(
    extract::State(state): extract::State<State>,
    caller: Caller<ReadNotifications>,
    mut parameters: Parameters,
    PathPart(id): PathPart,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let filter = filter(&mut parameters, &caller.app, &state.installation);
    let part = parameters.page(&format!("deliveries {id}"), caller.app.id, &state.installation);
    let from = position(&part, &mut parameters);
    parameters.finish()?;
    let id = NotificationId::parse(&id).map_err(|_| ApiError::NotFound)?;
    if !store::deliveries::exists(&state.pool, caller.app.id, id).await? {
        return Err(ApiError::NotFound);
    }
    let shown = DeliveryView { app: caller.app, key: state.installation.clone() };
    if wants_stream(&headers) {
        return Ok(stream_all(state, shown, id, filter, from));
    }
    let found = page(&state.pool, id, &filter, from, part.limit).await?;
    let items: Vec<_> = found.items.iter().map(|delivery| shown.document(id, delivery)).collect();
    let next = found.next.map(|next| part.cursor(&state.installation, &to_bytes(next)));
    Ok(Json(json!({"items": items, "next_cursor": next})).into_response())
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
    // An id that is none of this app's is nobody's, and no deliveries are.
    let known = devices.iter().filter_map(|text| key.parse_device_id(app.id, text).ok()).collect();
    DeliveryFilter { statuses, users, devices: (!devices.is_empty()).then_some(known) }
}

fn position(part: &PageRequest, parameters: &mut Parameters) -> DeliveryPosition {
    let Some(bytes) = &part.after else { return DeliveryPosition::START };
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

fn wants_stream(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|range| {
        range.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case(NDJSON))
    })
}

/// PageRequest by page as fast as the client reads; no connection of the pool is held in between. An error cuts the answer
/// off, so that what is not all is not taken for all.
fn stream_all(
    state: State,
    shown: DeliveryView,
    id: NotificationId,
    filter: DeliveryFilter,
    from: DeliveryPosition,
) -> Response {
    let pages = stream::try_unfold(Some(from), move |from| {
        let found = from.map(|from| (state.pool.clone(), filter.clone(), from));
        let shown = shown.clone();
        async move {
            let Some((pool, filter, from)) = found else { return Ok(None) };
            let found = page(&pool, id, &filter, from, STREAM_PAGE).await.inspect_err(|error| {
                tracing::error!(%error, notification = %id, "a stream of deliveries was cut off");
            })?;
            let lines: String =
                found.items.iter().map(|delivery| format!("{}\n", shown.document(id, delivery))).collect();
            Ok::<_, store::Error>(Some((lines, found.next)))
        }
    });
    ([(CONTENT_TYPE, NDJSON)], Body::from_stream(pages)).into_response()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

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

    #[test]
    fn the_stream_is_asked_for_by_its_media_type() {
        for (value, expected) in [
            ("application/x-ndjson", true),
            ("application/json;q=0.5, Application/X-NDJSON; q=1", true),
            ("application/json", false),
            ("*/*", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(value));
            assert_eq!(wants_stream(&headers), expected, "{value}");
        }
        assert!(!wants_stream(&HeaderMap::new()));
    }
}
