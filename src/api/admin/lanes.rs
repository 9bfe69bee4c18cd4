//! `/v1/admin/lanes`: whether each lane sends, why not, and the operator's command on it.

use std::time::Duration;

use axum::Json;
use axum::extract;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::api::State;
use crate::api::auth::{Administer, Caller};
use crate::api::error::ApiError;
use crate::api::path::LaneName;
use crate::api::query::Parameters;
use crate::api::time::rfc3339;
use crate::domain::{App, LaneId, LaneKey, LaneState};
use crate::store;
use crate::store::Session;
use crate::store::lanes::LaneSummary;

/// A pause is answered once every node has stopped, or after this time: a node that has not said so by then is cut off
/// from Postgres, and sends no more for want of a beat.
const UNTIL_STOPPED: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(25);
/// A credential is named by so many bytes of its fingerprint.
const CREDENTIAL_ID: usize = 8;

/// `GET /v1/admin/lanes`: those that the app has credentials for.
pub(super) async fn list(
    extract::State(state): extract::State<State>,
    caller: Caller<Administer>,
    parameters: Parameters,
) -> Result<Json<Value>, ApiError> {
    parameters.finish()?;
    let mut conn = state.pool.acquire().await.map_err(store::Error::from)?;
    let seen = store::lanes::summaries(&mut conn, caller.app.id).await?;
    let items: Vec<Value> = seen.iter().filter_map(|seen| document(&caller.app, seen)).collect();
    Ok(Json(json!({"items": items, "next_cursor": null})))
}

/// What an operator may say of a lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LaneCommand {
    /// Once it is answered, no attempt begins any more.
    Pause,
    /// Ends a pause, a suspension and a brake; what waits is tried at once.
    Resume,
    /// What waits for another attempt is due now, and a lane that waits is tried now.
    Retry,
}

/// `POST /v1/admin/lanes/{lane}/pause`, `resume`, `retry`.
pub(super) async fn decide(
    command: LaneCommand,
    extract::State(state): extract::State<State>,
    caller: Caller<Administer>,
    LaneName(name): LaneName,
    parameters: Parameters,
) -> Result<Json<Value>, ApiError> {
    parameters.finish()?;
    let lane = find(&caller.app, &name)?;
    let mut conn = state.pool.acquire().await.map_err(store::Error::from)?;
    match command {
        LaneCommand::Pause => store::lanes::pause(&mut conn, lane).await?,
        LaneCommand::Resume => store::lanes::clear_stops(&mut conn, lane).await?,
        LaneCommand::Retry => _ = store::lanes::request_retry(&mut conn, lane).await?,
    }
    state.notifier.notify_decision();
    if command == LaneCommand::Pause {
        until_stopped(&mut conn, lane).await?;
    }
    tracing::info!(app = caller.app.name, lane = name, key = %caller.key, ?command, "an admin's command on a lane");
    let seen = store::lanes::summaries(&mut conn, caller.app.id).await?;
    let document = seen.iter().find(|seen| seen.lane == lane).and_then(|seen| document(&caller.app, seen));
    document.map(Json).ok_or(ApiError::NotFound)
}

async fn until_stopped(conn: &mut Session, lane: LaneId) -> Result<(), store::Error> {
    let asked = Instant::now();
    while !store::lanes::is_paused_everywhere(conn, lane).await? && asked.elapsed() < UNTIL_STOPPED {
        sleep(LOOK).await;
    }
    Ok(())
}

/// A lane that the app has no credentials for is none, and so is another app's. The app may stand before the name.
fn find(app: &App, name: &str) -> Result<LaneId, ApiError> {
    let name = match name.split_once('/') {
        Some((named, lane)) if named == app.name => lane,
        Some(_) => return Err(ApiError::NotFound),
        None => name,
    };
    let lane = LaneKey::parse(name).map(|key| app.lane(key)).filter(|lane| lane.configured);
    lane.map(|lane| lane.id).ok_or(ApiError::NotFound)
}

fn document(app: &App, seen: &LaneSummary) -> Option<Value> {
    let key = app.lane_key(seen.lane).filter(|key| app.lane(*key).configured)?;
    let credential = seen.credential.as_deref().map(|fingerprint| {
        let id = hex::encode(&fingerprint[..fingerprint.len().min(CREDENTIAL_ID)]);
        json!({"id": id, "ok": seen.credential_ok, "checked_at": seen.checked_at.map(rfc3339)})
    });
    let stopped = seen.state != LaneState::Running;
    Some(json!({
        "lane": key.to_string(),
        "platform": key.platform().as_str(),
        "environment": key.environment().map(|environment| environment.as_str()),
        "state": seen.state.as_str(),
        "why": seen.why.as_deref().filter(|_| stopped),
        "since": seen.since.map(rfc3339),
        "depth": seen.depth,
        "oldest_seconds": seen.oldest_seconds,
        "in_flight": seen.in_flight,
        "rate": (seen.rate * 10.0).round() / 10.0,
        "connections": seen.connections,
        "credential": credential,
        "pruning": {"state": if seen.braked.is_some() { "braked" } else { "on" }, "why": seen.braked},
    }))
}
