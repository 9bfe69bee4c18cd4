//! Problem documents (RFC 9457). A handler's error travels in the answer's extensions, and the outermost layer writes
//! the document, since only that one knows the request id.

use std::fmt;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use crate::domain::{InputFault, Place};

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
    pub errors: Vec<InputFault>,
    /// For the log only.
    pub cause: Option<Cause>,
}

impl Problem {
    /// The document.
    pub fn document(&self, request_id: &str) -> Value {
        let mut document = Map::new();
        document.insert("type".to_owned(), json!(format!("/docs/errors#{}", self.code)));
        document.insert("title".to_owned(), json!(self.title));
        document.insert("status".to_owned(), json!(self.status.as_u16()));
        document.insert("code".to_owned(), json!(self.code));
        document.insert("detail".to_owned(), json!(self.detail));
        document.insert("request_id".to_owned(), json!(request_id));
        document.extend(self.facts.clone());
        if !self.errors.is_empty() {
            document.insert("errors".to_owned(), self.errors.iter().map(entry).collect());
        }
        Value::Object(document)
    }

    /// Writes the document into the answer that carries it.
    pub fn write(&self, mut response: Response, request_id: &str) -> Response {
        *response.status_mut() = self.status;
        response.headers_mut().remove(CONTENT_LENGTH);
        let json = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        *response.body_mut() = Body::from(self.document(request_id).to_string());
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

fn entry(fault: &InputFault) -> Value {
    let mut entry = Map::new();
    let (name, place) = match &fault.place {
        Place::Pointer(pointer) => ("pointer", pointer.as_str()),
        Place::Parameter(parameter) => ("parameter", parameter.as_str()),
        Place::Header(header) => ("header", *header),
    };
    entry.insert(name.to_owned(), json!(place));
    entry.insert("code".to_owned(), json!(fault.code.as_str()));
    entry.insert("detail".to_owned(), json!(fault.detail));
    entry.extend(fault.facts.clone());
    Value::Object(entry)
}
