//! `/v1/topics`: subscribing devices and users to topics, listing and deleting topics.

mod delete;
mod list;
mod members;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::State;
use super::error::ApiError;
use crate::domain::{ErrorLocation, InputCode, ValidationError};
use crate::registry::topics::SubscribeError;

/// The routes of `/v1/topics`.
pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(list::list))
        .routes(routes!(delete::delete))
        .routes(routes!(members::subscribe))
        .routes(routes!(members::unsubscribe))
}

impl From<SubscribeError> for ApiError {
    fn from(error: SubscribeError) -> Self {
        match error {
            SubscribeError::TooManyTopics(limit) => {
                let detail = format!("the app would have more than {limit} topics");
                let fault = ValidationError {
                    place: ErrorLocation::parameter("topic"),
                    ..ValidationError::at("", InputCode::TooManyTopics, detail)
                };
                Self::fault(fault.with("limit", limit))
            }
            SubscribeError::Store(error) => error.into(),
        }
    }
}

/// The reader of bodies, for the test that compares it with the OpenAPI document.
#[cfg(test)]
pub(in crate::api) mod read_for_test {
    use crate::api::error::ApiError;
    use crate::api::tests::app;
    use crate::domain::InstallationKey;

    pub(in crate::api) fn members(body: Vec<u8>) -> Result<(), ApiError> {
        super::members::read(body, &app(), &InstallationKey::new([7; 32]), 10).map(drop)
    }
}
