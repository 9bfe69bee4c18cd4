//! The variable parts of a path, and what is said of an id that can't be one.

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;

use super::State;
use super::error::ApiError;

/// Of a text that stands where a device's id belongs.
pub const NO_DEVICE_ID: &str = "this is no id of a device, which is `dev_` and up to 60 letters and digits";

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

/// A lane's name in one part (`fcm`, `shop%2Ffcm`) or in two (`shop/fcm`), as the log and metrics write it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LaneName(pub String);

impl FromRequestParts<State> for LaneName {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        let named = Path::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let Path(named) = named.map_err(|_| ApiError::NotFound)?;
        let texts: Vec<String> = named.into_iter().map(|(_, text)| text).collect();
        Ok(Self(texts.join("/")))
    }
}
