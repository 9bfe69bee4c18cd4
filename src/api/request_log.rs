//! The log line of a request (target `pushpost::request`, docs/logs.md#requests). The route is the pattern, not the path, because a
//! path may contain a client's data.

use http::{HeaderMap, Method, StatusCode};
use tokio::time::Duration;

use super::auth::CallerNote;
use super::error::ProblemCode;
use crate::domain::{NotificationId, TraceContext};
use crate::telemetry::REQUEST_TARGET;

/// A slower request is logged at `info`.
const SLOW: Duration = Duration::from_secs(1);

/// What a handler says for the log line, as an extension of its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnswerFacts {
    /// The notification that the request made.
    pub(super) notification: NotificationId,
    /// Number of its targets. None: they are not all known yet.
    pub(super) targets: Option<usize>,
}

/// A request that was answered.
#[derive(Debug)]
pub(super) struct AnsweredRequest<'a> {
    pub(super) id: &'a str,
    pub(super) method: &'a Method,
    /// None: the path is unknown.
    pub(super) route: Option<&'a str>,
    pub(super) status: StatusCode,
    /// The code of the problem that it was answered with.
    pub(super) problem: Option<ProblemCode>,
    /// From the head of the request to the head of the answer.
    pub(super) elapsed: Duration,
    /// How long the request waited for Postgres.
    pub(super) database: Duration,
    /// As its head said; none: it said nothing.
    pub(super) body_bytes: Option<u64>,
    pub(super) caller: &'a CallerNote,
    pub(super) facts: Option<AnswerFacts>,
    /// The trace that it belongs to; none: it is not traced.
    pub(super) trace: Option<TraceContext>,
}

/// The size of a body as the head of the request says it.
pub(super) fn body_bytes(headers: &HeaderMap) -> Option<u64> {
    headers.get(http::header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// With one decimal, as a person reads it.
pub(super) fn milliseconds(elapsed: Duration) -> f64 {
    (elapsed.as_secs_f64() * 10_000.0).round() / 10.0
}

macro_rules! line {
    ($level:ident, $request:expr) => {{
        let request = $request;
        let caller = request.caller.get();
        let facts = request.facts;
        tracing::$level!(
            target: REQUEST_TARGET,
            request_id = request.id,
            method = %request.method,
            route = request.route.unwrap_or("-"),
            status = request.status.as_u16(),
            code = request.problem.map(ProblemCode::as_str),
            elapsed_ms = milliseconds(request.elapsed),
            db_ms = milliseconds(request.database),
            request_bytes = request.body_bytes,
            targets = facts.and_then(|facts| facts.targets),
            notification = facts.map(|facts| display(facts.notification)),
            app = caller.map(|(app, _)| app.name.as_str()),
            key = caller.map(|(_, key)| display(key)),
            trace_id = request.trace.map(display),
            hint = request.hint(),
            "request is answered"
        );
    }};
}

impl AnsweredRequest<'_> {
    /// The operator's next step where this line is the only one about it: a full queue has no cause inside the service.
    fn hint(&self) -> Option<&'static str> {
        self.problem.filter(|code| *code == ProblemCode::QueueFull).and_then(ProblemCode::operator_hint)
    }

    /// Logs the request: at `debug`; at `info` if it was slow; at `warn` if it failed here. A probe of a node that is not ready is
    /// no failure.
    pub(super) fn log(&self) {
        let is_probe = matches!(self.route, Some("/healthz" | "/readyz" | super::metrics::PATH));
        match () {
            () if is_probe => line!(debug, self),
            () if self.status.is_server_error() => line!(warn, self),
            () if self.elapsed > SLOW => line!(info, self),
            () => line!(debug, self),
        }
    }
}
