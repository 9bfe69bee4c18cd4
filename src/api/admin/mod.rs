//! `/v1/admin`: what operators see and decide.

mod lanes;

use axum::Router;
use axum::routing::{get, post};

use super::State;
use lanes::{LaneCommand, decide};

/// The routes.
pub(super) fn routes() -> Router<State> {
    let decision =
        |command| post(move |state, caller, lane, query| decide(command, state, caller, lane, query));
    let commands =
        [("pause", LaneCommand::Pause), ("resume", LaneCommand::Resume), ("retry", LaneCommand::Retry)];
    commands.into_iter().fold(
        Router::new().route("/v1/admin/lanes", get(lanes::list)),
        |routes, (name, command)| {
            routes
                .route(&format!("/v1/admin/lanes/{{lane}}/{name}"), decision(command))
                .route(&format!("/v1/admin/lanes/{{lane}}/{{name}}/{name}"), decision(command))
        },
    )
}
