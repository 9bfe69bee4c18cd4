//! The control port: plain HTTP on loopback. Over it a running simulator gets its script and shows its ledger, and senders
//! ask the metadata server.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::entry::Filter;
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

async fn ledger(State(shared): State<Arc<Shared>>, Query(filter): Query<Filter>) -> Json<Value> {
    Json(json!({ "items": shared.ledger.find(&filter) }))
}

async fn clear_ledger(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.ledger.clear();
    StatusCode::NO_CONTENT
}

async fn counts(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let ledger = &shared.ledger;
    Json(json!({
        "received": ledger.received_count(),
        "accepted": ledger.accepted_count(),
        "answers": ledger.counts(),
        "duplicates": ledger.duplicates(),
    }))
}

async fn arrivals(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(json!({ "items": shared.ledger.arrivals() }))
}

async fn rules(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(json!({ "items": shared.rules.list() }))
}

/// Takes bytes, not `Json`, so that curl needs no header and a misspelt rule is named in the answer.
async fn add_rules(State(shared): State<Arc<Shared>>, body: axum::body::Bytes) -> (StatusCode, String) {
    let parsed: Result<Vec<Rule>, _> = match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'[') => serde_json::from_slice(&body),
        _ => serde_json::from_slice(&body).map(|rule| vec![rule]),
    };
    match parsed {
        Ok(rules) => rules.into_iter().for_each(|rule| shared.rules.add(rule)),
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
    (StatusCode::NO_CONTENT, String::new())
}

async fn clear_rules(State(shared): State<Arc<Shared>>, Query(named): Query<Named>) -> StatusCode {
    match named.name {
        Some(name) => shared.rules.remove(&name),
        None => shared.rules.clear(),
    }
    StatusCode::NO_CONTENT
}

async fn set_streams(State(shared): State<Arc<Shared>>, Json(limit): Json<StreamLimit>) -> StatusCode {
    shared.set_streams(limit.streams);
    StatusCode::NO_CONTENT
}

async fn set_quota(State(shared): State<Arc<Shared>>, Json(quota): Json<ProjectQuota>) -> StatusCode {
    shared.fcm_quota.set(quota.messages, Duration::from_millis(quota.per_ms));
    StatusCode::NO_CONTENT
}

async fn close_connections(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.close_connections();
    StatusCode::NO_CONTENT
}

async fn revoke(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.access_tokens.revoke();
    StatusCode::NO_CONTENT
}
