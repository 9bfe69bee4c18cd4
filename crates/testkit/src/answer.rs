//! An answer of the API, read to its end.

use http::{HeaderMap, StatusCode};
use serde_json::Value;

/// Status, headers and JSON body of one answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Null if there is no body, or one that is not JSON.
    pub body: Value,
}

impl Answer {
    /// Reads an answer that came over HTTP.
    ///
    /// # Errors
    /// The connection ended before the body did.
    pub async fn read(response: reqwest::Response) -> reqwest::Result<Self> {
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.bytes().await?;
        Ok(Self { status, headers, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) })
    }
}
