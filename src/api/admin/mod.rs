//! `/v1/admin`: what operators see and decide.

mod lanes;

use axum::Router;
use axum::routing::{get, post};

use super::State;

/// The routes.
pub(super) fn routes() -> Router<State> {
    Router::new()
        .route("/v1/admin/lanes", get(lanes::list))
        .route("/v1/admin/lanes/{lane}/pause", post(lanes::pause))
        .route("/v1/admin/lanes/{lane}/resume", post(lanes::resume))
        .route("/v1/admin/lanes/{lane}/retry", post(lanes::retry))
}
