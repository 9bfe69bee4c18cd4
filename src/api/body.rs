//! Reading a request's body: of the right type, within the limit, in time.

use axum::body::Body;
use axum::extract::FromRequest;
use axum::extract::Request;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName};
use http_body_util::BodyExt;
use tokio::time::{Duration, Instant, timeout};

use super::State;
use super::error::ApiError;
use crate::domain::{InputCode, ValidationError};

/// For the whole body: at the largest size some 280 kB/s.
const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// Of a stream, so much has to come in that time, or the end of a line.
const STREAM_BYTES: usize = 64 << 10;

/// Most bytes of a body about one device: room for two of the longest tokens and the most topics, escaped.
pub const DEVICE_BYTES_MAX: usize = 256 << 10;

/// The bytes of a body that is said to be JSON, at most `limits.body_bytes`.
#[derive(Debug)]
pub struct JsonBody(pub Vec<u8>);

impl FromRequest<State> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &State) -> Result<Self, ApiError> {
        read_json(request, state.limits.body_bytes).await.map(Self)
    }
}

/// The bytes of a body that is said to be JSON and is about one device, at most [`DEVICE_BYTES_MAX`].
#[derive(Debug)]
pub struct DeviceBody(pub Vec<u8>);

impl FromRequest<State> for DeviceBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &State) -> Result<Self, ApiError> {
        read_json(request, state.limits.body_bytes.min(DEVICE_BYTES_MAX)).await.map(Self)
    }
}

async fn read_json(request: Request, limit: usize) -> Result<Vec<u8>, ApiError> {
    if !is_json(request.headers()) || is_encoded(request.headers()) {
        return Err(ApiError::UnsupportedMediaType);
    }
    let announced = announced(request.headers());
    if announced.is_some_and(|length| length > limit) {
        return Err(ApiError::BodyTooLarge(limit));
    }
    match timeout(BODY_DEADLINE, collect(request.into_body(), announced.unwrap_or_default(), limit)).await {
        Ok(read) => read,
        Err(_) => Err(ApiError::BodyTooSlow),
    }
}

/// A body that is said to be NDJSON, as a stream of any size.
#[derive(Debug)]
pub struct NdjsonBody(pub Pieces);

impl FromRequest<State> for NdjsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &State) -> Result<Self, ApiError> {
        let is_ndjson = essence(request.headers()).is_some_and(|essence| essence == "application/x-ndjson");
        if !is_ndjson || is_encoded(request.headers()) {
            return Err(ApiError::NotNdjson);
        }
        Ok(Self(Pieces { body: request.into_body(), patience: BODY_DEADLINE, bytes: 0 }))
    }
}

/// The pieces of a stream, whose sender has to get on.
#[derive(Debug)]
pub struct Pieces {
    body: Body,
    /// How long it may still be waited for the next end of a line.
    patience: Duration,
    /// What came since the last one.
    bytes: usize,
}

impl Pieces {
    /// The next piece; none: that was all. The future may be dropped.
    ///
    /// # Errors
    /// It is too slow or broke off.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        loop {
            let from = Instant::now();
            let frame = timeout(self.patience, self.body.frame()).await;
            // Only waiting counts: how fast we take what comes is not the sender's to answer for.
            self.patience = self.patience.saturating_sub(from.elapsed());
            let Some(frame) = frame.map_err(|_| ApiError::BodyTooSlow)? else { return Ok(None) };
            let Ok(data) = frame.map_err(|_| broke_off())?.into_data() else { continue };
            self.bytes += data.len();
            if self.bytes >= STREAM_BYTES || data.contains(&b'\n') {
                (self.patience, self.bytes) = (BODY_DEADLINE, 0);
            }
            return Ok(Some(data));
        }
    }
}

/// Room for what is `announced` is taken at once, since a buffer that grows is copied. The system gives memory only to
/// what is written.
async fn collect(mut body: Body, announced: usize, limit: usize) -> Result<Vec<u8>, ApiError> {
    let mut all = Vec::with_capacity(announced);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| broke_off())?;
        let Ok(data) = frame.into_data() else { continue };
        if all.len() + data.len() > limit {
            return Err(ApiError::BodyTooLarge(limit));
        }
        all.extend_from_slice(&data);
    }
    Ok(all)
}

fn broke_off() -> ApiError {
    ApiError::fault(ValidationError::at("#", InputCode::MalformedJson, "the body broke off"))
}

fn is_json(headers: &HeaderMap) -> bool {
    essence(headers).is_some_and(|essence| {
        essence == "application/json" || essence.starts_with("application/") && essence.ends_with("+json")
    })
}

/// The media type without its parameters, in lower case.
fn essence(headers: &HeaderMap) -> Option<String> {
    let essence = text(headers, CONTENT_TYPE)?.split(';').next()?;
    Some(essence.trim().to_ascii_lowercase())
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
