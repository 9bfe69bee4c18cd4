//! `/v1/admin`: what operators see and decide.

mod lanes;

use axum::Router;
use axum::routing::{get, post};

use super::State;
use lanes::{Word, decide};

/// The routes.
pub(super) fn routes() -> Router<State> {
    let decision = |word| post(move |state, caller, lane, query| decide(word, state, caller, lane, query));
    let words = [("pause", Word::Pause), ("resume", Word::Resume), ("retry", Word::Retry)];
    words.into_iter().fold(
        Router::new().route("/v1/admin/lanes", get(lanes::list)),
        |routes, (name, word)| {
            routes
                .route(&format!("/v1/admin/lanes/{{lane}}/{name}"), decision(word))
                .route(&format!("/v1/admin/lanes/{{lane}}/{{name}}/{name}"), decision(word))
        },
    )
}
