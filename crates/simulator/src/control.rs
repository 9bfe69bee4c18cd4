//! The control port: plain HTTP on loopback. Over it a running simulator gets its script and shows its ledger, and senders
//! ask the metadata server.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::entry::Filter;
use super::ledger::LedgerMode;
use super::metadata;
use super::rule::Rule;
use super::session::Shared;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamLimit {
    streams: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProjectQuota {
    messages: u64,
    per_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: Option<String>,
}

/// All routes of the control port.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route(metadata::PATH, get(metadata::token))
        .route("/healthz", get(async || "ok\n"))
        .route("/ledger", get(ledger).delete(clear_ledger))
        .route("/counts", get(counts))
        .route("/arrivals", get(arrivals))
        .route("/rules", get(rules).post(add_rules).delete(clear_rules))
        .route("/streams", post(set_streams))
        .route("/fcm/quota", post(set_quota))
        .route("/connections/close", post(close_connections))
        .route("/oauth/revoke", post(revoke))
        .with_state(shared)
}

async fn ledger(State(shared): State<Arc<Shared>>, Query(filter): Query<Filter>) -> Result<Said, Refused> {
    require(&shared, LedgerMode::Full, "full")?;
    Ok(Said(json!({ "items": shared.ledger.find(&filter) })))
}

async fn clear_ledger(State(shared): State<Arc<Shared>>) -> Said {
    shared.ledger.clear();
    Said(json!({ "received": 0 }))
}

async fn counts(State(shared): State<Arc<Shared>>) -> Said {
    let ledger = &shared.ledger;
    Said(json!({
        "received": ledger.received_count(),
        "accepted": ledger.accepted_count(),
        "answers": ledger.counts(),
        "duplicates": ledger.duplicates(),
    }))
}

async fn arrivals(State(shared): State<Arc<Shared>>) -> Result<Said, Refused> {
    require(&shared, LedgerMode::Arrivals, "arrivals")?;
    Ok(Said(json!({ "items": shared.ledger.arrivals() })))
}

/// Refuses what a ledger of another mode does not keep.
fn require(shared: &Shared, mode: LedgerMode, option: &str) -> Result<(), Refused> {
    if shared.ledger.mode() == mode {
        return Ok(());
    }
    Err(Refused(StatusCode::CONFLICT, format!("this is kept only with --ledger {option}")))
}

async fn rules(State(shared): State<Arc<Shared>>) -> Said {
    Said(json!({ "items": shared.rules.list() }))
}

async fn add_rules(State(shared): State<Arc<Shared>>, body: Bytes) -> Result<Said, Refused> {
    let rules: Vec<Rule> = match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'[') => parsed(&body)?,
        _ => vec![parsed(&body)?],
    };
    rules.into_iter().for_each(|rule| shared.rules.add(rule));
    Ok(rules_in_force(&shared))
}

async fn clear_rules(State(shared): State<Arc<Shared>>, Query(named): Query<Named>) -> Result<Said, Refused> {
    match named.name {
        Some(name) if shared.rules.remove(&name) == 0 => {
            return Err(Refused(StatusCode::NOT_FOUND, format!("no rule has the name {name:?}")));
        }
        Some(_) => {}
        None => shared.rules.clear(),
    }
    Ok(rules_in_force(&shared))
}

fn rules_in_force(shared: &Shared) -> Said {
    Said(json!({ "rules": shared.rules.count() }))
}

async fn set_streams(State(shared): State<Arc<Shared>>, body: Bytes) -> Result<Said, Refused> {
    let limit: StreamLimit = parsed(&body)?;
    shared.set_streams(limit.streams);
    Ok(Said(json!({ "streams": limit.streams })))
}

async fn set_quota(State(shared): State<Arc<Shared>>, body: Bytes) -> Result<Said, Refused> {
    let ProjectQuota { messages, per_ms } = parsed(&body)?;
    shared.fcm_quota.set(messages, Duration::from_millis(per_ms));
    Ok(Said(json!({ "messages": messages, "per_ms": per_ms })))
}

async fn close_connections(State(shared): State<Arc<Shared>>) -> Said {
    shared.close_connections();
    Said(json!({ "connections": "closed" }))
}

async fn revoke(State(shared): State<Arc<Shared>>) -> Said {
    shared.access_tokens.revoke();
    Said(json!({ "access_tokens": "revoked" }))
}

/// A JSON answer. It ends with a newline, so that a terminal shows it on a line of its own.
struct Said(Value);

impl IntoResponse for Said {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, "application/json")], format!("{}\n", self.0)).into_response()
    }
}

/// Why a request is not carried out, in words.
struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, format!("{}\n", self.1)).into_response()
    }
}

/// Reads a body of any content type, so that curl needs no header. The error names a misspelt member.
fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(|error| Refused(StatusCode::BAD_REQUEST, error.to_string()))
}
