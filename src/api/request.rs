//! The outermost layer: request ids, problem documents, panics and deadlines, and one log line per request.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tokio::time::{Duration, Instant, timeout};
use uuid::Uuid;

use super::auth::CallerNote;
use super::devices;
use super::drain_body;
use super::error::ApiError;
use super::problem::Problem;

/// The header, in and out.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
/// Longest id taken over from a caller.
const REQUEST_ID_MAX: usize = 64;
/// Most bytes of path and query: room for a list's longest filters.
const URL_MAX: usize = 8 << 10;
/// Most bytes of all headers together.
pub(super) const HEADERS_MAX: usize = 16 << 10;
/// From the head of the request to the head of the answer, the body's arrival included.
const DEADLINE: Duration = Duration::from_secs(60);
/// Routes whose bodies are streams. They take as long as they take, while their senders get on ([`super::body::Pieces`]).
const STREAMS: &[&str] = &[devices::import::PATH];

/// A request's id, as answers, problems and the log name it.
#[derive(Clone, Debug)]
pub(super) struct RequestId(pub(super) String);

/// A handler panicked. The panic's own line in the log says where.
#[derive(Debug, thiserror::Error)]
#[error("a handler panicked")]
struct Panicked;

/// Wraps every route, known or not.
pub(super) fn surrounded(routes: Router) -> Router {
    routes.layer(axum::middleware::from_fn(surround))
}

/// The layer itself.
pub(super) async fn surround(mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let RequestId(id) = request_id(request.headers());
    let note = CallerNote::default();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    request.extensions_mut().insert(RequestId(id.clone()));
    request.extensions_mut().insert(note.clone());

    let (head, body) = request.into_parts();
    let refused = oversize(&head);
    let (body, unread) = drain_body::track(&head, body);
    let request = Request::from_parts(head, body);
    let handled = async {
        match refused {
            None => AssertUnwindSafe(next.run(request)).catch_unwind().await,
            Some(refused) => {
                drop(request);
                Ok(refused.into_response())
            }
        }
    };
    let is_stream = route.as_ref().is_some_and(|route| STREAMS.contains(&route.as_str()));
    let handled = timeout(if is_stream { Duration::MAX } else { DEADLINE }, handled).await;
    unread.drain().await;
    let response = match handled {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => ApiError::internal(Panicked).into_response(),
        Err(elapsed) => ApiError::Overdue(Arc::new(elapsed)).into_response(),
    };
    let mut response = with_problem(response, &id);
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response.extensions_mut().insert(note.clone());
    log(&method, route.as_ref().map(MatchedPath::as_str), response.status(), started.elapsed(), &id, &note);
    response
}

/// Every part of a request has its limit, and is answered with it.
fn oversize(head: &Parts) -> Option<ApiError> {
    let url = head.uri.path_and_query().map_or(0, |url| url.as_str().len());
    if url > URL_MAX {
        return Some(ApiError::UrlTooLong(URL_MAX));
    }
    let headers: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    (headers > HEADERS_MAX).then_some(ApiError::HeadersTooLarge(HEADERS_MAX))
}

/// The caller's id if it may be one, else ours.
fn request_id(headers: &HeaderMap) -> RequestId {
    let theirs = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let fits =
        |id: &&str| (1..=REQUEST_ID_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    match theirs.filter(fits) {
        Some(id) => RequestId(id.to_owned()),
        None => RequestId(Uuid::from_u128(rand::random()).simple().to_string()),
    }
}

/// Writes the problem that the answer carries; the router's own refusal of a method carries none.
fn with_problem(mut response: Response, id: &str) -> Response {
    let problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        None if response.status() == StatusCode::METHOD_NOT_ALLOWED => ApiError::MethodNotAllowed.problem(),
        None => return response,
    };
    if let Some(cause) = problem.causes() {
        tracing::error!(request_id = id, code = problem.code.as_str(), cause, "a request failed on our side");
    }
    problem.write(response, id)
}

/// The route is the pattern, never the path: what a client writes there is not ours to keep.
fn log(
    method: &Method,
    route: Option<&str>,
    status: StatusCode,
    elapsed: Duration,
    id: &str,
    note: &CallerNote,
) {
    let elapsed_ms = elapsed.as_secs_f64() * 1000.0;
    let status = status.as_u16();
    match (note.get(), route) {
        (None, Some(route @ ("/healthz" | "/readyz"))) => {
            tracing::debug!(request_id = id, %method, route, status, elapsed_ms, "request");
        }
        (None, _) => {
            tracing::info!(request_id = id, %method, route = route.unwrap_or("-"), status, elapsed_ms, "request");
        }
        (Some((app, key)), _) => {
            let route = route.unwrap_or("-");
            tracing::info!(request_id = id, %method, route, status, elapsed_ms, app = app.name, %key, "request");
        }
    }
}
