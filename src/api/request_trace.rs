//! The span of a request, and the trace that a request begins or continues.
//!
//! The caller's `traceparent` counts for keys of a backend. A publishable key is part of every copy of an app,
//! so its `traceparent` is ignored: otherwise any phone could choose what is recorded.

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::{HeaderMap, HeaderName};
use tokio::time::Instant;

use super::auth::CallerNote;
use super::request_id::REQUEST_ID;
use crate::domain::{SpanId, TraceContext};
use crate::telemetry::trace::{RequestSpan, Tracer};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The routes that are traced begin with this. Others are asked every few seconds by load balancers and scrapers.
const TRACED: &str = "/v1/";

/// Traces requests, if tracing is on.
pub(super) fn wrap(routes: Router, tracer: &Tracer) -> Router {
    if !tracer.is_on() {
        return routes;
    }
    routes.layer(from_fn_with_state(tracer.clone(), trace))
}

/// The trace of a request, before its key is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestTrace {
    /// The caller's span, and the request's own one within the caller's trace.
    of_caller: Option<(TraceContext, TraceContext)>,
    /// The request's span in a trace of its own.
    own: TraceContext,
    /// The request is recorded, whatever the caller wants.
    is_sampled: bool,
}

impl RequestTrace {
    fn of(headers: &HeaderMap, tracer: &Tracer) -> Self {
        let mut given = headers.get_all(TRACEPARENT).iter();
        let only = match (given.next(), given.next()) {
            (Some(only), None) => only.to_str().ok(),
            _ => None,
        };
        let caller = only.and_then(TraceContext::parse);
        Self {
            of_caller: caller.map(|caller| (caller, caller.child().sampled())),
            own: TraceContext::new_root(),
            is_sampled: tracer.samples(),
        }
    }

    /// The request's span. None: it is not recorded.
    pub(super) fn context(&self, has_secret_key: bool) -> Option<TraceContext> {
        self.recorded(has_secret_key).map(|(context, _)| context)
    }

    /// The request's span and its parent.
    fn recorded(&self, has_secret_key: bool) -> Option<(TraceContext, Option<SpanId>)> {
        match self.of_caller.filter(|_| has_secret_key) {
            Some((caller, span)) => {
                (self.is_sampled || caller.is_sampled()).then_some((span, Some(caller.span_id())))
            }
            None => self.is_sampled.then_some((self.own, None)),
        }
    }
}

async fn trace(State(tracer): State<Tracer>, mut request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let Some(route) = route.filter(|route| route.as_str().starts_with(TRACED)) else {
        return next.run(request).await;
    };
    let began = Instant::now();
    let trace = RequestTrace::of(request.headers(), &tracer);
    let method = request.method().clone();
    request.extensions_mut().insert(trace);
    let response = next.run(request).await;
    let note = response.extensions().get::<CallerNote>();
    let recorded = trace.recorded(note.is_some_and(CallerNote::has_secret_key));
    if let Some((context, caller)) = recorded {
        tracer.write(RequestSpan {
            context,
            caller,
            method: &method,
            route: route.as_str(),
            status: response.status().as_u16(),
            request_id: response.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()),
            app: note.and_then(CallerNote::get).map(|(app, _)| app.name.as_str()),
            began,
            ended: Instant::now(),
        });
    }
    response
}
