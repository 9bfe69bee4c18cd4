//! `GET /v1/notifications/{id}`: where a notification stands.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use axum::{Json, extract};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::unmatched::UnmatchedAnswer;
use crate::api::State;
use crate::api::auth::{Caller, ReadNotifications};
use crate::api::error::{ApiError, NotFoundKind, ReadProblems};
use crate::api::path::PathId;
use crate::api::query::Parameters;
use crate::api::schema_enums;
use crate::api::time::Timestamp;
use crate::domain::{App, DeliveryCounts, NotificationId};
use crate::notifications::status::{self, NotificationState};
use crate::store::status::HeldTime;
use crate::telemetry::trace::TracePage;

/// A notification as it stands.
#[derive(Serialize, ToSchema, Debug)]
#[schema(example = json!({
    "id": "ntf_0198a2f1c3d47e5f8a9b0c1d2e3f4a5b", "status": "done", "priority": "normal", "label": "order-updates",
    "metadata": {"order": "789"}, "created_at": "2026-11-28T09:00:00.000Z", "send_at": null,
    "expires_at": "2026-11-28T10:00:00.000Z", "started_at": "2026-11-28T09:00:00.010Z",
    "done_at": "2026-11-28T09:00:00.120Z",
    "counts": {
        "targets": 2, "pending": 0, "accepted": 2, "unknown": 0, "rejected": 0, "token_dead": 0, "expired": 0,
        "cancelled": 0
    },
    "unmatched": {"users": ["u8"], "users_total": 1, "devices": [], "devices_total": 0},
    "held": [{
        "lane": "fcm", "state": "paused", "why": "lane_paused", "from": "2026-11-28T09:00:00.000Z",
        "to": "2026-11-28T09:00:00.100Z"
    }],
    "trace_url": null
}))]
pub(super) struct Notification<'a> {
    /// The notification's id.
    id: String,
    /// `queued` until the first attempt, `done` when every device has its final outcome.
    #[schema(value_type = schema_enums::NotificationStatus)]
    status: &'static str,
    /// Its place in the queue.
    #[schema(value_type = schema_enums::Priority)]
    priority: &'static str,
    /// The sender's label.
    #[schema(required)]
    label: Option<&'a str>,
    /// The sender's own strings.
    #[schema(required, value_type = Option<BTreeMap<String, String>>)]
    metadata: Option<&'a Map<String, Value>>,
    /// When it was accepted.
    created_at: Timestamp,
    /// When it is to be sent; null: at once.
    #[schema(required)]
    send_at: Option<Timestamp>,
    /// When its time to live ends.
    expires_at: Timestamp,
    /// When its first attempt began.
    #[schema(required)]
    started_at: Option<Timestamp>,
    /// When its last device had its outcome.
    #[schema(required)]
    done_at: Option<Timestamp>,
    /// Devices by outcome.
    counts: CountsAnswer,
    /// Users and devices of the audience that were not found.
    #[schema(inline = false)]
    unmatched: UnmatchedAnswer<'a>,
    /// The times in which a lane held its devices back, the last 100 in the order in which they began.
    held: Vec<LaneHold<'a>>,
    /// A page that shows its trace (`telemetry.trace_url`); null if it is not traced, or no such page is configured.
    #[schema(required)]
    trace_url: Option<String>,
}

/// Devices of a notification by outcome.
#[derive(Serialize, ToSchema, Debug)]
#[schema(as = DeliveryCounts)]
pub(in crate::api) struct CountsAnswer {
    /// The sum of the others: the devices found so far.
    targets: u64,
    /// Without a final outcome.
    pending: u64,
    /// The provider took it.
    accepted: u64,
    /// Sent, and never answered.
    unknown: u64,
    /// Refused for this device.
    rejected: u64,
    /// The provider calls the token dead, or it was quarantined.
    token_dead: u64,
    /// Time ran out before a provider took it.
    expired: u64,
    /// Stopped before a provider took it.
    cancelled: u64,
}

/// A time in which a lane held devices of a notification back.
#[derive(Serialize, ToSchema, Debug)]
pub(super) struct LaneHold<'a> {
    /// The lane's name.
    #[schema(required, example = "apns-production")]
    lane: Option<String>,
    /// The state that the lane was in.
    #[schema(value_type = schema_enums::LaneState)]
    state: &'static str,
    /// Why: the provider's word, or Pushpost's own.
    #[schema(value_type = String, example = "InvalidProviderToken")]
    why: Cow<'a, str>,
    /// When the lane came into this state or, if later, when the notification was due.
    from: Timestamp,
    /// When the lane left this state or, if earlier, when its last device ended; null while it lasts.
    #[schema(required)]
    to: Option<Timestamp>,
}

/// Read a notification
#[utoipa::path(
    get, path = "/v1/notifications/{id}", operation_id = "getNotification", tag = "notifications",
    security(("key" = ["send", "read"])),
    params(("id" = String, Path, description = "The notification's id.", example = "ntf_0198a2f1c3d47e5f8a9b0c1d2e3f4a5b")),
    responses((status = 200, description = "The notification.", body = Notification), ReadProblems)
)]
pub(super) async fn get(
    extract::State(state): extract::State<State>,
    caller: Caller<ReadNotifications>,
    parameters: Parameters,
    id: PathId,
) -> Result<Response, ApiError> {
    parameters.finish()?;
    let id = id.notification()?;
    let found =
        status::find(&state.pool, caller.app.id, id).await?.ok_or(ApiError::NotFound(NotFoundKind::Id))?;
    Ok(Json(Notification::of(&caller.app, id, &found, &state.trace_page)).into_response())
}

impl<'a> Notification<'a> {
    pub(super) fn of(
        app: &App,
        id: NotificationId,
        state: &'a NotificationState,
        trace_page: &TracePage,
    ) -> Self {
        let NotificationState { stored, metadata, unmatched } = state;
        Self {
            id: id.to_string(),
            status: stored.status.as_str(),
            priority: stored.priority.as_str(),
            label: stored.label.as_deref(),
            metadata: metadata.as_ref(),
            created_at: Timestamp(stored.created_at),
            send_at: stored.send_at.map(Timestamp),
            expires_at: Timestamp(stored.expires_at),
            started_at: stored.started_at.map(Timestamp),
            done_at: stored.done_at.map(Timestamp),
            counts: CountsAnswer::from(&stored.counts),
            unmatched: unmatched.into(),
            held: stored.held.iter().map(|lane| LaneHold::of(app, lane)).collect(),
            trace_url: stored.trace_id.and_then(|trace| trace_page.url(trace)),
        }
    }
}

impl From<&DeliveryCounts> for CountsAnswer {
    fn from(counts: &DeliveryCounts) -> Self {
        Self {
            targets: counts.targets(),
            pending: counts.pending,
            accepted: counts.accepted,
            unknown: counts.unknown,
            rejected: counts.rejected,
            token_dead: counts.token_dead,
            expired: counts.expired,
            cancelled: counts.cancelled,
        }
    }
}

impl<'a> LaneHold<'a> {
    fn of(app: &App, held: &'a HeldTime) -> Self {
        Self {
            lane: app.lane_key(held.lane).map(|key| key.to_string()),
            state: held.state.as_str(),
            why: held.reason.as_deref().map_or_else(|| format!("lane_{}", held.state).into(), Cow::from),
            from: Timestamp(held.from),
            to: held.to.map(Timestamp),
        }
    }
}

impl From<status::Error> for ApiError {
    fn from(error: status::Error) -> Self {
        match error {
            status::Error::Store(error) => error.into(),
            status::Error::Json(error) => Self::internal(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};
    use uuid::Uuid;

    use super::*;
    use crate::api::tests::app;
    use crate::domain::{LaneId, LaneState, NotificationStatus, Priority};
    use crate::store::status::Status;

    #[test]
    fn a_status_has_every_member_even_where_there_is_nothing_to_say() {
        let status = Status {
            status: NotificationStatus::Sending,
            priority: Priority::High,
            label: Some("orders".to_owned()),
            metadata: Some(br#"{"order":"789"}"#.to_vec()),
            unmatched: None,
            trace_id: None,
            created_at: DateTime::UNIX_EPOCH,
            send_at: None,
            expires_at: DateTime::UNIX_EPOCH + TimeDelta::hours(1),
            started_at: None,
            done_at: None,
            counts: DeliveryCounts { pending: 2, accepted: 3, ..DeliveryCounts::default() },
            held: vec![HeldTime {
                lane: LaneId(1),
                state: LaneState::Suspended,
                reason: Some("InvalidProviderToken".to_owned()),
                from: DateTime::UNIX_EPOCH + TimeDelta::seconds(2),
                to: None,
            }],
        };
        let state = NotificationState::read(status).expect("as stored");
        let answer = Notification::of(&app(), NotificationId(Uuid::nil()), &state, &TracePage::default());
        let text = serde_json::to_string(&answer).expect("plain");
        insta::assert_snapshot!(
            text,
            @r#"{"id":"ntf_00000000000000000000000000000000","status":"sending","priority":"high","label":"orders","metadata":{"order":"789"},"created_at":"1970-01-01T00:00:00.000Z","send_at":null,"expires_at":"1970-01-01T01:00:00.000Z","started_at":null,"done_at":null,"counts":{"targets":5,"pending":2,"accepted":3,"unknown":0,"rejected":0,"token_dead":0,"expired":0,"cancelled":0},"unmatched":{"users":[],"users_total":0,"devices":[],"devices_total":0},"held":[{"lane":"apns-production","state":"suspended","why":"InvalidProviderToken","from":"1970-01-01T00:00:02.000Z","to":null}],"trace_url":null}"#
        );
    }
}
