//! `/v1/events`: the event log of the key's app, in pages, as lines, or as server-sent events.

mod answer;
mod begin;
mod body;
mod data;
mod list;
mod view;

pub(super) use begin::last_place;
pub(super) use body::{Pieces, StreamForm};

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::State;
use super::error::ApiError;
use crate::domain::InstallationKey;
use crate::events::streams::StreamRefusal;
use crate::events::{EventWriter, ReadError};

/// The routes of `/v1/events`.
pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(list::list))
}

/// Writes events as answers show them. `key` makes the public ids in them.
pub fn writer(key: InstallationKey) -> EventWriter {
    Arc::new(move |app, event, id| view::json(&key, app, event, id))
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Expired { first_day } => Self::EventsExpired(first_day),
            ReadError::Store(error) => error.into(),
        }
    }
}

impl From<StreamRefusal> for ApiError {
    fn from(refusal: StreamRefusal) -> Self {
        match refusal {
            StreamRefusal::ShuttingDown => Self::ShuttingDown,
            StreamRefusal::NodeIsFull(limit) => Self::TooManyStreams { limit, per: "node" },
            StreamRefusal::KeyIsFull(limit) => Self::TooManyStreams { limit, per: "key" },
        }
    }
}
