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
pub(super) mod preview;
pub(super) mod request;
mod schema;
pub(super) mod send;
mod send_time;
mod status;
mod unmatched;
mod why;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::State;

pub(super) use status::CountsAnswer;
pub(super) use unmatched::UnmatchedAnswer;

/// The routes of `/v1/notifications`.
pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(send::send, list::list))
        .routes(routes!(batch::send_batch))
        .routes(routes!(status::get, cancel::cancel))
        .routes(routes!(cancel_label::cancel))
        .routes(routes!(preview::preview))
        .routes(routes!(deliveries::list))
        .routes(routes!(why::why))
}

/// The readers of bodies, for the test that compares it with the OpenAPI document.
#[cfg(test)]
pub(in crate::api) mod read_for_test {
    use std::sync::LazyLock;

    use super::idempotency::HeaderKey;
    use super::request::{Context, read, read_preview};
    use crate::api::error::ApiError;
    use crate::api::tests::app;
    use crate::domain::{App, InstallationKey, Ttl};
    use crate::provider::Providers;

    pub(in crate::api) fn cancel(body: Vec<u8>) -> Result<(), ApiError> {
        super::cancel_label::read(body).map(drop)
    }

    pub(in crate::api) fn send(body: Vec<u8>) -> Result<(), ApiError> {
        let (app, key) = (app(), InstallationKey::new([7; 32]));
        read(body, context(&app, &key)).1.map(drop)
    }

    pub(in crate::api) fn preview(body: Vec<u8>) -> Result<(), ApiError> {
        let (app, key) = (app(), InstallationKey::new([7; 32]));
        match read_preview(body, context(&app, &key)) {
            Ok((_, problems)) if !problems.is_empty() => Err(ApiError::Invalid(problems)),
            read => read.map(drop),
        }
    }

    fn context<'a>(app: &'a App, key: &'a InstallationKey) -> Context<'a> {
        static PROVIDERS: LazyLock<Providers> = LazyLock::new(Providers::default);
        Context {
            app,
            providers: &PROVIDERS,
            installation: key,
            targets_max: 10,
            now: chrono::DateTime::UNIX_EPOCH,
            default_ttl: Ttl::MAX,
            header_key: HeaderKey::Absent,
            checks_size: true,
            rejects_bad_tokens: false,
        }
    }
}

#[cfg(test)]
mod tests;
