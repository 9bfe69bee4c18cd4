//! The answer to a batch: what became of each item, written as the results come.

use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use utoipa::ToSchema;

use super::send::{SendAnswer, write_answer};
use crate::api::error::ApiError;
use crate::api::problem::{Problem, ProblemDocument};
use crate::notifications::send::SendResult;

/// Once an answer lists this many faults, it lists one for each further item.
const FAULTS_MAX: usize = 10_000;

/// What became of each item of a batch, in the order given.
#[derive(ToSchema, Debug)]
#[expect(dead_code, reason = "describes what `BatchWriter` writes")]
#[schema(example = json!({"items": [
    {"notification": {
        "id": "ntf_0198a2f1c3d47e5f8a9b0c1d2e3f4a5b", "status": "queued", "targets": 2,
        "unmatched": {"users": ["u8"], "users_total": 1, "devices": [], "devices_total": 0}
    }},
    {"problem": {
        "type": "/docs/errors#unprocessable", "title": "The request can't be carried out", "status": 422,
        "code": "unprocessable", "detail": "There is a fault in the request, #/ttl: this is no time to live.",
        "request_id": "0198a2f1c3d47e5f8a9b0c1d2e3f4a5b",
        "errors": [{"pointer": "#/ttl", "code": "bad_ttl", "detail": "this is no time to live"}]
    }}
]}))]
pub(super) struct BatchAnswer<'a> {
    /// One for each item of the request.
    #[schema(min_items = 1)]
    items: Vec<BatchItem<'a>>,
}

/// What became of an item of a batch: it has either `notification` or `problem`.
#[derive(ToSchema, Debug)]
#[expect(dead_code, reason = "describes what `BatchWriter` writes")]
pub(super) struct BatchItem<'a> {
    /// The notification is stored.
    #[schema(inline = false)]
    notification: Option<SendAnswer<'a>>,
    /// `true` if `notification` is the answer to an earlier request with the same idempotency key.
    replayed: Option<bool>,
    /// Nothing of the item is stored, except perhaps after `outcome_unknown`. Pointers begin at the item.
    problem: Option<ProblemDocument<'a>>,
}

/// A batch's answer while it is written.
#[derive(Debug)]
pub(super) struct BatchWriter {
    request_id: String,
    body: Vec<u8>,
    faults: usize,
    /// An item is stored, or may be.
    is_any_stored: bool,
    /// Why the first item was not carried out that may be repeated as it is.
    unavailable: Option<Unavailable>,
    /// The first problem with a cause that belongs into the log.
    internal: Option<Problem>,
}

/// An error of this node or its database that says nothing about the item.
#[derive(Clone, Debug)]
pub(super) enum Unavailable {
    Database(Option<crate::api::problem::Cause>),
    ShuttingDown,
}

impl Unavailable {
    fn of(error: &ApiError) -> Option<Self> {
        match error {
            ApiError::Unavailable(cause) => Some(Self::Database(cause.clone())),
            ApiError::ShuttingDown => Some(Self::ShuttingDown),
            _ => None,
        }
    }

    /// The same error for another item.
    pub(super) fn again(&self) -> ApiError {
        match self {
            Self::Database(cause) => ApiError::Unavailable(cause.clone()),
            Self::ShuttingDown => ApiError::ShuttingDown,
        }
    }
}

impl BatchWriter {
    pub(super) fn new(request_id: String) -> Self {
        Self {
            request_id,
            body: br#"{"items":["#.to_vec(),
            faults: 0,
            is_any_stored: false,
            unavailable: None,
            internal: None,
        }
    }

    /// Why an item before was not carried out, if the next ones would fail for the same reason.
    pub(super) fn unavailable(&self) -> Option<Unavailable> {
        self.unavailable.clone()
    }

    /// Adds the result of the next item.
    pub(super) fn add(&mut self, result: Result<SendResult, ApiError>) {
        if self.body.last() != Some(&b'[') {
            self.body.push(b',');
        }
        match result {
            Ok(SendResult::Accepted(id, acceptance)) => {
                self.write_notification(&write_answer(id, &acceptance), b"}");
            }
            Ok(SendResult::Replayed(id, first)) => {
                self.write_notification(&write_answer(id, &first), br#","replayed":true}"#);
            }
            Err(error) => self.write_problem(error),
        }
    }

    fn write_notification(&mut self, answer: &[u8], end: &[u8]) {
        self.is_any_stored = true;
        self.body.extend_from_slice(br#"{"notification":"#);
        self.body.extend_from_slice(answer);
        self.body.extend_from_slice(end);
    }

    fn write_problem(&mut self, error: ApiError) {
        self.is_any_stored |= matches!(error, ApiError::OutcomeUnknown(_));
        if self.unavailable.is_none() {
            self.unavailable = Unavailable::of(&error);
        }
        let mut problem = error.problem();
        problem.errors.truncate(FAULTS_MAX.saturating_sub(self.faults).max(1));
        self.faults += problem.errors.len();
        self.body.extend_from_slice(br#"{"problem":"#);
        serde_json::to_writer(&mut self.body, &problem.document(Some(&self.request_id)))
            .expect("a problem is always writable");
        self.body.push(b'}');
        if problem.cause.is_some() && self.internal.is_none() {
            self.internal = Some(problem);
        }
    }

    /// The answer to the whole batch, with an item for each notification.
    ///
    /// # Errors
    /// Nothing is stored, and this node or its database is the reason: the batch may be repeated as it is.
    pub(super) fn finish(mut self) -> Result<Response, ApiError> {
        if let Some(unavailable) = self.unavailable.filter(|_| !self.is_any_stored) {
            return Err(unavailable.again());
        }
        if let Some(problem) = self.internal {
            problem.log_cause(&self.request_id, super::batch::PATH);
        }
        self.body.extend_from_slice(b"]}");
        Ok(([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], self.body).into_response())
    }
}
