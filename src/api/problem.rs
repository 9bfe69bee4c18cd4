//! Problem documents (RFC 9457). A handler's error travels in the answer's extensions, and the outermost layer writes
//! the document, since only that one knows the request id.

use std::fmt;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};

use crate::domain::{ErrorLocation, ValidationError};

/// What goes wrong inside, for the log only.
pub type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// A problem document before it knows its request.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Reply status.
    pub status: StatusCode,
    /// Stable word.
    pub code: &'static str,
    /// The code in words, the same each time.
    pub title: &'static str,
    /// This case in words.
    pub detail: String,
    /// Facts for programs.
    pub facts: Map<String, Value>,
    /// Every fault of the request.
    pub errors: Vec<ValidationError>,
    /// For the log only.
    pub cause: Option<Cause>,
}

impl Problem {
    /// The document.
    pub fn document<'a>(&'a self, request_id: Option<&'a str>) -> Document<'a> {
        Document { problem: self, request_id }
    }

    /// Writes the document into the answer that carries it.
    pub fn write(&self, mut response: Response, request_id: &str) -> Response {
        *response.status_mut() = self.status;
        response.headers_mut().remove(CONTENT_LENGTH);
        let json = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        let document = serde_json::to_vec(&self.document(Some(request_id)));
        *response.body_mut() = Body::from(document.expect("a problem is always writable"));
        response
    }

    /// The causes in one line, outermost first.
    pub fn causes(&self) -> Option<String> {
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
        write!(f, "{}: {}", self.code, self.detail)
    }
}

/// A problem as an answer has it. It is written member by member, since a thousand faults as a tree take megabytes.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a> {
    problem: &'a Problem,
    /// None where there is no request.
    request_id: Option<&'a str>,
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { problem, request_id } = self;
        let mut document = serializer.serialize_map(None)?;
        document.serialize_entry("type", &format_args!("/docs/errors#{}", problem.code))?;
        document.serialize_entry("title", problem.title)?;
        document.serialize_entry("status", &problem.status.as_u16())?;
        document.serialize_entry("code", problem.code)?;
        document.serialize_entry("detail", &problem.detail)?;
        if let Some(request_id) = request_id {
            document.serialize_entry("request_id", request_id)?;
        }
        for (name, fact) in &problem.facts {
            document.serialize_entry(name, fact)?;
        }
        if !problem.errors.is_empty() {
            document.serialize_entry("errors", &Entries(&problem.errors))?;
        }
        document.end()
    }
}

struct Entries<'a>(&'a [ValidationError]);

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Entry))
    }
}

struct Entry<'a>(&'a ValidationError);

impl Serialize for Entry<'_> {
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
