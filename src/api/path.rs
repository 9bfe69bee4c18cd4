//! The variable part of a path.

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;

use super::State;
use super::error::ApiError;

/// The one variable part, decoded. What can't be decoded names nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathPart(pub String);

impl FromRequestParts<State> for PathPart {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        let part = Path::<String>::from_request_parts(parts, state).await;
        part.map(|Path(text)| Self(text)).map_err(|_| ApiError::NotFound)
    }
}
