//! `/v1/admin/lanes`: whether each lane sends, why not, and an operator's commands to lanes.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use axum::{Json, extract};
use serde::Serialize;
use tokio::time::{Instant, sleep};
use utoipa::ToSchema;

use crate::api::State;
use crate::api::auth::{Administer, Caller};
use crate::api::body::NoBody;
use crate::api::error::{ApiError, ChangeProblems, ListProblems, NotFoundKind};
use crate::api::path::LaneName;
use crate::api::query::Parameters;
use crate::api::schema_enums;
use crate::api::time::Timestamp;
use crate::domain::{App, LaneId, LaneState};
use crate::store;
use crate::store::Session;
use crate::store::lanes::LaneSummary;

/// How long a pause waits for every node to stop. A node that has not stopped by then is cut off from Postgres, and its
/// own heartbeat ends its sending.
const PAUSE_WAIT_MAX: Duration = Duration::from_secs(5);
/// How often a pause asks whether every node has stopped.
const POLL_INTERVAL: Duration = Duration::from_millis(25);
/// How many bytes of its fingerprint name a credential.
const CREDENTIAL_ID_BYTES: usize = 8;

/// A lane: one app's connection to one provider and environment.
#[derive(Serialize, ToSchema, Debug)]
#[schema(example = json!({
    "lane": "apns-production", "platform": "apns", "environment": "production", "state": "running", "why": null,
    "since": "2026-11-28T09:00:00.000Z", "depth": 120, "oldest_seconds": 0.4,
    "estimated": false, "counted_seconds_ago": 7.2, "in_flight": 80, "rate": 812.5,
    "connections": 2,
    "credential": {"id": "7f83b1657ff1fc53", "ok": true, "checked_at": "2026-11-28T09:00:00.000Z"},
    "pruning": {"state": "on", "why": null}
}))]
pub(in crate::api) struct Lane<'a> {
    /// The lane's name, as paths take it.
    lane: String,
    /// The service that it sends to.
    #[schema(value_type = schema_enums::Platform)]
    platform: &'static str,
    /// APNs's environment; null for FCM.
    #[schema(required, value_type = Option<schema_enums::Environment>)]
    environment: Option<&'static str>,
    /// The worst that operators decided or nodes see; `throttled` and `broken` only while no node sends. `unknown`: no node has
    /// read the lane since its start.
    #[schema(value_type = schema_enums::LaneState)]
    state: &'static str,
    /// Why the lane is not running.
    #[schema(required)]
    why: Option<&'a str>,
    /// Since when the lane is in this state.
    #[schema(required)]
    since: Option<Timestamp>,
    /// Devices that waited or were in flight when the leader counted last; null: it has not counted since the lane was added.
    #[schema(required)]
    depth: Option<i64>,
    /// For how long the device that waited longest had been due then, in seconds; null: none was due.
    #[schema(required)]
    oldest_seconds: Option<f64>,
    /// `depth` is an estimate, because more than 50,000 jobs waited; `oldest_seconds` is exact.
    estimated: bool,
    /// How long ago the leader counted. It counts every 15 s, and stores figures that stay the same every minute.
    #[schema(required)]
    counted_seconds_ago: Option<f64>,
    /// Requests at the provider.
    in_flight: i64,
    /// Answers per second.
    rate: f64,
    /// Open connections to the provider.
    connections: i64,
    /// The credential in use; null if no node has reported one.
    #[schema(required)]
    credential: Option<LaneCredential>,
    /// Whether dead tokens are pruned.
    pruning: LanePruning<'a>,
}

/// A lane's credential.
#[derive(Serialize, ToSchema, Debug)]
pub(super) struct LaneCredential {
    /// The first bytes of its fingerprint, in hex.
    id: String,
    /// Did the provider take it last? Null: it has not been tried.
    #[schema(required)]
    ok: Option<bool>,
    /// When the provider last said so.
    #[schema(required)]
    checked_at: Option<Timestamp>,
}

/// Whether a lane prunes the tokens that its provider calls dead.
#[derive(Serialize, ToSchema, Debug)]
pub(super) struct LanePruning<'a> {
    /// `braked`: too many tokens were called dead at once, so none is pruned.
    #[schema(value_type = schema_enums::PruningState)]
    state: &'static str,
    /// The verdict of which there was too much.
    #[schema(required)]
    why: Option<&'a str>,
}

/// The lanes of an app.
#[derive(Serialize, ToSchema, Debug)]
pub(super) struct LaneList<'a> {
    /// The lanes that have credentials.
    items: Vec<Lane<'a>>,
    /// Always null: all lanes are on one page.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// List lanes
///
/// The lanes that the app has credentials for. Figures are summed over the nodes. What waits is what the leader counted last.
#[utoipa::path(
    get, path = "/v1/admin/lanes", operation_id = "listLanes", tag = "admin",
    security(("key" = ["admin"])),
    responses((status = 200, description = "All lanes.", body = LaneList), ListProblems)
)]
pub(super) async fn list(
    extract::State(state): extract::State<State>,
    caller: Caller<Administer>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    parameters.finish()?;
    let mut conn = state.pool.acquire().await.map_err(store::Error::from)?;
    let seen = store::lanes::summaries(&mut conn, caller.app.id).await?;
    let items = seen.iter().filter_map(|seen| Lane::of(&caller.app, seen)).collect();
    Ok(Json(LaneList { items, next_cursor: None }).into_response())
}

/// What an operator may tell a lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum LaneCommand {
    /// Once it is answered, no attempt begins any more.
    Pause,
    /// Ends a pause, a suspension and a brake; devices that wait are tried at once.
    Resume,
    /// Devices that wait for another attempt are due now, and a lane that waits is tried now.
    Retry,
}

/// Pause a lane
///
/// Once it is answered, no attempt begins any more. The app's name may stand before the lane's: `shop/fcm`.
#[utoipa::path(
    post, path = "/v1/admin/lanes/{lane}/pause", operation_id = "pauseLane", tag = "admin",
    security(("key" = ["admin"])),
    params(("lane" = String, Path, description = "The lane's name.", example = "apns-production")),
    responses((status = 200, description = "The lane as it is now.", body = Lane), ChangeProblems)
)]
pub(super) async fn pause(
    state: extract::State<State>,
    caller: Caller<Administer>,
    lane: LaneName,
    NoBody(parameters): NoBody,
) -> Result<Response, ApiError> {
    command(LaneCommand::Pause, state, caller, lane, parameters).await
}

/// Resume a lane
///
/// Ends a pause, a suspension and a brake; devices that wait are tried at once. The app's name may stand before the lane's.
#[utoipa::path(
    post, path = "/v1/admin/lanes/{lane}/resume", operation_id = "resumeLane", tag = "admin",
    security(("key" = ["admin"])),
    params(("lane" = String, Path, description = "The lane's name.", example = "apns-production")),
    responses((status = 200, description = "The lane as it is now.", body = Lane), ChangeProblems)
)]
pub(super) async fn resume(
    state: extract::State<State>,
    caller: Caller<Administer>,
    lane: LaneName,
    NoBody(parameters): NoBody,
) -> Result<Response, ApiError> {
    command(LaneCommand::Resume, state, caller, lane, parameters).await
}

/// Retry a lane
///
/// Devices that wait for another attempt are due now, and a lane that waits is tried now. The app's name may stand before
/// the lane's.
#[utoipa::path(
    post, path = "/v1/admin/lanes/{lane}/retry", operation_id = "retryLane", tag = "admin",
    security(("key" = ["admin"])),
    params(("lane" = String, Path, description = "The lane's name.", example = "apns-production")),
    responses((status = 200, description = "The lane as it is now.", body = Lane), ChangeProblems)
)]
pub(super) async fn retry(
    state: extract::State<State>,
    caller: Caller<Administer>,
    lane: LaneName,
    NoBody(parameters): NoBody,
) -> Result<Response, ApiError> {
    command(LaneCommand::Retry, state, caller, lane, parameters).await
}

async fn command(
    command: LaneCommand,
    extract::State(state): extract::State<State>,
    caller: Caller<Administer>,
    LaneName(name): LaneName,
    parameters: Parameters,
) -> Result<Response, ApiError> {
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
    let seen = store::lanes::summaries(&mut conn, caller.app.id).await?;
    let found = seen.iter().find(|seen| seen.lane == lane).and_then(|seen| Lane::of(&caller.app, seen));
    found.map(|lane| Json(lane).into_response()).ok_or_else(|| no_lane(&caller.app))
}

async fn until_stopped(conn: &mut Session, lane: LaneId) -> Result<(), store::Error> {
    let asked = Instant::now();
    while !store::lanes::is_paused_everywhere(conn, lane).await? && asked.elapsed() < PAUSE_WAIT_MAX {
        sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

/// Finds a lane by its name, before which the app's name may stand. A lane without credentials counts as unknown.
fn find(app: &App, name: &str) -> Result<LaneId, ApiError> {
    let name = match name.split_once('/') {
        Some((named, lane)) if named == app.name => lane,
        Some(_) => return Err(no_lane(app)),
        None => name,
    };
    let lane = app.platforms().parse_lane(name).map(|key| app.lane(key)).filter(|lane| lane.configured);
    lane.map(|lane| lane.id).ok_or_else(|| no_lane(app))
}

fn no_lane(app: &App) -> ApiError {
    let configured = app.lanes.iter().filter(|(_, lane)| lane.configured);
    ApiError::NotFound(NotFoundKind::Lane(configured.map(|(key, _)| key.to_string()).collect()))
}

impl<'a> Lane<'a> {
    /// The lane as a key sees it that may not know the credential.
    pub(in crate::api) fn without_credential(self) -> Self {
        Self { credential: None, ..self }
    }

    /// None if the app has no credentials for the lane.
    pub(in crate::api) fn of(app: &App, seen: &'a LaneSummary) -> Option<Self> {
        let key = app.lane_key(seen.lane).filter(|key| app.lane(*key).configured)?;
        let is_stopped = seen.state != LaneState::Running;
        Some(Self {
            lane: key.to_string(),
            platform: key.platform().as_str(),
            environment: key.environment().map(|environment| environment.as_str()),
            state: seen.state.as_str(),
            why: seen.why.as_deref().filter(|_| is_stopped),
            since: seen.since.map(Timestamp),
            depth: seen.waiting.map(|waiting| waiting.devices),
            oldest_seconds: seen.waiting.and_then(|waiting| waiting.oldest_seconds),
            estimated: seen.waiting.is_some_and(|waiting| waiting.is_estimated),
            counted_seconds_ago: seen.waiting.map(|waiting| waiting.age_seconds),
            in_flight: seen.in_flight,
            rate: (seen.rate * 10.0).round() / 10.0,
            connections: seen.connections,
            credential: seen.credential.as_deref().map(|fingerprint| LaneCredential {
                id: hex::encode(&fingerprint[..fingerprint.len().min(CREDENTIAL_ID_BYTES)]),
                ok: seen.credential_ok,
                checked_at: seen.checked_at.map(Timestamp),
            }),
            pruning: LanePruning {
                state: schema_enums::PRUNING_STATES[usize::from(seen.braked.is_some())],
                why: seen.braked.as_deref(),
            },
        })
    }
}
