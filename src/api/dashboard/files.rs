//! The files of the dashboard, which are part of the program.

use std::sync::OnceLock;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use sha2::{Digest, Sha256};

use crate::api::error::{ApiError, NotFoundKind};

/// Bytes of the digest of a file that make its `ETag`.
const ETAG_BYTES: usize = 16;
/// A browser asks each time whether the file is still the same, because another version of the service may answer.
const CACHED: HeaderValue = HeaderValue::from_static("no-cache");

/// A file that is served under its name.
#[derive(Debug)]
struct File {
    name: &'static str,
    content_type: HeaderValue,
    content: &'static [u8],
    etag: OnceLock<HeaderValue>,
}

macro_rules! files {
    ($($name:literal $content_type:expr,)*) => {
        /// The files. The first one is the page.
        static FILES: [File; [$($name),*].len()] = [$(File {
            name: $name,
            content_type: HeaderValue::from_static($content_type),
            content: include_bytes!(concat!("files/", $name)),
            etag: OnceLock::new(),
        },)*];
    };
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

files! {
    "index.html" HTML,
    "style.css" CSS,
    "icon.svg" SVG,
    "api.js" SCRIPT,
    "charts.js" SCRIPT,
    "cleanups.js" SCRIPT,
    "devices.js" SCRIPT,
    "dialog.js" SCRIPT,
    "dom.js" SCRIPT,
    "events.js" SCRIPT,
    "format.js" SCRIPT,
    "keys.js" SCRIPT,
    "lane_actions.js" SCRIPT,
    "lanes.js" SCRIPT,
    "live.js" SCRIPT,
    "login.js" SCRIPT,
    "main.js" SCRIPT,
    "notification.js" SCRIPT,
    "notifications.js" SCRIPT,
    "overview.js" SCRIPT,
    "webhook.js" SCRIPT,
    "webhooks.js" SCRIPT,
    "why.js" SCRIPT,
    "widgets.js" SCRIPT,
}

/// Serves the page.
pub(super) async fn serve_index(headers: HeaderMap) -> Response {
    FILES[0].answer(&headers)
}

/// Serves the file of this name, or the page, which reads the rest of its own address. A name that looks like that of a file, and is
/// none, is not found: a page in place of a script would hide that the script is missing.
pub(super) async fn serve(Path(path): Path<String>, headers: HeaderMap) -> Result<Response, ApiError> {
    match FILES.iter().find(|file| file.name == path) {
        Some(file) => Ok(file.answer(&headers)),
        None if is_file_name(&path) => Err(ApiError::NotFound(NotFoundKind::Path)),
        None => Ok(serve_index(headers).await),
    }
}

fn is_file_name(path: &str) -> bool {
    !path.contains('/')
        && [".js", ".css", ".html", ".map", ".svg"].iter().any(|ending| path.ends_with(ending))
}

impl File {
    fn etag(&self) -> &HeaderValue {
        self.etag.get_or_init(|| {
            let digest = Sha256::digest(self.content);
            let etag = format!("\"{}\"", hex::encode(&digest[..ETAG_BYTES]));
            etag.parse().expect("hexadecimal digits are a header's value")
        })
    }

    fn answer(&self, headers: &HeaderMap) -> Response {
        let etag = self.etag();
        let cached = [(ETAG, etag.clone()), (CACHE_CONTROL, CACHED)];
        if is_known(headers, etag) {
            return (StatusCode::NOT_MODIFIED, cached).into_response();
        }
        (cached, [(CONTENT_TYPE, self.content_type.clone())], self.content).into_response()
    }
}

/// Does the browser have the file already (RFC 9110, section 13.1.2)?
fn is_known(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    known
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == etag.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path as FilePath;

    use super::*;

    #[test]
    fn every_file_of_the_folder_is_served() {
        let folder = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("src/api/dashboard/files");
        let found = fs::read_dir(folder).expect("the folder is there");
        let names = found.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
        let is_served = |name: &String| !name.ends_with(".ts") && !name.ends_with(".json");
        let expected: BTreeSet<String> = names.filter(is_served).collect();
        assert_eq!(FILES.iter().map(|file| file.name.to_owned()).collect::<BTreeSet<_>>(), expected);
        assert_eq!(FILES[0].name, "index.html");
    }

    #[test]
    fn a_browser_that_has_the_file_gets_no_second_copy() {
        let asked = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, value.parse().expect("a value"));
            FILES[0].answer(&headers).status()
        };
        let etag = FILES[0].etag().to_str().expect("ASCII");
        for known in [etag, &format!("W/{etag}"), &format!("\"x\", {etag}"), "*"] {
            assert_eq!(asked(known), StatusCode::NOT_MODIFIED, "{known}");
        }
        assert_ne!(FILES[1].etag(), FILES[0].etag());
        for unknown in ["\"x\"", FILES[1].etag().to_str().expect("ASCII"), etag.trim_matches('"')] {
            assert_eq!(asked(unknown), StatusCode::OK, "{unknown}");
        }
    }
}
