//! Reads `Retry-After` in both of its forms (RFC 9110 10.2.3), and durations of protobuf.
//! Used by the `response` modules of APNs and FCM, and by webhooks.

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};

/// Longest accepted delay. A longer one is shortened to it.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// The delay that an answer asks for, at most a day. `None` if the header is missing or malformed.
///
/// A date is compared with the answer's own `date`, so that only the answering clock matters. Without a `date` it is
/// compared with `now` (Postgres's clock).
pub fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Some(text.parse().map_or(RETRY_AFTER_MAX, Duration::from_secs).min(RETRY_AFTER_MAX));
    }
    let until = http_date(text)?;
    let from = headers.get(DATE).and_then(|date| http_date(date.to_str().ok()?)).unwrap_or(now);
    Some((until - from).to_std().unwrap_or_default().min(RETRY_AFTER_MAX))
}

fn http_date(text: &str) -> Option<DateTime<Utc>> {
    httpdate::parse_http_date(text).ok().map(DateTime::from)
}

/// Reads a duration in protobuf's JSON form, such as `3.5s` in RetryInfo (docs/providers.md#fcm-responses).
pub(super) fn proto_duration(text: &str) -> Option<Duration> {
    let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok().map(|wait| wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(pairs: &[(&'static str, &str)]) -> Option<u64> {
        let now = DateTime::from_timestamp(1_000_000_000, 0).expect("in range");
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().expect("a header value"));
        }
        retry_after(&headers, now).map(|wait| wait.as_secs())
    }

    #[test]
    fn seconds_and_dates_are_understood_and_bounded() {
        assert_eq!(wait(&[]), None);
        assert_eq!(wait(&[("retry-after", "120")]), Some(120));
        assert_eq!(wait(&[("retry-after", "0")]), Some(0));
        assert_eq!(wait(&[("retry-after", "99999999999999999999999")]), Some(86_400));
        for nonsense in ["", "-1", "soon", "1.5"] {
            assert_eq!(wait(&[("retry-after", nonsense)]), None, "{nonsense}");
        }
        // 1,000,000,000 is Sun, 09 Sep 2001 01:46:40 GMT.
        assert_eq!(wait(&[("retry-after", "Sun, 09 Sep 2001 01:47:40 GMT")]), Some(60));
        assert_eq!(wait(&[("retry-after", "Sun, 09 Sep 2001 01:00:00 GMT")]), Some(0));
        let own = ("date", "Sun, 09 Sep 2001 01:47:30 GMT");
        assert_eq!(wait(&[("retry-after", "Sun, 09 Sep 2001 01:47:40 GMT"), own]), Some(10));
    }

    #[test]
    fn a_proto_duration_is_seconds_with_a_fraction() {
        assert_eq!(proto_duration("3.5s"), Some(Duration::from_millis(3500)));
        assert_eq!(proto_duration("30s"), Some(Duration::from_secs(30)));
        for nonsense in ["", "s", "3", "-1s", "NaNs", "infs"] {
            assert_eq!(proto_duration(nonsense), None, "{nonsense}");
        }
    }
}
