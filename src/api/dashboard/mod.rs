//! `/dashboard`: the pages for operators, their session, and what the pages ask.
//!
//! A page asks `/dashboard/api/…`. Before the request is routed, [`api_call`] makes `/v1/…` of its path, so that the same routes, handlers,
//! limits, metrics and audit lines answer it. What differs is the key: [`crate::api::auth`] takes that of the session.

mod api_call;
mod cookie;
mod files;
mod headers;
mod live;
mod same_origin;
mod session;
mod session_calls;

use axum::Router;
use axum::response::Redirect;
use axum::routing::get;

use super::State;
use super::error::{ApiError, NotFoundKind};

pub(super) use api_call::{DashboardCall, session_key};
pub(super) use headers::DashboardAnswer;
pub use live::{DashboardLive, LiveSettings, LiveWorker};

/// The path of the first page. All paths below it are the dashboard's.
const ROOT: &str = "/dashboard/";
/// The path of the session.
pub(super) const SESSION: &str = "/dashboard/session";

/// The path of the stream that keeps a page up to date.
pub(super) const LIVE: &str = "/dashboard/api/live";

/// The pages and what they load, for a router of any state. They are served also while the node waits for its database.
pub(super) fn pages<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/dashboard", get(async || Redirect::permanent(ROOT)))
        .route(ROOT, get(files::serve_index))
        .route("/dashboard/{*path}", get(files::serve))
        // What has no route below these is not there, and no page either.
        .route("/dashboard/api", get(nothing))
        .route("/dashboard/api/", get(nothing))
        .route("/dashboard/api/{*path}", get(nothing))
}

/// The session, and what the pages ask beside `/v1`.
pub(super) fn routes() -> Router<State> {
    let session = get(session_calls::show).post(session_calls::begin).delete(session_calls::end);
    Router::new().route(SESSION, session).route(LIVE, get(live::live))
}

async fn nothing() -> ApiError {
    ApiError::NotFound(NotFoundKind::Path)
}
