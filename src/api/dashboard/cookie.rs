//! The cookie that holds a session.

use chrono::{DateTime, Utc};
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

/// The name of the cookie.
pub(super) const NAME: &str = "pushpost_session";

/// The values of all cookies of the name. A browser sends several if they were set for several paths.
pub(super) fn values(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let headers = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let cookies = headers.flat_map(|value| value.split(';'));
    cookies.filter_map(|cookie| cookie.trim().strip_prefix(NAME)?.strip_prefix('='))
}

/// Sets the cookie until `ends_at`. `now`: Postgres's time. `is_secure`: the browser sends it over TLS only.
pub(super) fn set(value: &str, now: DateTime<Utc>, ends_at: DateTime<Utc>, is_secure: bool) -> HeaderValue {
    // Seconds from now: the clock of the browser does not count.
    let millis = (ends_at - now).num_milliseconds().max(0);
    header(value, millis.cast_unsigned().div_ceil(1000), is_secure)
}

/// Has the browser forget the cookie.
pub(super) fn clear(is_secure: bool) -> HeaderValue {
    header("", 0, is_secure)
}

fn header(value: &str, max_age: u64, is_secure: bool) -> HeaderValue {
    let secure = if is_secure { "; Secure" } else { "" };
    let cookie =
        format!("{NAME}={value}; Path=/dashboard; Max-Age={max_age}; HttpOnly; SameSite=Strict{secure}");
    cookie.parse().expect("a sealed text is ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cookies_of_the_name_are_read() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, "a=1; pushpost_session=x-_; pushpost_session2=y".parse().expect("a value"));
        headers.append(COOKIE, "pushpost_session=z".parse().expect("a value"));
        assert_eq!(values(&headers).collect::<Vec<_>>(), ["x-_", "z"]);
        assert_eq!(values(&HeaderMap::new()).count(), 0);
    }
}
