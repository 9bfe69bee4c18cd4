//! Counts requests, and measures how long their answers take.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::Method;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use super::error::ProblemCode;
use crate::telemetry::metrics::{HttpMetrics, RouteMetrics};

/// The route of a path that is none.
const NO_ROUTE: &str = "none";

/// Counts an answer. `started`: when the head of its request had been read.
pub(super) fn measure(
    metrics: &HttpMetrics,
    method: &Method,
    route: Option<&str>,
    problem: Option<ProblemCode>,
    response: Response,
    started: Instant,
) -> Response {
    let route = metrics.of_route(route.unwrap_or(NO_ROUTE));
    route.count(word(method), response.status().as_u16());
    if let Some(code) = problem.filter(|code| code.is_refusal()) {
        metrics.refused(code.as_str()).inc();
    }
    response.map(|body| Body::new(MeasuredBody { body, running: Some((started, route)) }))
}

/// Shows every code of a refusal, with 0 until it happens.
pub(super) fn show_refusals(metrics: &HttpMetrics) {
    for code in ProblemCode::ALL.iter().filter(|code| code.is_refusal()) {
        metrics.refused(code.as_str());
    }
}

/// The method as a label. A client may write any word as a method.
fn word(method: &Method) -> &'static str {
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ];
    match known.iter().position(|known| known == method) {
        Some(place) => ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"][place],
        None => "other",
    }
}

/// The body of an answer, with the time until its last byte, or until the first byte of a stream.
struct MeasuredBody {
    body: Body,
    running: Option<(Instant, Arc<RouteMetrics>)>,
}

impl MeasuredBody {
    fn stop(&mut self) {
        if let Some((started, route)) = self.running.take() {
            route.seconds.observe(started.elapsed());
        }
    }
}

impl HttpBody for MeasuredBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        // The length of a stream is not known before its end.
        let is_stream = self.running.is_some() && self.body.size_hint().exact().is_none();
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if is_stream && polled.is_ready() {
            self.stop();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for MeasuredBody {
    /// The server drops a body once its last byte is written, or when the client has gone away.
    fn drop(&mut self) {
        self.stop();
    }
}
