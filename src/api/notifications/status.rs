//! `GET /v1/notifications/{id}`: where a notification stands.

use axum::{Json, extract};
use serde_json::{Value, json};

use super::unmatched::Unmatched;
use crate::api::State;
use crate::api::auth::{Caller, ReadNotifications};
use crate::api::error::ApiError;
use crate::api::path::PathPart;
use crate::api::query::Parameters;
use crate::api::time::rfc3339;
use crate::domain::{App, DeliveryCounts, NotificationId, exact_json};
use crate::store;
use crate::store::status::{HeldLane, Status};

/// The handler.
pub(super) async fn get(
    extract::State(state): extract::State<State>,
    caller: Caller<ReadNotifications>,
    parameters: Parameters,
    PathPart(id): PathPart,
) -> Result<Json<Value>, ApiError> {
    parameters.finish()?;
    let id = NotificationId::parse(&id).map_err(|_| ApiError::NotFound)?;
    let mut conn = state.pool.acquire().await.map_err(store::Error::from)?;
    let status = store::status::read(&mut conn, caller.app.id, id).await?.ok_or(ApiError::NotFound)?;
    document(&caller.app, id, &status).map(Json)
}

fn document(app: &App, id: NotificationId, status: &Status) -> Result<Value, ApiError> {
    let unmatched = Unmatched::read(status.unmatched.as_deref()).map_err(ApiError::internal)?;
    let metadata =
        status.metadata.as_deref().map(exact_json::read).transpose().map_err(ApiError::internal)?;
    Ok(json!({
        "id": id.to_string(),
        "status": status.status.as_str(),
        "priority": status.priority.as_str(),
        "label": status.label,
        "metadata": metadata,
        "created_at": rfc3339(status.created_at),
        "send_at": status.send_at.map(rfc3339),
        "expires_at": rfc3339(status.expires_at),
        "started_at": status.started_at.map(rfc3339),
        "done_at": status.done_at.map(rfc3339),
        "counts": counts(&status.counts),
        "unmatched": unmatched.document(),
        "held": status.held.iter().map(|lane| held(app, lane)).collect::<Vec<_>>(),
    }))
}

fn counts(counts: &DeliveryCounts) -> Value {
    json!({
        "targets": counts.targets(),
        "pending": counts.pending,
        "accepted": counts.accepted,
        "unknown": counts.unknown,
        "rejected": counts.rejected,
        "token_dead": counts.token_dead,
        "expired": counts.expired,
        "cancelled": counts.cancelled,
    })
}

fn held(app: &App, held: &HeldLane) -> Value {
    let ours = format!("lane_{}", held.state);
    let why = held.reason.as_deref().unwrap_or(&ours);
    json!({"lane": app.lane_key(held.lane).map(|key| key.to_string()), "state": held.state.as_str(), "why": why})
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};
    use uuid::Uuid;

    use super::*;
    use crate::api::tests::app;
    use crate::domain::{LaneId, LaneState, NotificationStatus, Priority};

    #[test]
    fn a_status_has_every_member_even_where_there_is_nothing_to_say() {
        let status = Status {
            status: NotificationStatus::Sending,
            priority: Priority::High,
            label: Some("orders".to_owned()),
            metadata: Some(br#"{"order":"789"}"#.to_vec()),
            unmatched: None,
            created_at: DateTime::UNIX_EPOCH,
            send_at: None,
            expires_at: DateTime::UNIX_EPOCH + TimeDelta::hours(1),
            started_at: None,
            done_at: None,
            counts: DeliveryCounts { pending: 2, accepted: 3, ..DeliveryCounts::default() },
            held: vec![HeldLane {
                lane: LaneId(1),
                state: LaneState::Suspended,
                reason: Some("InvalidProviderToken".to_owned()),
            }],
        };
        let document = document(&app(), NotificationId(Uuid::nil()), &status).expect("as stored");
        let text = serde_json::to_string(&document).expect("plain");
        insta::assert_snapshot!(
            text,
            @r#"{"id":"ntf_00000000000000000000000000000000","status":"sending","priority":"high","label":"orders","metadata":{"order":"789"},"created_at":"1970-01-01T00:00:00.000Z","send_at":null,"expires_at":"1970-01-01T01:00:00.000Z","started_at":null,"done_at":null,"counts":{"targets":5,"pending":2,"accepted":3,"unknown":0,"rejected":0,"token_dead":0,"expired":0,"cancelled":0},"unmatched":{"users":[],"users_total":0,"devices":[],"devices_total":0},"held":[{"lane":"apns-production","state":"suspended","why":"InvalidProviderToken"}]}"#
        );
    }
}
