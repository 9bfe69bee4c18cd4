//! The metadata server that machines of Google's cloud have, on the control port: access tokens for the project's first
//! service account, as long as that is good.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;

use super::clock;
use super::http1;
use super::oauth::{self, SCOPES, Use};
use super::reply::Reply;
use super::session::{Accepting, Received, Shared};

/// Path of an access token.
pub(super) const PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/token";
const FLAVOR: HeaderName = HeaderName::from_static("metadata-flavor");

/// The handler. A script that drops the connection is answered 502, since the control port keeps its connections.
pub(super) async fn token(
    State(shared): State<Arc<Shared>>,
    request: Request<axum::body::Body>,
) -> Result<Response<Full<Bytes>>, StatusCode> {
    let (parts, _) = request.into_parts();
    let verdict = check(&shared, &parts);
    let connection = shared.next_connection.fetch_add(1, Ordering::Relaxed);
    let received = Received { parts, body: Bytes::new(), stream: 0, at_us: clock::now_us() };
    let plan = oauth::plan(&shared, connection, received, verdict);
    http1::carry_out(plan).await.map_err(|_| StatusCode::BAD_GATEWAY)
}

fn check(shared: &Shared, parts: &Parts) -> Result<Accepting, Reply> {
    // Requests that another machine may have brought here by a trick have no such header, or tell where they come from.
    let is_own = parts.headers.get(FLAVOR).is_some_and(|flavor| flavor == "Google")
        && !parts.headers.contains_key("x-forwarded-for");
    if !is_own {
        return Err(Reply::html(StatusCode::FORBIDDEN, "FORBIDDEN"));
    }
    let query = parts.uri.query().unwrap_or_default();
    let scopes = query.strip_prefix("scopes=").unwrap_or_default();
    if !scopes.is_empty() && !scopes.split(',').any(|scope| SCOPES.contains(&scope)) {
        return Err(Reply::html(StatusCode::BAD_REQUEST, "BAD_REQUEST"));
    }
    if !shared.keyring.has_account(&shared.settings.fcm.client_email) {
        return Err(Reply::html(StatusCode::NOT_FOUND, "NOT_FOUND"));
    }
    let life = shared.settings.fcm.token_life;
    let body = json!({
        "access_token": shared.access_tokens.issue(life, Use::Send),
        "expires_in": life.as_secs(),
        "token_type": "Bearer",
    });
    let mut reply = Reply::json(StatusCode::OK, "", &body);
    reply.set(FLAVOR, HeaderValue::from_static("Google"));
    Ok(Accepting { reply, counts: false })
}
