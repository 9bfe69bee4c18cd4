//! Every way in which a request can fail. This is the only place that chooses reply statuses; `texts` has the words.

mod code;
mod conversions;
mod faults;
mod reasons;
mod responses;
mod texts;

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use chrono::{DateTime, NaiveDate, Utc};
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::Value;

pub use code::ProblemCode;
pub use faults::is_form;
pub use reasons::{KeyFault, NotFoundKind};
pub(super) use responses::*;

use super::problem::Cause;
use super::rates::RateExceeded;
use crate::domain::{BadUserToken, EventType, Scope, ValidationError};

/// Why a request is not carried out. [`ApiError::problem`] makes the answer of it.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Faults in the request; never empty.
    #[error("faults in the request")]
    Invalid(Vec<ValidationError>),
    /// No key, or an unknown or revoked one.
    #[error("no valid key")]
    Unauthenticated(KeyFault),
    /// The key has none of the scopes of which one would be enough.
    #[error("the key's scopes do not reach so far")]
    MissingScope(&'static [Scope]),
    /// The request names types of events that only a key with the scope `admin` sees.
    #[error("the key does not see these events")]
    UnseenEventTypes(Vec<EventType>),
    /// A change by the dashboard's session that no page of the dashboard asked for.
    #[error("the request does not come from the dashboard")]
    CrossSite(&'static str),
    /// An unknown path, or an id that is unknown or another app's.
    #[error("not found")]
    NotFound(NotFoundKind),
    /// The path exists, but not with this method.
    #[error("method not allowed")]
    MethodNotAllowed,
    /// The body took too long to arrive.
    #[error("the body is too slow")]
    BodyTooSlow,
    /// The body is over the limit, in bytes.
    #[error("the body is too large")]
    BodyTooLarge(usize),
    /// More devices, users, tokens and topics in one `to` than the limit.
    #[error("too many targets")]
    TooManyTargets(usize),
    /// More items than one request may name.
    #[error("too many items")]
    TooManyItems(usize),
    /// A user token, but the app's configuration has no keys to check it with.
    #[error("no user tokens here")]
    UserTokensNotConfigured,
    /// A user token that proves nothing.
    #[error("the user token is not valid: {0}")]
    UserTokenInvalid(BadUserToken),
    /// The `Content-Type` is not JSON, or the body is compressed.
    #[error("not JSON")]
    UnsupportedMediaType,
    /// The `Content-Type` is not NDJSON, or the body is compressed.
    #[error("not NDJSON")]
    NotNdjson,
    /// A line of a stream is over the limit, in bytes.
    #[error("the line is too large")]
    LineTooLarge(usize),
    /// An import did not come to its end. The lines that it imported are stored.
    #[error("an import did not come to its end: {why}")]
    Unfinished {
        /// Why it ended early.
        why: Box<ApiError>,
        /// The report on the lines that were gone through.
        import: Box<Value>,
    },
    /// The path and query are over the limit, in bytes.
    #[error("the URL is too long")]
    UrlTooLong(usize),
    /// Names and values of the headers together are over the limit, in bytes.
    #[error("the headers are too large")]
    HeadersTooLarge(usize),
    /// More requests than a rate limit.
    #[error("too fast")]
    RateLimited(RateExceeded),
    /// A fault of Pushpost.
    #[error("internal")]
    Internal(Cause),
    /// The database is out of reach.
    #[error("unavailable")]
    Unavailable(Option<Cause>),
    /// Other requests change the same rows all the time.
    #[error("contended")]
    Contended(Cause),
    /// The answer of a commit was lost, and its outcome could not be found out in time.
    #[error("outcome unknown")]
    OutcomeUnknown(Repeat),
    /// The answer took too long. Some: the request writes, and may have been carried out all the same.
    #[error("overdue")]
    Overdue(Cause, Option<Repeat>),
    /// Too many devices or requests wait already; with the limit if one was exceeded.
    #[error("the queue is full")]
    QueueFull(Option<u64>),
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another request")]
    IdempotencyKeyReused,
    /// A request with the same idempotency key is under way.
    #[error("the idempotency key is in use")]
    IdempotencyKeyInUse,
    /// The app has a clean-up run, or its restoration, under way.
    #[error("a clean-up run is under way")]
    CleanupRunning,
    /// The host of a webhook's URL is not one that the app's configuration names.
    #[error("the host is not allowed")]
    HostNotAllowed,
    /// The webhook is in the configuration.
    #[error("the configuration declares this")]
    DeclaredInConfiguration,
    /// The app has as many webhooks of the API as it may.
    #[error("too many webhooks")]
    TooManyWebhooks(usize),
    /// The webhook has as many secrets that sign as it may.
    #[error("too many secrets")]
    TooManySecrets {
        /// How many there may be.
        limit: usize,
        /// When the first of them ends.
        expires_at: DateTime<Utc>,
    },
    /// The app has a webhook of this name.
    #[error("the webhook exists")]
    WebhookExists,
    /// The clean-up run only counted, or was refused.
    #[error("the run quarantined nothing")]
    NotRestorable,
    /// The configuration keeps no events.
    #[error("no events are kept")]
    EventsOff,
    /// A place in the event log that retention has passed; with the first day that is kept.
    #[error("the events are kept from {0} on")]
    EventsExpired(NaiveDate),
    /// As many streams as there may be.
    #[error("too many streams")]
    TooManyStreams {
        /// How many there may be.
        limit: usize,
        /// What has so many: `node` or `key`.
        per: &'static str,
    },
    /// This node is not ready yet: it waits for its database.
    #[error("starting")]
    Starting,
    /// This node is being shut down.
    #[error("shutting down")]
    ShuttingDown,
}

/// What repeating a request does if its outcome is unknown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Repeat {
    /// A notification may be sent twice, if the requests do not have the same idempotency key.
    MaySendTwice,
    /// Nothing is done twice.
    Harmless,
}

impl Repeat {
    fn in_words(self) -> &'static str {
        match self {
            Self::MaySendTwice => {
                "A repeat may send the notification twice, unless both requests have the same idempotency key."
            }
            Self::Harmless => "The request may be repeated: nothing is done twice.",
        }
    }
}

/// Seconds of `Retry-After`.
const RETRY_UNAVAILABLE: u64 = 2;
const RETRY_QUEUE_FULL: u64 = 30;
const RETRY_KEY_IN_USE: u64 = 1;
const RETRY_TOO_MANY_STREAMS: u64 = 5;
const RETRY_SHUTTING_DOWN: u64 = 1;

impl ApiError {
    /// A fault of Pushpost, from its cause.
    pub fn internal(cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Internal(Arc::new(cause))
    }

    /// A request with one fault.
    pub fn fault(fault: ValidationError) -> Self {
        Self::Invalid(vec![fault])
    }

    /// Seconds until a rate limit lets the next request through.
    fn rate_wait_secs(&self) -> Option<u64> {
        match self {
            Self::RateLimited(too_fast) => Some(too_fast.retry_after_secs()),
            _ => None,
        }
    }
}

/// The header that answers with this code carry: every 503 has `Retry-After`.
fn header(code: ProblemCode, rate_wait_secs: Option<u64>) -> Option<(HeaderName, HeaderValue)> {
    let retry_after = |secs: u64| Some((RETRY_AFTER, secs.into()));
    match code {
        ProblemCode::Unauthenticated | ProblemCode::UserTokenInvalid => {
            Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
        }
        ProblemCode::RateLimited => rate_wait_secs.and_then(retry_after),
        ProblemCode::IdempotencyKeyInUse => retry_after(RETRY_KEY_IN_USE),
        ProblemCode::QueueFull => retry_after(RETRY_QUEUE_FULL),
        ProblemCode::TooManyStreams => retry_after(RETRY_TOO_MANY_STREAMS),
        ProblemCode::ShuttingDown => retry_after(RETRY_SHUTTING_DOWN),
        code if code.status() == StatusCode::SERVICE_UNAVAILABLE => retry_after(RETRY_UNAVAILABLE),
        _ => None,
    }
}

/// The document is written by the outermost layer ([`super::request_layer`]).
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Response::default();
        let rate_wait_secs = self.rate_wait_secs();
        let problem = self.problem();
        if let Some((name, value)) = header(problem.code, rate_wait_secs) {
            response.headers_mut().insert(name, value);
        }
        *response.status_mut() = problem.code.status();
        response.extensions_mut().insert(problem);
        response
    }
}

#[cfg(test)]
mod tests;
