//! Reads the body of a request, and checks its type, its size and its speed.

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName};
use http_body_util::BodyExt;
use tokio::time::{Duration, Instant, timeout};

use super::State;
use super::error::ApiError;
use super::json;
use super::query::Parameters;
use crate::domain::{InputCode, ValidationError};

/// The time that a whole body may take: at the largest size about 280 kB/s.
const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// The bytes of a stream that have to arrive in that time, unless a line ends.
const STREAM_BYTES: usize = 64 << 10;

/// The most bytes of a body about one device: room for two of the longest tokens and the most topics, escaped.
pub const DEVICE_BYTES_MAX: usize = 256 << 10;

/// The bytes of a body with a JSON `Content-Type`, at most `limits.body_bytes`.
#[derive(Debug)]
pub struct JsonBody(pub Vec<u8>);

impl FromRequest<State> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &State) -> Result<Self, ApiError> {
        read_json(request, state.limits.body_bytes).await.map(Self)
    }
}

/// The bytes of a body about one device with a JSON `Content-Type`, at most [`DEVICE_BYTES_MAX`].
#[derive(Debug)]
pub struct DeviceBody(pub Vec<u8>);

impl FromRequest<State> for DeviceBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &State) -> Result<Self, ApiError> {
        read_json(request, state.limits.body_bytes.min(DEVICE_BYTES_MAX)).await.map(Self)
    }
}

/// The most bytes of a body with an API key.
const KEY_BYTES_MAX: usize = 4 << 10;

/// The bytes of a body with an API key and a JSON `Content-Type`, at most [`KEY_BYTES_MAX`].
#[derive(Debug)]
pub struct KeyBody(pub Vec<u8>);

impl FromRequest<State> for KeyBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &State) -> Result<Self, ApiError> {
        read_json(request, KEY_BYTES_MAX).await.map(Self)
    }
}

/// The query parameters of a call that takes no body. Its body may be missing, empty or `{}`. Members are refused as
/// unknown, because a caller that sends some expects them to do something.
#[derive(Debug)]
pub struct NoBody(pub Parameters);

impl FromRequest<State> for NoBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &State) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let Ok(mut parameters) = Parameters::from_request_parts(&mut parts, state).await;
        let limit = state.limits.body_bytes.min(DEVICE_BYTES_MAX);
        let body = read_bytes(&parts.headers, body, limit).await?;
        if body.is_empty() {
            return Ok(Self(parameters));
        }
        require_json(&parts.headers)?;
        let nothing = json::read(body, |fields| {
            fields.finish();
            Some(())
        });
        parameters.add_of_body(nothing.err().unwrap_or_default());
        Ok(Self(parameters))
    }
}

async fn read_json(request: Request, limit: usize) -> Result<Vec<u8>, ApiError> {
    let (parts, body) = request.into_parts();
    require_json(&parts.headers)?;
    read_bytes(&parts.headers, body, limit).await
}

fn require_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let is_readable = is_json(headers) && !is_encoded(headers);
    if is_readable { Ok(()) } else { Err(ApiError::UnsupportedMediaType) }
}

async fn read_bytes(headers: &HeaderMap, body: Body, limit: usize) -> Result<Vec<u8>, ApiError> {
    let announced = announced(headers);
    if announced.is_some_and(|length| length > limit) {
        return Err(ApiError::BodyTooLarge(limit));
    }
    match timeout(BODY_DEADLINE, collect(body, announced.unwrap_or_default(), limit)).await {
        Ok(read) => read,
        Err(_) => Err(ApiError::BodyTooSlow),
    }
}

/// A body with an NDJSON `Content-Type`, as a stream of any size.
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

/// The pieces of a stream. Its sender has to keep a least speed.
#[derive(Debug)]
pub struct Pieces {
    body: Body,
    /// The time left until a line has to end or [`STREAM_BYTES`] have to arrive.
    patience: Duration,
    /// Bytes since a line ended.
    bytes: usize,
}

impl Pieces {
    /// The next piece; none at the end. The future may be dropped.
    ///
    /// # Errors
    /// The stream is too slow or broke off.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        loop {
            let from = Instant::now();
            let frame = timeout(self.patience, self.body.frame()).await;
            // Only waiting counts: the sender is not responsible for how fast pieces are taken.
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

/// Room for the `announced` bytes is allocated at once, because a buffer that grows is copied. The system gives memory
/// only to pages that are written.
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

/// A compressed body is refused, because a small one could decompress to a very large one.
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
