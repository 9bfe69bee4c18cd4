//! Compares each answer that a test gets with the OpenAPI document, so that the document lacks nothing of what the API
//! answers, and each body is what its schema says.

use http::{HeaderMap, Method, StatusCode};
use pushpost::domain::exact_json;
use serde_json::Value;

use crate::schema::{self, DOCUMENT};

const PROBLEM: &str = "application/problem+json";
/// The schema of this media type is that of each line.
const NDJSON: &str = "application/x-ndjson";
const EVENT_STREAM: &str = "text/event-stream";

/// Panics if the document knows the operation, and lacks the status, the media type or the problem's code of its answer,
/// or if the body is not what the document says.
#[track_caller]
pub(crate) fn assert_documented(
    method: &Method,
    path: &str,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) {
    let Some(operation) = operation(method, path) else { return };
    let what = format!("{method} {path} answers {status}, which docs/openapi.json");
    let response = &operation["responses"][status.as_str()];
    assert!(response.is_object(), "{what} lacks");
    let Some(content) = response["content"].as_object() else {
        return assert!(body.is_empty(), "{what} has without a body");
    };
    let media_type = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default();
    assert!(content.contains_key(media_type), "{what} has without the media type {media_type}");
    if media_type == EVENT_STREAM {
        return assert_events_documented(&content[NDJSON]["schema"], body, &what);
    }
    let is_stream = media_type == NDJSON;
    let lines = body.split(|byte| is_stream && *byte == b'\n').filter(|line| !is_stream || !line.is_empty());
    for line in lines {
        let line = Value::Object(exact_json::read(line).unwrap());
        let fault = schema::fault(&content[media_type]["schema"], &line);
        assert_eq!(fault, None, "{what} describes otherwise: {line}");
        if media_type == PROBLEM {
            let code = line["code"].as_str().unwrap_or_default();
            let codes = &content[PROBLEM]["examples"];
            assert!(codes.get(code).is_some(), "{what} has without the code {code}");
        }
    }
}

/// The data of each server-sent event is what the schema of a line says.
#[track_caller]
fn assert_events_documented(schema: &'static Value, body: &[u8], what: &str) {
    for line in String::from_utf8_lossy(body).lines() {
        let Some(data) = line.strip_prefix("data: ") else { continue };
        let event = Value::Object(exact_json::read(data.as_bytes()).unwrap());
        assert_eq!(schema::fault(schema, &event), None, "{what} describes otherwise: {event}");
    }
}

/// The operation of a request. None: the API has no such path, or the path has no such method.
fn operation(method: &Method, path: &str) -> Option<&'static Value> {
    let path = path.split('?').next().unwrap_or_default();
    let is_same = |template: &str| {
        let (asked, known): (Vec<_>, Vec<_>) = (path.split('/').collect(), template.split('/').collect());
        let mut pairs = known.iter().zip(&asked);
        known.len() == asked.len() && pairs.all(|(known, asked)| known.starts_with('{') || known == asked)
    };
    let paths = DOCUMENT["paths"].as_object().unwrap();
    // A path without parameters goes before one with parameters.
    let mut matching: Vec<_> = paths.iter().filter(|(template, _)| is_same(template)).collect();
    matching.sort_by_key(|(template, _)| template.matches('{').count());
    matching.first()?.1.get(method.as_str().to_ascii_lowercase())
}
