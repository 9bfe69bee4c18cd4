//! `/v1/devices`: registering, looking up and changing devices.

mod answer;
pub mod export;
pub mod import;
mod list;
pub(super) mod lookup;
mod one;
mod register;
mod request;
mod schema;
mod timeline;
mod user_token;

pub(in crate::api) use answer::{DeviceAnswer, DeviceView};
pub(in crate::api) use request::{no_environment, no_kind, parsed_token};

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::State;
use super::error::ApiError;
use crate::domain::{InputCode, ValidationError};
use crate::registry::devices::Error;

/// The routes of `/v1/devices`.
pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(register::register, list::list))
        .routes(routes!(register::unregister))
        .routes(routes!(import::import))
        .routes(routes!(lookup::lookup))
        .routes(routes!(one::find, one::describe, one::remove))
        .routes(routes!(one::restore))
        .routes(routes!(timeline::list))
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match error {
            Error::RegisteredInFuture(_) => {
                let detail = "registered_at lies in the future";
                Self::fault(ValidationError::at("#/registered_at", InputCode::BadValue, detail))
            }
            Error::UnsupportedDetail(unfit) => Self::Invalid(unfit.into_iter().map(request::unfit).collect()),
            Error::TooManyTopics(limit) => {
                let detail = format!("the app would have more than {limit} topics");
                Self::fault(request::too_many_topics(limit as usize, detail))
            }
            Error::Store(error) => error.into(),
        }
    }
}

/// The readers of bodies, for the test that compares them with the OpenAPI document.
#[cfg(test)]
pub(in crate::api) mod read_for_test {
    use super::{lookup, request};
    use crate::api::error::ApiError;
    use crate::provider::built_in_platforms;
    use crate::registry::registration::Registrar;

    pub(in crate::api) fn registration(body: Vec<u8>) -> Result<(), ApiError> {
        Ok(request::registration(body, Registrar::Backend, &built_in_platforms()).map(drop)?)
    }

    pub(in crate::api) fn changes(body: Vec<u8>) -> Result<(), ApiError> {
        Ok(request::details(body, &built_in_platforms()).map(drop)?)
    }

    pub(in crate::api) fn token(body: Vec<u8>) -> Result<(), ApiError> {
        Ok(request::platform_and_token(body, &built_in_platforms()).map(drop)?)
    }

    pub(in crate::api) fn lookup(body: Vec<u8>) -> Result<(), ApiError> {
        lookup::read(body, &built_in_platforms()).map(drop)
    }
}
