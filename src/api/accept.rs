//! Which media types a client accepts, where a route has several.

use http::HeaderMap;
use http::header::ACCEPT;

/// Does the client name this media type, and not refuse it? `*/*` names none.
pub(super) fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_named = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case(media_type));
        // A quality of 0 says that it is not acceptable (RFC 9110, section 12.4.2).
        let is_refused = |part: &str| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0));
        is_named && !parts.any(is_refused)
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_media_type_is_asked_for_by_its_name() {
        for (value, expected) in [
            ("application/x-ndjson", true),
            ("application/json;q=0.5, Application/X-NDJSON; q=1", true),
            ("application/json", false),
            ("application/x-ndjson; q=0.0, application/json", false),
            ("*/*", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(value));
            assert_eq!(accepts(&headers, "application/x-ndjson"), expected, "{value}");
        }
        assert!(!accepts(&HeaderMap::new(), "application/x-ndjson"));
    }
}
