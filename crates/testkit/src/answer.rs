//! An answer of the API, read to its end.

use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;

use crate::documented::assert_documented;

/// Status, headers and body of one answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// The body as it came.
    pub bytes: Vec<u8>,
    /// Null if there is no body, or one that is not JSON.
    pub body: Value,
}

impl Answer {
    /// Reads the answer to a request over HTTP, and compares it with the OpenAPI document.
    ///
    /// # Errors
    /// The connection ended before the body did.
    pub async fn read(method: &Method, response: reqwest::Response) -> reqwest::Result<Self> {
        let (status, headers) = (response.status(), response.headers().clone());
        let path = response.url().path().to_owned();
        let bytes = response.bytes().await?;
        Ok(Self::of(method, &path, status, headers, &bytes))
    }

    /// An answer to a request of this method and path, with its whole body. It is compared with the OpenAPI document.
    pub(crate) fn of(
        method: &Method,
        path: &str,
        status: StatusCode,
        headers: HeaderMap,
        bytes: &[u8],
    ) -> Self {
        assert_documented(method, path, status, &headers, bytes);
        let body = serde_json::from_slice(bytes).unwrap_or(Value::Null);
        Self { status, headers, bytes: bytes.to_vec(), body }
    }
}
