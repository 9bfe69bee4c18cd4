//! `/v1/notifications`: sending, listing and cancelling notifications, their status and their deliveries.

mod audience;
pub(super) mod batch;
mod batch_answer;
mod cancel;
mod cancel_label;
mod content;
mod deliveries;
mod idempotency;
mod label;
mod list;
mod request;
mod schema;
pub(super) mod send;
mod status;
mod unmatched;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::State;

pub(super) use unmatched::UnmatchedAnswer;

/// The routes of `/v1/notifications`.
pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(send::send, list::list))
        .routes(routes!(batch::send_batch))
        .routes(routes!(status::get, cancel::cancel))
        .routes(routes!(cancel_label::cancel))
        .routes(routes!(deliveries::list))
}

/// The readers of bodies, for the test that compares it with the OpenAPI document.
#[cfg(test)]
pub(in crate::api) mod read_for_test {
    use super::idempotency::HeaderKey;
    use super::request::{Context, read};
    use crate::api::error::ApiError;
    use crate::api::tests::app;
    use crate::domain::{InstallationKey, Ttl};
    use crate::provider::Providers;

    pub(in crate::api) fn cancel(body: Vec<u8>) -> Result<(), ApiError> {
        super::cancel_label::read(body).map(drop)
    }

    pub(in crate::api) fn send(body: Vec<u8>) -> Result<(), ApiError> {
        let (app, key) = (app(), InstallationKey::new([7; 32]));
        let context = Context {
            app: &app,
            providers: &Providers::default(),
            installation: &key,
            targets_max: 10,
            default_ttl: Ttl::MAX,
            header_key: HeaderKey::Absent,
        };
        read(body, context).1.map(drop)
    }
}

#[cfg(test)]
mod tests;
