//! `GET /v1/notifications/{id}/why`: why a push was late.

use axum::response::{IntoResponse, Response};
use axum::{Json, extract};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::State;
use crate::api::auth::{Caller, ReadNotifications};
use crate::api::error::{ApiError, NotFoundKind, WhyProblems};
use crate::api::path::{NO_DEVICE_ID, PathId};
use crate::api::query::Parameters;
use crate::api::schema_enums;
use crate::api::time::Timestamp;
use crate::domain::{App, DeliveryStatus, DeviceId, InputCode, InstallationKey, NotificationId};
use crate::notifications::why::{self, Segment, Why};

/// Why a push was late: what the time from the acceptance of a notification to the end of one device went to.
#[derive(Serialize, ToSchema, Debug)]
#[schema(example = json!({
    "notification": "ntf_0198a2f1c3d47e5f8a9b0c1d2e3f4a5b", "device": "dev_5bf4acbbbcffe5d67fbfee43320f88a6",
    "status": "accepted", "created_at": "2026-11-28T09:00:00.000Z", "due_at": "2026-11-28T09:00:00.000Z",
    "ended_at": "2026-11-28T09:00:12.520Z", "total_seconds": 12.52, "precision": "device",
    "segments": [{
        "cause": "lane_throttled", "from": "2026-11-28T09:00:00.000Z", "to": "2026-11-28T09:00:12.400Z",
        "seconds": 12.4, "lane": "fcm", "attempt": null, "reason": "RESOURCE_EXHAUSTED",
        "action": "Compare messages_per_minute with the project's quota, or ask for a higher quota; the lane tries again by itself (docs/runbook.md#lane-throttled)"
    }, {
        "cause": "attempt", "from": "2026-11-28T09:00:12.400Z", "to": "2026-11-28T09:00:12.520Z", "seconds": 0.12,
        "lane": "fcm", "attempt": 1, "reason": null, "action": null
    }],
    "summary": "Waited 12.4 s: lane fcm was throttled (RESOURCE_EXHAUSTED). Then accepted at attempt 1.",
    "trace_url": "https://grafana.example.com/explore?trace=4bf92f3577b34da6a3ce929d0e0e4736"
}))]
pub(super) struct WhyAnswer<'a> {
    /// The notification's id.
    notification: String,
    /// The device's id; null if the device was erased, if the token was rejected (`on_bad_token`), if the audience is still being
    /// found, or if no device was found.
    #[schema(required)]
    device: Option<String>,
    /// What became of the device, or `pending`; null if the notification has ended and no device was found.
    #[schema(required, value_type = Option<schema_enums::DeliveryStatus>)]
    status: Option<&'static str>,
    /// When the notification was accepted.
    created_at: Timestamp,
    /// When it was due: `send_at`, or when it was accepted.
    due_at: Timestamp,
    /// When the device ended; null while it waits.
    #[schema(required)]
    ended_at: Option<Timestamp>,
    /// Seconds from `created_at` to `ended_at`, or to now: the sum of all segments.
    total_seconds: f64,
    /// `receipt` if the device was recorded together with others: then the times of attempts are those of all of them.
    #[schema(value_type = schema_enums::Precision)]
    precision: &'static str,
    /// At least one. Each begins where the one before ends.
    segments: Vec<SegmentAnswer<'a>>,
    /// One sentence per segment.
    summary: &'a str,
    /// A page that shows the notification's trace (`telemetry.trace_url`); null if the notification is not traced, or no such page
    /// is configured.
    #[schema(required)]
    trace_url: Option<String>,
}

/// A part of a device's time, with one cause.
#[derive(Serialize, ToSchema, Debug)]
#[schema(as = WhySegment, example = json!({
    "cause": "queue", "from": "2026-11-28T09:00:00.000Z", "to": "2026-11-28T09:00:00.010Z", "seconds": 0.01, "lane": "fcm",
    "attempt": null, "reason": null, "action": null
}))]
pub(super) struct SegmentAnswer<'a> {
    /// What the time went to. `queue`: the device could be sent and the lane was running, but had no room yet. `attempt`: the
    /// provider had it, or its outcome was being recorded. `backoff`: the pause after an attempt. `lane_…`: the lane was stopped.
    #[schema(value_type = schema_enums::DelayCause)]
    cause: &'static str,
    /// When it began.
    from: Timestamp,
    /// When it ended; of the last segment of a device that waits: now.
    to: Timestamp,
    /// From `from` to `to`.
    seconds: f64,
    /// The device's lane; null before it had one, or if the lane is not configured any more.
    #[schema(required)]
    lane: Option<String>,
    /// Which attempt it was, or which one the back-off follows.
    #[schema(required)]
    attempt: Option<u16>,
    /// What the provider said about the device, or about the lane.
    #[schema(required)]
    reason: Option<&'a str>,
    /// What an operator can do; null: nothing.
    #[schema(required)]
    action: Option<&'a str>,
}

/// Tell why a push was late
///
/// Without `device`: of the device that has waited longest, or else of the one that ended last.
#[utoipa::path(
    get, path = "/v1/notifications/{id}/why", operation_id = "getNotificationWhy", tag = "notifications",
    security(("key" = ["send", "read"])),
    params(
        ("id" = String, Path, description = "The notification's id.", example = "ntf_0198a2f1c3d47e5f8a9b0c1d2e3f4a5b"),
        ("device" = Option<String>, Query, description = "The device."),
    ),
    responses((status = 200, description = "What the time went to.", body = WhyAnswer), WhyProblems)
)]
pub(super) async fn why(
    extract::State(state): extract::State<State>,
    caller: Caller<ReadNotifications>,
    mut parameters: Parameters,
    id: PathId,
) -> Result<Response, ApiError> {
    let device = device(&mut parameters);
    parameters.finish()?;
    let id = id.notification()?;
    let app = &caller.app;
    let device = device.map(|text| state.installation.parse_device_id(app.id, &text)).transpose();
    // An id that is not this app's is the id of no device of the notification.
    let found = match device {
        Ok(device) => why::find(&state.observe, app, id, device).await?,
        Err(_) => None,
    };
    let Some(found) = found else {
        let is_known = why::is_of_app(&state.observe, app.id, id).await?;
        let missing = if is_known { NotFoundKind::DeviceOfNotification } else { NotFoundKind::Id };
        return Err(ApiError::NotFound(missing));
    };
    let trace_url = found.trace_id.and_then(|trace| state.trace_page.url(trace));
    Ok(Json(WhyAnswer::of(app, &state.installation, id, &found, trace_url)).into_response())
}

/// The device that is asked for, as it is written.
fn device(parameters: &mut Parameters) -> Option<String> {
    let text = parameters.text("device")?;
    if !DeviceId::is_public_form(&text) {
        parameters.fault("device", InputCode::BadDeviceId, NO_DEVICE_ID);
    }
    Some(text)
}

impl<'a> WhyAnswer<'a> {
    fn of(
        app: &App,
        key: &InstallationKey,
        id: NotificationId,
        why: &'a Why,
        trace_url: Option<String>,
    ) -> Self {
        Self {
            notification: id.to_string(),
            device: why.device.map(|device| key.device_id(app.id, device)),
            status: why.status.map(DeliveryStatus::as_str),
            created_at: Timestamp(why.created_at),
            due_at: Timestamp(why.due_at),
            ended_at: why.ended_at.map(Timestamp),
            total_seconds: why.total.as_seconds_f64(),
            precision: why.precision.as_str(),
            segments: why.segments.iter().map(SegmentAnswer::of).collect(),
            summary: &why.summary,
            trace_url,
        }
    }
}

impl<'a> SegmentAnswer<'a> {
    fn of(segment: &'a Segment) -> Self {
        Self {
            cause: segment.cause.as_str(),
            from: Timestamp(segment.from),
            to: Timestamp(segment.to),
            seconds: segment.duration().as_seconds_f64(),
            lane: segment.lane.map(|lane| lane.to_string()),
            attempt: segment.attempt,
            reason: segment.reason.as_deref(),
            action: segment.action.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::openapi::tests::query_parameters;

    #[test]
    fn the_documented_parameters_are_those_that_are_read() {
        let mut parameters = Parameters::new(Vec::new());
        device(&mut parameters);
        assert_eq!(query_parameters("getNotificationWhy"), parameters.asked());
    }
}
