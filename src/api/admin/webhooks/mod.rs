//! `/v1/admin/webhooks`: where events are posted to, how that goes, and what operators do about it.

mod answer;
mod attempts;
mod change;
mod commands;
mod create;
mod list;
mod one;
mod replay;
mod request;
mod rotate;
mod schema;
mod set_aside;
mod trial;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::State;

/// The routes of `/v1/admin/webhooks`.
pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(list::list, create::create))
        .routes(routes!(one::find, change::change, change::delete))
        .routes(routes!(commands::pause))
        .routes(routes!(commands::resume))
        .routes(routes!(commands::retry))
        .routes(routes!(trial::test))
        .routes(routes!(replay::replay))
        .routes(routes!(rotate::rotate))
        .routes(routes!(attempts::list))
        .routes(routes!(set_aside::list))
        .routes(routes!(set_aside::retry))
}

/// The readers of the bodies, for the comparison with their schemas.
#[cfg(test)]
pub(in crate::api) mod read_for_test {
    use super::request;
    use crate::api::error::ApiError;

    pub(in crate::api) fn create(body: Vec<u8>) -> Result<(), ApiError> {
        Ok(request::create(body).map(|_| ())?)
    }

    pub(in crate::api) fn change(body: Vec<u8>) -> Result<(), ApiError> {
        Ok(request::change(body).map(|_| ())?)
    }

    pub(in crate::api) fn replay(body: Vec<u8>) -> Result<(), ApiError> {
        Ok(request::replay(body).map(|_| ())?)
    }

    pub(in crate::api) fn rotate(body: Vec<u8>) -> Result<(), ApiError> {
        Ok(request::rotate(body).map(|_| ())?)
    }
}
