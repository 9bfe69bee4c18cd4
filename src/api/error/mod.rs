//! Every way in which a request can fail. The only place that chooses a reply status.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::problem::{Cause, Problem};
use super::rates::RateExceeded;
use crate::domain::{InputCode, Scope, ValidationError};
use crate::queue::{accept, backlog};
use crate::store;

/// Why a request is not answered as asked.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// ValidationErrors in what the request says; never empty.
    #[error("faults in the request")]
    Invalid(Vec<ValidationError>),
    /// No key, or an unknown or revoked one.
    #[error("no valid key")]
    Unauthenticated,
    /// A key without any of the scopes that would do.
    #[error("the key's scopes do not reach so far")]
    MissingScope(&'static [Scope]),
    /// Unknown path, or an id that is unknown or another app's.
    #[error("not found")]
    NotFound,
    /// The path exists, the method does not.
    #[error("method not allowed")]
    MethodNotAllowed,
    /// The body took too long to arrive.
    #[error("the body is too slow")]
    BodyTooSlow,
    /// The body is over the limit, in bytes.
    #[error("the body is too large")]
    BodyTooLarge(usize),
    /// More devices, users and tokens in one `to` than the limit.
    #[error("too many targets")]
    TooManyTargets(usize),
    /// More items than one request may name.
    #[error("too many items")]
    TooManyItems(usize),
    /// A user token for an app whose configuration has no keys to check it with.
    #[error("no user tokens here")]
    UserTokensNotConfigured,
    /// The body is not said to be JSON.
    #[error("not JSON")]
    UnsupportedMediaType,
    /// The body is not said to be NDJSON.
    #[error("not NDJSON")]
    NotNdjson,
    /// A line of a stream is over the limit, in bytes.
    #[error("the line is too large")]
    LineTooLarge(usize),
    /// An import did not come to its end. What it came to is stored, and is as the answer of one that did.
    #[error("an import did not come to its end: {why}")]
    Unfinished {
        /// Why not.
        why: Box<ApiError>,
        /// How far it came.
        import: Box<Value>,
    },
    /// The path and query are over the limit, in bytes.
    #[error("the URL is too long")]
    UrlTooLong(usize),
    /// Names and values of the headers together are over the limit, in bytes.
    #[error("the headers are too large")]
    HeadersTooLarge(usize),
    /// Too fast.
    #[error("too fast")]
    RateLimited(RateExceeded),
    /// A fault of ours.
    #[error("internal")]
    Internal(Cause),
    /// The database is out of reach.
    #[error("unavailable")]
    Unavailable(Option<Cause>),
    /// The answer of a commit was lost, and what became of it could not be found out in time.
    #[error("outcome unknown")]
    OutcomeUnknown(Repeat),
    /// The answer took too long. What was asked may have been done all the same.
    #[error("overdue")]
    Overdue(Cause),
    /// Too much is waiting already; with the limit where one was set.
    #[error("the queue is full")]
    QueueFull(Option<u64>),
    /// This node is not ready yet: it waits for its database.
    #[error("starting")]
    Starting,
    /// This node is going away.
    #[error("shutting down")]
    ShuttingDown,
}

/// What it does to send a request again whose outcome is unknown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Repeat {
    /// A notification may be sent twice.
    MaySendTwice,
    /// Nothing is done twice.
    Harmless,
}

/// Seconds that a client is asked to wait.
const RETRY_UNAVAILABLE: u16 = 2;
const RETRY_QUEUE_FULL: u16 = 30;
const RETRY_SHUTTING_DOWN: u16 = 1;

impl ApiError {
    /// A fault of ours, from its cause.
    pub fn internal(cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Internal(Arc::new(cause))
    }

    /// One fault.
    pub fn fault(fault: ValidationError) -> Self {
        Self::Invalid(vec![fault])
    }

    /// The problem document, but for the request id.
    pub fn problem(self) -> Problem {
        match self {
            Self::Invalid(faults) => invalid(faults),
            Self::Unauthenticated => plain(
                StatusCode::UNAUTHORIZED,
                "unauthenticated",
                "No valid key",
                "Send a valid key as `Authorization: Bearer <key>`.",
            ),
            Self::MissingScope(needs) => {
                let names: Vec<_> = needs.iter().map(|scope| scope.as_str()).collect();
                let detail = format!("This needs a key with one of the scopes {}.", names.join(", "));
                plain(StatusCode::FORBIDDEN, "missing_scope", "The key may not do this", detail)
                    .with("scopes", json!(names))
            }
            Self::NotFound => {
                plain(StatusCode::NOT_FOUND, "not_found", "Not found", "There is nothing of this name here.")
            }
            Self::MethodNotAllowed => plain(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "Method not allowed",
                "This path takes only the methods in `Allow`.",
            ),
            Self::UserTokensNotConfigured => plain(
                StatusCode::FORBIDDEN,
                "user_tokens_not_configured",
                "No user tokens here",
                "The configuration has no keys to check this app's user tokens with.",
            ),
            other => other.body(),
        }
    }

    /// What is wrong with the body as a whole.
    fn body(self) -> Problem {
        match self {
            Self::BodyTooSlow => plain(
                StatusCode::REQUEST_TIMEOUT,
                "body_too_slow",
                "The body took too long",
                "The body did not arrive in time.",
            ),
            Self::BodyTooLarge(limit) => {
                let detail = format!("A body may have at most {limit} bytes.");
                plain(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The body is too large", detail)
                    .with("limit", json!(limit))
            }
            Self::TooManyTargets(limit) => {
                let detail = format!(
                    "`to` may name at most {limit} devices, users and tokens together, those in `except` included."
                );
                plain(StatusCode::PAYLOAD_TOO_LARGE, "too_many_targets", "Too many targets", detail)
                    .with("limit", json!(limit))
            }
            Self::TooManyItems(limit) => {
                let detail = format!("One request may name at most {limit} items.");
                plain(StatusCode::PAYLOAD_TOO_LARGE, "too_many_items", "Too many items", detail)
                    .with("limit", json!(limit))
            }
            Self::LineTooLarge(limit) => {
                let detail = format!("A line may have at most {limit} bytes.");
                plain(StatusCode::PAYLOAD_TOO_LARGE, "line_too_large", "The line is too large", detail)
                    .with("limit", json!(limit))
            }
            Self::UnsupportedMediaType => unsupported_media_type("JSON", "application/json"),
            Self::NotNdjson => unsupported_media_type("NDJSON", "application/x-ndjson"),
            Self::UrlTooLong(limit) => {
                let detail = format!("Path and query may have at most {limit} bytes together.");
                plain(StatusCode::URI_TOO_LONG, "url_too_long", "The URL is too long", detail)
                    .with("limit", json!(limit))
            }
            Self::HeadersTooLarge(limit) => {
                let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                let detail =
                    format!("The headers may have at most {limit} bytes, names and values together.");
                plain(status, "headers_too_large", "The headers are too large", detail)
                    .with("limit", json!(limit))
            }
            Self::RateLimited(RateExceeded { limit, scope, .. }) => {
                let detail = format!("At most {limit} requests {}.", scope.in_words());
                plain(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "Too many requests", detail)
                    .with("limit", json!(limit))
                    .with("per", json!(scope.as_str()))
            }
            other => other.ours(),
        }
    }

    /// What is not the client's fault.
    fn ours(self) -> Problem {
        let later = StatusCode::SERVICE_UNAVAILABLE;
        match self {
            Self::Unavailable(cause) => Problem {
                cause,
                ..plain(
                    later,
                    "unavailable",
                    "Unavailable",
                    "The database is out of reach. Nothing was stored.",
                )
            },
            Self::Overdue(cause) => {
                let detail = "This took too long. What was asked may have been done all the same.";
                Problem { cause: Some(cause), ..plain(later, "unavailable", "Unavailable", detail) }
            }
            Self::OutcomeUnknown(repeat) => {
                let repeat = match repeat {
                    Repeat::MaySendTwice => "A repeat may send the notification twice.",
                    Repeat::Harmless => "The request may be repeated: nothing is done twice.",
                };
                let detail = format!(
                    "The database's answer was lost, and it could not be found out whether this was stored. {repeat}"
                );
                plain(later, "outcome_unknown", "Outcome unknown", detail)
            }
            Self::QueueFull(limit) => {
                let full = plain(
                    later,
                    "queue_full",
                    "The queue is full",
                    "Too much is waiting. Nothing was stored.",
                );
                limit.into_iter().fold(full, |full, limit| full.with("limit", json!(limit)))
            }
            Self::Starting => {
                let detail = "This node is starting and waits for its database. Nothing was stored.";
                plain(later, "unavailable", "Unavailable", detail)
            }
            Self::ShuttingDown => {
                plain(later, "shutting_down", "Shutting down", "This node is going away. Nothing was stored.")
            }
            Self::Unfinished { why, import } => unfinished(why.problem(), *import),
            Self::Internal(cause) => Problem { cause: Some(cause), ..internal() },
            _ => internal(),
        }
    }

    fn header(&self) -> Option<(http::HeaderName, HeaderValue)> {
        match self {
            Self::Unauthenticated => Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            Self::Unavailable(_) | Self::OutcomeUnknown(_) | Self::Overdue(_) | Self::Starting => {
                Some((RETRY_AFTER, RETRY_UNAVAILABLE.into()))
            }
            Self::QueueFull(_) => Some((RETRY_AFTER, RETRY_QUEUE_FULL.into())),
            Self::RateLimited(too_fast) => Some((RETRY_AFTER, too_fast.retry_after_secs().into())),
            Self::ShuttingDown => Some((RETRY_AFTER, RETRY_SHUTTING_DOWN.into())),
            Self::Unfinished { why, .. } => why.header(),
            _ => None,
        }
    }
}

/// The document is written by the outermost layer ([`super::request`]).
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Response::default();
        if let Some((name, value)) = self.header() {
            response.headers_mut().insert(name, value);
        }
        let problem = self.problem();
        *response.status_mut() = problem.status;
        response.extensions_mut().insert(problem);
        response
    }
}

impl From<Vec<ValidationError>> for ApiError {
    fn from(faults: Vec<ValidationError>) -> Self {
        Self::Invalid(faults)
    }
}

impl From<store::Error> for ApiError {
    fn from(error: store::Error) -> Self {
        if matches!(error, store::Error::OutcomeUnknown) {
            return Self::OutcomeUnknown(Repeat::Harmless);
        }
        if error.is_unavailable() { Self::Unavailable(Some(Arc::new(error))) } else { Self::internal(error) }
    }
}

impl From<accept::Error> for ApiError {
    fn from(error: accept::Error) -> Self {
        match error {
            accept::Error::Unavailable => Self::Unavailable(None),
            accept::Error::OutcomeUnknown => Self::OutcomeUnknown(Repeat::MaySendTwice),
            accept::Error::Full => Self::QueueFull(None),
            accept::Error::ShuttingDown => Self::ShuttingDown,
            accept::Error::Poisoned(_) => Self::internal(error),
        }
    }
}

impl From<RateExceeded> for ApiError {
    fn from(too_fast: RateExceeded) -> Self {
        Self::RateLimited(too_fast)
    }
}

impl From<backlog::BacklogFull> for ApiError {
    fn from(full: backlog::BacklogFull) -> Self {
        Self::QueueFull(Some(full.limit))
    }
}

/// What a fault says about its request, the gravest first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    Form,
    Forbidden,
    Meaning,
}

/// Is it a fault of form, so that what the request means is not known?
pub fn is_form(code: InputCode) -> bool {
    severity(code) == Severity::Form
}

fn severity(code: InputCode) -> Severity {
    match code {
        InputCode::MalformedJson
        | InputCode::MalformedCsv
        | InputCode::DuplicateField
        | InputCode::UnknownField
        | InputCode::UnknownParameter
        | InputCode::WrongType
        | InputCode::MissingField
        | InputCode::InvalidCursor
        | InputCode::OutOfRange => Severity::Form,
        InputCode::ForbiddenField | InputCode::TopicClosed => Severity::Forbidden,
        _ => Severity::Meaning,
    }
}

fn invalid(errors: Vec<ValidationError>) -> Problem {
    let detail = match errors.as_slice() {
        [only] => {
            let end = if only.detail.ends_with(['?', '.']) { "" } else { "." };
            format!("There is a fault in the request, {}: {}{end}", only.place, only.detail)
        }
        all => format!("There are {} faults in the request; `errors` lists them.", all.len()),
    };
    let gravest = errors.iter().map(|fault| fault.code).min_by_key(|code| severity(*code));
    let (status, code, title) = match gravest.map(|code| (severity(code), code)) {
        Some((Severity::Form, _)) | None => {
            (StatusCode::BAD_REQUEST, "invalid_request", "The request is not well formed")
        }
        Some((Severity::Forbidden, code)) => {
            (StatusCode::FORBIDDEN, code.as_str(), "The key may not set this")
        }
        Some((Severity::Meaning, _)) => {
            (StatusCode::UNPROCESSABLE_ENTITY, "unprocessable", "The request can't be carried out")
        }
    };
    Problem { errors, ..plain(status, code, title, detail) }
}

fn unsupported_media_type(what: &str, media_type: &str) -> Problem {
    let detail = format!("Send {what} as `Content-Type: {media_type}`, without a content encoding.");
    plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "Unsupported media type", detail)
}

/// What the other endpoints say of a failure, nothing was stored, is not so here.
fn unfinished(why: Problem, import: Value) -> Problem {
    let reason = why.detail.trim_end_matches(" Nothing was stored.");
    let line = import.get("stopped_at").cloned().unwrap_or_default();
    let detail = format!("{reason} What stands before line {line} is imported; go on from there.");
    Problem { detail, ..why }.with("import", import)
}

fn internal() -> Problem {
    plain(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "Internal fault",
        "Something went wrong on our side.",
    )
}

fn plain(status: StatusCode, code: &'static str, title: &'static str, detail: impl Into<String>) -> Problem {
    Problem { status, code, title, detail: detail.into(), facts: Map::new(), errors: Vec::new(), cause: None }
}

impl Problem {
    fn with(mut self, name: &str, value: Value) -> Self {
        self.facts.insert(name.to_owned(), value);
        self
    }
}

#[cfg(test)]
mod tests;
