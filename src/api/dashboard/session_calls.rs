//! `/dashboard/session`: logs in with a key, shows the session, and ends it.

use axum::Json;
use axum::extract::{self, FromRequest as _, Request};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use http::StatusCode;
use http::header::SET_COOKIE;
use http::request::Parts;
use serde::Serialize;

use super::api_call::{opens_dashboard, session_scopes};
use super::session::{DashboardSession, Login};
use super::{cookie, same_origin};
use crate::api::State;
use crate::api::auth::CallerNote;
use crate::api::body::KeyBody;
use crate::api::error::{ApiError, KeyFault};
use crate::api::json;
use crate::api::time::Timestamp;
use crate::domain::{App, KeyId, Scope, Scopes};
use crate::registry::keys::{self, ApiKey};

/// A session as its pages see it.
#[derive(Serialize, Debug)]
struct SessionAnswer {
    /// In the order of the logins; a call without an app is for the first.
    apps: Vec<AppOfSession>,
    /// The version of the node that answers.
    version: &'static str,
    /// The host and process id of the node that answers.
    node: String,
    /// When the first of its logins ends.
    ends_at: Timestamp,
}

/// An app that the session has a key of.
#[derive(Serialize, Debug)]
struct AppOfSession {
    app: String,
    key: String,
    name: Option<String>,
    /// The key may do everything; else it only reads.
    admin: bool,
    ends_at: Timestamp,
}

/// Shows the session.
pub(super) async fn show(
    extract::State(state): extract::State<State>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, _) = request.into_parts();
    let (_, answer) = valid(session(&parts, &state), &state).await?;
    Ok(Json(answer).into_response())
}

/// Logs in: adds a key to the session.
pub(super) async fn begin(
    extract::State(state): extract::State<State>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let note = noted(&parts, &state);
    same_origin::require(&parts, &state)?;
    state.rates.take_login(&parts)?;
    let KeyBody(body) = KeyBody::from_request(Request::from_parts(parts.clone(), body), &state).await?;
    let key = authenticate(&read(body)?, &parts, &state, &note).await?;
    let mut session = session(&parts, &state);
    session.add(key.app, key.id, now(&state));
    let (session, answer) = valid(session, &state).await?;
    let cookie = with_cookie(&session, &parts, &state);
    Ok(([(SET_COOKIE, cookie)], Json(answer)).into_response())
}

/// Logs out: the browser forgets the session.
pub(super) async fn end(
    extract::State(state): extract::State<State>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, _) = request.into_parts();
    let note = noted(&parts, &state);
    if let Some(first) = session(&parts, &state).0.first()
        && let Some(app) = state.apps.get(first.app)
    {
        note.recognise(&app, first.key, Scopes::only(Scope::Read));
    }
    same_origin::require(&parts, &state)?;
    let cookie = cookie::clear(same_origin::is_secure(&parts, &state));
    Ok((StatusCode::NO_CONTENT, [(SET_COOKIE, cookie)]).into_response())
}

fn read(body: Vec<u8>) -> Result<String, ApiError> {
    let read = json::read(body, |mut fields| {
        fields.require("key");
        let key = fields.string("key").map(str::to_owned);
        fields.finish();
        key
    });
    Ok(read?)
}

async fn authenticate(
    secret: &str,
    parts: &Parts,
    state: &State,
    note: &CallerNote,
) -> Result<ApiKey, ApiError> {
    if !keys::is_well_formed(secret) {
        return Err(ApiError::Unauthenticated(KeyFault::NoSecret));
    }
    let key = state.keys.authenticate(secret, &state.rates.unknown_keys(parts)).await?;
    let served = key.and_then(|key| Some((key, state.apps.get(key.app)?)));
    let (key, app) = served.ok_or(ApiError::Unauthenticated(KeyFault::Unknown))?;
    note.recognise(&app, key.id, key.scopes);
    if opens_dashboard(key.scopes) {
        Ok(key)
    } else {
        Err(ApiError::MissingScope(&[Scope::Read, Scope::Admin]))
    }
}

/// The note for the log and the audit, with the address of the client.
fn noted(parts: &Parts, state: &State) -> CallerNote {
    state.rates.note_proxy(parts);
    let note = parts.extensions.get::<CallerNote>().cloned().unwrap_or_default();
    note.come_from(state.rates.client_address(parts));
    note
}

fn session(parts: &Parts, state: &State) -> DashboardSession {
    DashboardSession::of(&parts.headers, &state.installation, now(state))
}

fn now(state: &State) -> DateTime<Utc> {
    state.node_lease.clock().now()
}

fn with_cookie(session: &DashboardSession, parts: &Parts, state: &State) -> http::HeaderValue {
    let (now, sealed) = (now(state), session.seal(&state.installation));
    let ends_at = session.ends_at().unwrap_or(now);
    cookie::set(&sealed, now, ends_at, same_origin::is_secure(parts, state))
}

/// The session without the logins with keys that are not valid any more, and its answer.
async fn valid(
    mut session: DashboardSession,
    state: &State,
) -> Result<(DashboardSession, SessionAnswer), ApiError> {
    let ids: Vec<KeyId> = session.0.iter().map(|login| login.key).collect();
    let known = if ids.is_empty() { Vec::new() } else { state.keys.find_named(&ids).await? };
    let mut apps = Vec::new();
    session.0.retain(|login| {
        let named = known.iter().find(|named| named.key.id == login.key && named.key.app == login.app);
        let named = named.filter(|named| opens_dashboard(named.key.scopes)).zip(state.apps.get(login.app));
        let shown = named.map(|(named, app)| shown(login, &app, named));
        let is_valid = shown.is_some();
        apps.extend(shown);
        is_valid
    });
    let ends_at = session.0.iter().map(|login| login.ends_at).min();
    let ends_at = ends_at.ok_or(ApiError::Unauthenticated(KeyFault::NoSession))?;
    let answer = SessionAnswer {
        apps,
        version: env!("CARGO_PKG_VERSION"),
        node: state.node_lease.name().to_owned(),
        ends_at: Timestamp(ends_at),
    };
    Ok((session, answer))
}

fn shown(login: &Login, app: &App, named: &keys::NamedKey) -> AppOfSession {
    AppOfSession {
        app: app.name.clone(),
        key: named.key.id.to_string(),
        name: named.name.clone(),
        admin: session_scopes(named.key.scopes).has(Scope::Admin),
        ends_at: Timestamp(login.ends_at),
    }
}
