//! CORS headers for the web pages in `server.cors_origins` (<https://fetch.spec.whatwg.org/#http-cors-protocol>).
//!
//! Apps in a web view register from JavaScript, so pages with a listed origin may make the calls of a `register` key.
//! Other calls do not get these headers, nor do answers to keys with more scopes, because such a key must not be in a
//! page.

use std::sync::Arc;

use axum::extract::{self, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::auth::CallerNote;
use super::dashboard::DashboardCall;
use crate::domain::Origin;

/// The calls that a `register` key may make.
const CALLS: [(&str, Method); 2] = [("/v1/devices", Method::PUT), ("/v1/devices/unregister", Method::POST)];
const ALLOWED: HeaderValue =
    HeaderValue::from_static("Authorization, Content-Type, Pushpost-User-Token, Request-Id");
const EXPOSED: HeaderValue = HeaderValue::from_static("Request-Id, Retry-After");
/// Seconds for which a browser caches a preflight; Chromium's maximum.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// The origins in `server.cors_origins`.
pub(super) type Origins = Arc<[Origin]>;

/// Answers a browser's preflight request. Within the layer that adds the request id.
pub(super) async fn preflight(
    extract::State(origins): extract::State<Origins>,
    request: Request,
    next: Next,
) -> Response {
    match requested_method(&request).filter(|_| listed(&origins, request.headers()).is_some()) {
        Some(method) => {
            let mut response = StatusCode::NO_CONTENT.into_response();
            let headers = response.headers_mut();
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, method);
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED);
            headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
            response
        }
        None => next.run(request).await,
    }
}

/// Adds CORS headers to the answers of calls, errors included, for listed origins. The outermost layer.
pub(super) async fn mark(
    extract::State(origins): extract::State<Origins>,
    request: Request,
    next: Next,
) -> Response {
    let is_preflight = requested_method(&request).is_some();
    if !is_preflight && !is_call(&request) {
        return next.run(request).await;
    }
    let origin = listed(&origins, request.headers());
    let mut response = next.run(request).await;
    let caller = response.extensions_mut().remove::<CallerNote>();
    if caller.is_some_and(|caller| caller.has_secret_key()) {
        return response;
    }
    // Caches must not give one page the answer to another.
    response.headers_mut().append(VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if !is_preflight {
            response.headers_mut().insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }
    response
}

fn is_call(request: &Request) -> bool {
    let call = (request.uri().path(), request.method().clone());
    !is_of_dashboard(request) && CALLS.contains(&call)
}

/// A call of the dashboard has the path of `/v1` by now. It is made with the session of its own pages alone.
fn is_of_dashboard(request: &Request) -> bool {
    request.extensions().get::<DashboardCall>().is_some()
}

/// The method that a preflight asks for, if a `register` key may make that call.
fn requested_method(request: &Request) -> Option<HeaderValue> {
    let method = request.headers().get(ACCESS_CONTROL_REQUEST_METHOD)?;
    let path = request.uri().path();
    let is_requested =
        |call: &&(&str, Method)| call.0 == path && method.as_bytes() == call.1.as_str().as_bytes();
    let is_preflight = request.method() == Method::OPTIONS && !is_of_dashboard(request);
    (is_preflight && CALLS.iter().any(|call| is_requested(&call))).then(|| method.clone())
}

/// The request's origin, if it has exactly one and it is listed.
fn listed(origins: &Origins, headers: &HeaderMap) -> Option<HeaderValue> {
    let mut sent = headers.get_all(ORIGIN).iter();
    let (Some(origin), None) = (sent.next(), sent.next()) else { return None };
    origins.iter().any(|listed| listed.as_str().as_bytes() == origin.as_bytes()).then(|| origin.clone())
}
