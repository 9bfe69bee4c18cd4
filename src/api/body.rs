//! Reading a request's body: of the right type, within the limit, in time.

use axum::body::Body;
use axum::extract::FromRequest;
use axum::extract::Request;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName};
use http_body_util::BodyExt;
use tokio::time::{Duration, timeout};

use super::State;
use super::error::ApiError;
use crate::domain::{InputCode, InputFault};

/// For the whole body: at the largest size some 280 kB/s.
const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// The bytes of a body that is said to be JSON.
#[derive(Debug)]
pub struct JsonBody(pub Bytes);

impl FromRequest<State> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &State) -> Result<Self, ApiError> {
        if !is_json(request.headers()) || is_encoded(request.headers()) {
            return Err(ApiError::UnsupportedMediaType);
        }
        let limit = state.limits.body_bytes;
        if announced(request.headers()).is_some_and(|length| length > limit) {
            return Err(ApiError::BodyTooLarge(limit));
        }
        match timeout(BODY_DEADLINE, collect(request.into_body(), limit)).await {
            Ok(read) => read.map(Self),
            Err(_) => Err(ApiError::BodyTooSlow),
        }
    }
}

async fn collect(mut body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            ApiError::fault(InputFault::at("#", InputCode::MalformedJson, "the body broke off"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if all.len() + data.len() > limit {
            return Err(ApiError::BodyTooLarge(limit));
        }
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
}

fn is_json(headers: &HeaderMap) -> bool {
    let essence = text(headers, CONTENT_TYPE).and_then(|value| value.split(';').next()).map(str::trim);
    essence.is_some_and(|essence| {
        let essence = essence.to_ascii_lowercase();
        essence == "application/json" || essence.starts_with("application/") && essence.ends_with("+json")
    })
}

/// Compressed, a small body could be a very large one.
fn is_encoded(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

fn announced(headers: &HeaderMap) -> Option<usize> {
    text(headers, CONTENT_LENGTH)?.parse().ok()
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}
