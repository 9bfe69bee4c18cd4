//! The layer around every route: request ids, limits of URL and headers, deadlines, panics, problem documents, and one
//! log line per request.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::extract::{self, MatchedPath, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use tokio::time::{Duration, Instant, timeout};

use super::audit::PendingAction;
use super::auth::CallerNote;
use super::dashboard::DashboardCall;
use super::devices;
use super::drain_body;
use super::error::{ApiError, ProblemCode, Repeat};
use super::measure;
use super::notifications;
use super::problem::Problem;
use super::request_id::{REQUEST_ID, RequestId};
use super::request_log::{self, AnsweredRequest};
use super::request_trace::RequestTrace;
use crate::store::{DatabaseTime, SessionPool};
use crate::telemetry::metrics::Metrics;

/// Bytes of path and query at most: enough for the longest filters of a list.
const URL_MAX: usize = 8 << 10;
/// Bytes of all headers together at most.
pub(super) const HEADERS_MAX: usize = 16 << 10;
/// From the head of the request to the head of the answer, including the arrival of the body.
const DEADLINE: Duration = Duration::from_secs(60);
/// Routes with bodies that are streams. They have no deadline; [`super::body::Pieces`] ends those that make no
/// progress.
const STREAMS: &[&str] = &[devices::import::PATH];

/// A handler panicked. The location is in the log line of the panic.
#[derive(Debug, thiserror::Error)]
#[error("a handler panicked")]
struct Panicked;

/// What the layer writes to beside its log lines.
#[derive(Clone, Debug)]
pub(super) struct RequestLayer {
    /// Where requests are counted.
    pub(super) metrics: Arc<Metrics>,
    /// Where operators' actions are told to the event log. None: there is none.
    pub(super) events: Option<SessionPool>,
}

impl RequestLayer {
    /// A layer without an event log.
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, events: None }
    }
}

/// Wraps every route, known or not.
pub(super) fn wrap(routes: Router, layer: RequestLayer) -> Router {
    routes.layer(axum::middleware::from_fn_with_state(layer, handle))
}

/// Handles one request within the layer.
pub(super) async fn handle(
    extract::State(layer): extract::State<RequestLayer>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let RequestId(id) = RequestId::of(request.headers());
    let note = CallerNote::default();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let trace = request.extensions().get::<RequestTrace>().copied();
    request.extensions_mut().insert(RequestId(id.clone()));
    request.extensions_mut().insert(note.clone());

    let (head, body) = request.into_parts();
    let body_bytes = request_log::body_bytes(&head.headers);
    let of_page = head.extensions.get::<DashboardCall>().is_some();
    let action = route.as_ref();
    let action =
        action.and_then(|route| PendingAction::of(&method, route.as_str(), head.uri.path(), of_page));
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
    let handled = timeout(if is_stream { Duration::MAX } else { DEADLINE }, handled);
    let (handled, database) = DatabaseTime::of(handled).await;
    unread.drain().await;
    let response = match handled {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => ApiError::internal(Panicked).into_response(),
        Err(elapsed) => {
            let repeat = repeat(&method, route.as_ref().map_or("", MatchedPath::as_str));
            ApiError::Overdue(Arc::new(elapsed), repeat).into_response()
        }
    };
    let route = route.as_ref().map(MatchedPath::as_str);
    let (mut response, problem) = with_problem(response, &id, route.unwrap_or("-"));
    if let Some(action) = action {
        let ended = action.end(problem, &response);
        ended.log(layer.events.as_ref(), &note).await;
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response.extensions_mut().insert(note.clone());
    let trace = trace.and_then(|trace| trace.context(note.has_secret_key()));
    let request = AnsweredRequest {
        id: &id,
        method: &method,
        route,
        status: response.status(),
        problem,
        elapsed: started.elapsed(),
        database,
        body_bytes,
        caller: &note,
        facts: response.extensions().get().copied(),
        trace,
    };
    request.log();
    measure::measure(&layer.metrics.http, &method, route, problem, response, started)
}

/// What a repeat of a request does, which may have been carried out. None: it writes nothing.
fn repeat(method: &Method, route: &str) -> Option<Repeat> {
    match (method, route) {
        (&Method::GET | &Method::HEAD, _) | (_, devices::lookup::PATH | notifications::preview::PATH) => None,
        (_, notifications::send::PATH | notifications::batch::PATH) => Some(Repeat::MaySendTwice),
        _ => Some(Repeat::Harmless),
    }
}

/// The refusal of a URL or headers that are too large.
fn oversize(head: &Parts) -> Option<ApiError> {
    let url = head.uri.path_and_query().map_or(0, |url| url.as_str().len());
    if url > URL_MAX {
        return Some(ApiError::UrlTooLong(URL_MAX));
    }
    let headers: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    (headers > HEADERS_MAX).then_some(ApiError::HeadersTooLarge(HEADERS_MAX))
}

/// Writes the problem document of an answer, and returns its code. The router's own refusal of a method has none, so it
/// gets one.
fn with_problem(mut response: Response, id: &str, route: &str) -> (Response, Option<ProblemCode>) {
    let problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        None if response.status() == StatusCode::METHOD_NOT_ALLOWED => ApiError::MethodNotAllowed.problem(),
        None => return (response, None),
    };
    problem.log_cause(id, route);
    (problem.write(response, id), Some(problem.code))
}
