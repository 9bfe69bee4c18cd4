//! `/v1/admin/lanes`: whether each lane sends, why not, and the operator's word on it.

use std::time::Duration;

use axum::Json;
use axum::extract;
use serde_json::{Value, json};
use sqlx::PgConnection;
use tokio::time::{Instant, sleep};

use crate::api::State;
use crate::api::auth::{Administer, Caller};
use crate::api::error::ApiError;
use crate::api::path::PathPart;
use crate::api::query::Parameters;
use crate::api::time::rfc3339;
use crate::domain::{App, LaneId, LaneKey, LaneState};
use crate::store;
use crate::store::lanes::Seen;

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
    let seen = store::lanes::seen(&mut conn, caller.app.id).await?;
    let items: Vec<Value> = seen.iter().filter_map(|seen| document(&caller.app, seen)).collect();
    Ok(Json(json!({"items": items, "next_cursor": null})))
}

/// `POST …/pause`: once it is answered, no attempt begins any more.
pub(super) async fn pause(
    extract::State(state): extract::State<State>,
    caller: Caller<Administer>,
    PathPart(name): PathPart,
    parameters: Parameters,
) -> Result<Json<Value>, ApiError> {
    parameters.finish()?;
    let lane = find(&caller.app, &name)?;
    let mut conn = state.pool.acquire().await.map_err(store::Error::from)?;
    store::lanes::pause(&mut conn, lane).await?;
    state.waker.decided();
    let asked = Instant::now();
    while !store::lanes::is_paused_everywhere(&mut conn, lane).await? && asked.elapsed() < UNTIL_STOPPED {
        sleep(LOOK).await;
    }
    tracing::info!(app = caller.app.name, lane = name, key = %caller.key, "paused by an admin");
    answer(&mut conn, &caller.app, lane).await
}

/// `POST …/resume`: ends a pause, a suspension and a brake; what waits is tried at once.
pub(super) async fn resume(
    extract::State(state): extract::State<State>,
    caller: Caller<Administer>,
    PathPart(name): PathPart,
    parameters: Parameters,
) -> Result<Json<Value>, ApiError> {
    parameters.finish()?;
    let lane = find(&caller.app, &name)?;
    let mut conn = state.pool.acquire().await.map_err(store::Error::from)?;
    store::lanes::start(&mut conn, lane).await?;
    state.waker.decided();
    tracing::info!(app = caller.app.name, lane = name, key = %caller.key, "resumed by an admin");
    answer(&mut conn, &caller.app, lane).await
}

/// `POST …/retry`: what waits for another attempt is due now, and a lane that waits is tried now.
pub(super) async fn retry(
    extract::State(state): extract::State<State>,
    caller: Caller<Administer>,
    PathPart(name): PathPart,
    parameters: Parameters,
) -> Result<Json<Value>, ApiError> {
    parameters.finish()?;
    let lane = find(&caller.app, &name)?;
    let mut conn = state.pool.acquire().await.map_err(store::Error::from)?;
    let jobs = store::lanes::try_now(&mut conn, lane).await?;
    state.waker.decided();
    tracing::info!(app = caller.app.name, lane = name, key = %caller.key, jobs, "tried at an admin's word");
    answer(&mut conn, &caller.app, lane).await
}

/// A lane that the app has no credentials for is none.
fn find(app: &App, name: &str) -> Result<LaneId, ApiError> {
    let lane = LaneKey::parse(name).map(|key| app.lane(key)).filter(|lane| lane.configured);
    lane.map(|lane| lane.id).ok_or(ApiError::NotFound)
}

async fn answer(conn: &mut PgConnection, app: &App, lane: LaneId) -> Result<Json<Value>, ApiError> {
    let seen = store::lanes::seen(conn, app.id).await?;
    let document = seen.iter().find(|seen| seen.lane == lane).and_then(|seen| document(app, seen));
    document.map(Json).ok_or(ApiError::NotFound)
}

fn document(app: &App, seen: &Seen) -> Option<Value> {
    let key = app.lane_key(seen.lane).filter(|key| app.lane(*key).configured)?;
    let credential = seen.credential.as_deref().map(|fingerprint| {
        let id: String = fingerprint.iter().take(CREDENTIAL_ID).map(|byte| format!("{byte:02x}")).collect();
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
