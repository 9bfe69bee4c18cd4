//! `/docs`: the reference of the API, the runbook and the other documents as pages for people. Every node serves them,
//! also while it waits for its database, because the links of alerts lead to the runbook.
//!
//! A page is plain HTML without a script, and loads nothing but the style sheet. It is made at its first request, so that
//! neither builds nor starts pay for it.

mod curl;
mod markdown;
mod page;
mod reference;

use std::sync::OnceLock;

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};

use super::error::{ApiError, NotFoundKind};

/// The one style sheet of all pages.
const STYLE: &str = include_str!("style.css");
/// No script, nothing of other hosts, no frames. The icon is an empty `data:` URL.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";
/// Pages change only with the version of the service.
const CACHED: &str = "max-age=300";

macro_rules! documents {
    ($($name:literal $title:literal,)*) => {
        /// The documents of the folder `docs` that are served, in the order of the list of pages.
        static DOCUMENTS: [Document; [$($name),*].len()] = [$(Document {
            name: $name,
            title: $title,
            markdown: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/", $name, ".md")),
            html: OnceLock::new(),
        },)*];
    };
}

documents! {
    "guide" "Guide",
    "api" "API",
    "api_fields" "Fields",
    "errors" "Errors",
    "reasons" "Reasons",
    "configuration" "Configuration",
    "operations" "Operations",
    "dashboard" "Dashboard",
    "metrics" "Metrics",
    "logs" "Logs",
    "traces" "Traces",
    "webhooks" "Webhooks",
    "runbook" "Runbook",
    "lane_states" "Lane states",
    "providers" "Providers",
    "queue" "Queue rules",
    "faults" "Faults",
    "performance" "Performance",
    "simulator" "Simulator",
    "glossary" "Glossary",
}

/// A document in Markdown, which is answered as HTML.
#[derive(Debug)]
struct Document {
    /// The name of the file without its extension, which is also the last part of the path.
    name: &'static str,
    /// The name in the list of pages.
    title: &'static str,
    markdown: &'static str,
    html: OnceLock<String>,
}

impl Document {
    fn html(&'static self) -> &'static str {
        self.html.get_or_init(|| page::page(self.name, self.title, &markdown::article(self.markdown)))
    }
}

fn document(name: &str) -> Option<&'static Document> {
    DOCUMENTS.iter().find(|document| document.name == name)
}

/// The routes, for a router of any state.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/docs", get(async || html(reference())))
        .route("/docs/style.css", get(async || answer("text/css; charset=utf-8", STYLE)))
        .route("/docs/{page}", get(serve_document))
}

async fn serve_document(Path(name): Path<String>) -> Result<Response, ApiError> {
    let document = document(&name).ok_or(ApiError::NotFound(NotFoundKind::Path))?;
    Ok(html(document.html()))
}

/// The page of the reference.
fn reference() -> &'static str {
    static PAGE: OnceLock<String> = OnceLock::new();
    PAGE.get_or_init(|| page::page("", "Reference", &reference::article()))
}

fn html(page: &'static str) -> Response {
    answer("text/html; charset=utf-8", page)
}

fn answer(content_type: &'static str, body: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, content_type),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, CACHED),
    ];
    (headers, body).into_response()
}

#[cfg(test)]
mod tests;
