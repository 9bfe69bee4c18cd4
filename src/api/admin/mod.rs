//! `/v1/admin`: what operators see and decide.

pub mod cleanups;
mod keys;
mod lanes;
mod nodes;
mod webhooks;

use axum::routing::post;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::State;

pub(super) use cleanups::CleanupAnswer;
pub(super) use lanes::Lane as LaneAnswer;
pub(super) use nodes::Node as NodeAnswer;

/// The routes of `/v1/admin`.
pub(super) fn routes() -> OpenApiRouter<State> {
    let own = OpenApiRouter::new()
        .routes(routes!(keys::list))
        .routes(routes!(lanes::list))
        .routes(routes!(nodes::list))
        .routes(routes!(lanes::pause))
        .routes(routes!(lanes::resume))
        .routes(routes!(lanes::retry))
        // A lane's name as log lines write it, without percent-encoding: `shop/fcm`.
        .route("/v1/admin/lanes/{app}/{lane}/pause", post(lanes::pause))
        .route("/v1/admin/lanes/{app}/{lane}/resume", post(lanes::resume))
        .route("/v1/admin/lanes/{app}/{lane}/retry", post(lanes::retry));
    own.merge(cleanups::routes()).merge(webhooks::routes())
}

#[cfg(test)]
pub(super) use cleanups::read_for_test;
#[cfg(test)]
pub(super) use webhooks::read_for_test as read_webhooks_for_test;
