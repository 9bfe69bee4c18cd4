//! Writes the span of each request, if tracing is on.

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use tokio::time::Instant;

use super::auth::CallerNote;
use super::request_id::REQUEST_ID;
use super::request_trace::RequestTrace;
use crate::telemetry::trace::{RequestSpan, Tracer};

/// The routes that are traced begin with this. Others are asked every few seconds by load balancers and scrapers.
const TRACED: &str = "/v1/";

/// Traces requests. Without tracing the routes stay as they are.
pub(super) fn wrap(routes: Router, tracer: &Tracer) -> Router {
    if !tracer.is_on() {
        return routes;
    }
    routes.layer(from_fn_with_state(tracer.clone(), trace))
}

async fn trace(State(tracer): State<Tracer>, mut request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let Some(route) = route.filter(|route| route.as_str().starts_with(TRACED)) else {
        return next.run(request).await;
    };
    let began = Instant::now();
    let trace = RequestTrace::of(request.headers(), tracer.samples());
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
