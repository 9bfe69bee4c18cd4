//! `/v1/admin`: what operators see and decide.

mod lanes;

use axum::Router;
use axum::routing::{get, post};

use super::State;
use lanes::{Word, decide};

/// The routes.
pub(super) fn routes() -> Router<State> {
    let decision = |word| post(move |state, caller, lane, query| decide(word, state, caller, lane, query));
    Router::new()
        .route("/v1/admin/lanes", get(lanes::list))
        .route("/v1/admin/lanes/{lane}/pause", decision(Word::Pause))
        .route("/v1/admin/lanes/{lane}/resume", decision(Word::Resume))
        .route("/v1/admin/lanes/{lane}/retry", decision(Word::Retry))
}
