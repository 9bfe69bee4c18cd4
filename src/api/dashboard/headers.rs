//! The headers that every answer below `/dashboard` has: what a browser may do with it.

use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Uri};

/// Scripts, styles and images of this service alone, no frames, and no text that a page makes scripts of.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
     base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
);

/// Whether an answer goes to a page of the dashboard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::api) struct DashboardAnswer(bool);

impl DashboardAnswer {
    /// To a request for this path, before anything rewrites it.
    pub(in crate::api) fn to(uri: &Uri) -> Self {
        Self(
            uri.path()
                .strip_prefix("/dashboard")
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        )
    }

    /// Adds the headers if the answer goes to a page. What a session asked for is kept by no cache.
    pub(in crate::api) fn mark(self, mut response: Response) -> Response {
        if self.0 {
            let headers = response.headers_mut();
            headers.insert(CONTENT_SECURITY_POLICY, POLICY);
            headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
            headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        }
        response
    }
}
