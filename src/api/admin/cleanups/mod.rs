//! `/v1/admin/cleanups`: clean-up runs, which quarantine devices of apps that were not opened for long.

mod answer;
mod list;
mod one;
mod request;
mod schema;
mod start;

pub(in crate::api) use answer::CleanupAnswer;
pub use answer::json;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::State;
use crate::api::error::ApiError;
use crate::pruning::cleanups::CleanupError;

/// The routes of `/v1/admin/cleanups`.
pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(start::start))
        .routes(routes!(list::list))
        .routes(routes!(one::find))
        .routes(routes!(one::cancel))
        .routes(routes!(one::restore))
}

impl From<CleanupError> for ApiError {
    fn from(error: CleanupError) -> Self {
        match error {
            CleanupError::Running => Self::CleanupRunning,
            CleanupError::NotRestorable => Self::NotRestorable,
            CleanupError::Store(error) => error.into(),
        }
    }
}

/// The reader of the body, for the test that compares it with the OpenAPI document.
#[cfg(test)]
pub(in crate::api) mod read_for_test {
    use super::request::read;
    use crate::api::error::ApiError;
    use crate::api::tests::app;

    pub(in crate::api) fn start(body: Vec<u8>) -> Result<(), ApiError> {
        Ok(read(body, &app()).map(drop)?)
    }
}
