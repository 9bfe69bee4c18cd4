//! Lets a request end its connection at once, whatever else the connection does.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::request::Parts;
use tokio_util::sync::CancellationToken;

/// Ends the connection of a request. Clones are the same. Without a connection, as in a test, it ends nothing.
#[derive(Clone, Debug, Default)]
pub(in crate::api) struct ConnectionCut(CancellationToken);

impl ConnectionCut {
    /// Cancelled to end the connection.
    pub(in crate::api) fn token(&self) -> CancellationToken {
        self.0.clone()
    }

    /// Waits until the connection is to end.
    pub(super) async fn happened(&self) {
        self.0.cancelled().await;
    }
}

impl<S: Sync> FromRequestParts<S> for ConnectionCut {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}
