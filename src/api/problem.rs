//! Problem documents (RFC 9457). A handler's error travels in the answer's extensions. The outermost layer writes the
//! document, because only that layer knows the request's id.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::HeaderValue;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::error::ProblemCode;
use super::schema_enums;
use crate::domain::{ErrorLocation, ValidationError};

/// The cause of a problem inside Pushpost, for the log only.
pub type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// A problem document without the request's id.
#[derive(Clone, Debug)]
pub struct Problem {
    /// What kind of problem it is; decides on status and title.
    pub code: ProblemCode,
    /// This case in words.
    pub detail: String,
    /// Facts for programs.
    pub facts: Map<String, Value>,
    /// Every fault of the request.
    pub errors: Vec<ValidationError>,
    /// The cause, for the log only.
    pub cause: Option<Cause>,
}

impl Problem {
    /// A problem of this kind, without facts.
    pub fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), facts: Map::new(), errors: Vec::new(), cause: None }
    }

    /// Adds a fact for programs.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.facts.insert(name.to_owned(), value.into());
        self
    }

    /// The document as it is answered to a request.
    pub fn document<'a>(&'a self, request_id: Option<&'a str>) -> ProblemDocument<'a> {
        ProblemDocument { problem: self, request_id }
    }

    /// Writes the document into the answer that carries it.
    pub fn write(&self, mut response: Response, request_id: &str) -> Response {
        *response.status_mut() = self.code.status();
        response.headers_mut().remove(CONTENT_LENGTH);
        let json = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        let document = serde_json::to_vec(&self.document(Some(request_id)));
        *response.body_mut() = Body::from(document.expect("a problem is always writable"));
        response
    }

    /// Logs the cause, if there is one: a problem inside Pushpost. `route` is the pattern of the request's path.
    pub fn log_cause(&self, request_id: &str, route: &str) {
        if let Some(cause) = self.causes() {
            let code = self.code.as_str();
            let hint = self.code.operator_hint();
            // An alert or a person that looks for faults of Pushpost must not find a Postgres that is away.
            if self.code == ProblemCode::Internal {
                tracing::error!(
                    request_id,
                    route,
                    code,
                    cause,
                    hint,
                    "request failed with an internal error"
                );
            } else {
                tracing::error!(request_id, route, code, cause, hint, "request failed because of Postgres");
            }
        }
    }

    /// The causes in one line, outermost first.
    fn causes(&self) -> Option<String> {
        let mut error: &dyn std::error::Error = &**self.cause.as_ref()?;
        let mut line = error.to_string();
        while let Some(source) = error.source() {
            line = format!("{line}: {source}");
            error = source;
        }
        Some(line)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.detail)
    }
}

/// A problem as it is answered. It is written member by member, because a thousand faults as a tree take megabytes.
#[derive(Clone, Copy, Debug)]
pub struct ProblemDocument<'a> {
    problem: &'a Problem,
    /// None if there is no request, as for a line that the command line imports.
    request_id: Option<&'a str>,
}

impl Serialize for ProblemDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { problem, request_id } = self;
        let mut document = serializer.serialize_map(None)?;
        document.serialize_entry("type", &format_args!("/docs/errors#{}", problem.code.as_str()))?;
        document.serialize_entry("title", problem.code.title())?;
        document.serialize_entry("status", &problem.code.status().as_u16())?;
        document.serialize_entry("code", problem.code.as_str())?;
        document.serialize_entry("detail", &problem.detail)?;
        if let Some(request_id) = request_id {
            document.serialize_entry("request_id", request_id)?;
        }
        for (name, fact) in &problem.facts {
            document.serialize_entry(name, fact)?;
        }
        if !problem.errors.is_empty() {
            document.serialize_entry("errors", &ErrorEntries(&problem.errors))?;
        }
        document.end()
    }
}

/// Faults as problems list them.
#[derive(Clone, Copy, Debug)]
pub struct ErrorEntries<'a>(pub &'a [ValidationError]);

impl Serialize for ErrorEntries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(ErrorEntry))
    }
}

struct ErrorEntry<'a>(&'a ValidationError);

impl Serialize for ErrorEntry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(fault) = self;
        let (name, place) = match &fault.place {
            ErrorLocation::Pointer(pointer) => ("pointer", pointer.as_str()),
            ErrorLocation::Parameter(parameter) => ("parameter", parameter.as_str()),
            ErrorLocation::Header(header) => ("header", *header),
        };
        let mut entry = serializer.serialize_map(None)?;
        entry.serialize_entry(name, place)?;
        entry.serialize_entry("code", fault.code.as_str())?;
        entry.serialize_entry("detail", &fault.detail)?;
        for (name, fact) in &fault.facts {
            entry.serialize_entry(name, fact)?;
        }
        entry.end()
    }
}

impl PartialSchema for ProblemDocument<'_> {
    fn schema() -> RefOr<Schema> {
        ProblemSchema::schema()
    }
}

impl ToSchema for ProblemDocument<'_> {
    fn name() -> Cow<'static, str> {
        "Problem".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        ProblemSchema::schemas(schemas);
    }
}

/// Why a request was not carried out (RFC 9457). Facts for programs are members of their own.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `ProblemDocument` writes")]
#[schema(example = json!({
    "type": "/docs/errors#invalid_request", "title": "The request is not well formed", "status": 400,
    "code": "invalid_request", "detail": "There are 2 faults in the request; `errors` lists them.",
    "request_id": "0198a2f1c3d47e5f8a9b0c1d2e3f4a5b",
    "errors": [
        {"pointer": "#/to/users", "code": "wrong_type", "detail": "this must be an array", "expected": "array"},
        {
            "pointer": "#/titel", "code": "unknown_field", "detail": "unknown field \"titel\"; did you mean \"title\"?",
            "suggestion": "title"
        }
    ]
}))]
struct ProblemSchema {
    /// `/docs/errors#` and the code.
    r#type: String,
    /// The code in words, for people.
    title: String,
    /// The reply status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What kind of problem it is. The words are stable.
    #[schema(value_type = schema_enums::ProblemWord)]
    code: String,
    /// This case in words, for people.
    detail: String,
    /// The request's id, which is in the log too. Absent where there is no request.
    request_id: Option<String>,
    /// The limit that was exceeded.
    limit: Option<u64>,
    /// From when on events are kept.
    oldest: Option<String>,
    /// What a limit counts: `key`, `address`, `token`, `node`, `webhook` or `app`.
    per: Option<String>,
    /// What is wrong with a user token.
    #[schema(value_type = Option<schema_enums::UserTokenReason>)]
    reason: Option<String>,
    /// The scopes of which one would be enough.
    scopes: Option<Vec<String>>,
    /// The types of events that were named and that the key does not see.
    types: Option<Vec<String>>,
    /// The lanes that there are, if one was named that is not among them.
    supported: Option<Vec<String>>,
    /// What an import that did not come to its end has imported.
    #[schema(value_type = Option<Object>)]
    import: Option<Value>,
    /// Every fault of the request, in the order of the body.
    #[schema(inline, max_items = 1000)]
    errors: Option<Vec<ValidationErrorSchema>>,
}

/// One fault of a request. It has one of `pointer`, `parameter` and `header`; facts for programs are members of their own.
#[derive(ToSchema)]
#[schema(as = ValidationError)]
#[expect(dead_code, reason = "describes what `ProblemDocument` writes")]
pub(super) struct ValidationErrorSchema {
    /// The place in the body, as a JSON pointer.
    pointer: Option<String>,
    /// The query parameter.
    parameter: Option<String>,
    /// The header's name.
    header: Option<String>,
    /// What kind of fault it is. The words are stable.
    #[schema(value_type = schema_enums::FaultWord)]
    code: String,
    /// What is wrong, in words for people.
    detail: String,
    /// The known name that was probably meant.
    suggestion: Option<String>,
    /// The values that there are.
    supported: Option<Vec<String>>,
    /// What could stand here: the JSON type of a member, or the next part of a condition.
    expected: Option<String>,
    /// The least value of a number, or the earliest time.
    #[schema(value_type = Option<schema_enums::Bound>)]
    minimum: Option<Value>,
    /// The greatest value of a number, or the latest time.
    #[schema(value_type = Option<schema_enums::Bound>)]
    maximum: Option<Value>,
    /// The limit that was exceeded.
    limit: Option<u64>,
    /// The size that was too large.
    size: Option<u64>,
    /// The provider that the fault is about.
    platform: Option<String>,
    /// The lane without credentials.
    lane: Option<String>,
    /// The part that is too large for FCM: `message` or `apns.payload`.
    part: Option<String>,
    /// Where a condition has its fault, in bytes.
    offset: Option<u64>,
    /// Where the JSON has its fault: the line, from 1.
    line: Option<u64>,
    /// Where the JSON has its fault: the column, from 1.
    column: Option<u64>,
}
