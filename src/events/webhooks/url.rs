//! The URL of a receiver. Its path and query may hold a secret, so they have no `Display`.

use std::fmt;
use std::net::IpAddr;

use http::Uri;

use crate::domain::is_host_of_urls;

/// Longest URL, in bytes.
const URL_MAX: usize = 2_000;

/// An absolute URL, `https` or `http`, without user and password. Whether its host may be reached is judged where it is
/// connected to.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl(Uri);

/// The error of a text that is no URL of a receiver. It does not repeat the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadWebhookUrl {
    /// The text is no absolute URL with a host.
    #[error("must be a URL in ASCII, such as \"https://backend.example.com/pushpost\"")]
    Form,
    /// The text is longer than 2,000 bytes.
    #[error("must have at most 2000 bytes")]
    Length,
    /// The URL has a user or a password.
    #[error("must not have a user or a password, because messages are signed instead")]
    User,
}

impl WebhookUrl {
    /// Checks the form.
    pub fn parse(text: &str) -> Result<Self, BadWebhookUrl> {
        if text.len() > URL_MAX {
            return Err(BadWebhookUrl::Length);
        }
        let uri: Uri = text.parse().map_err(|_| BadWebhookUrl::Form)?;
        let authority = uri.authority().ok_or(BadWebhookUrl::Form)?;
        if authority.as_str().contains('@') {
            return Err(BadWebhookUrl::User);
        }
        // `Uri` accepts a port that is not a number, and then reports no port.
        let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
        let has_port = port.is_empty() || authority.port_u16().is_some_and(|port| port > 0);
        let is_web = matches!(uri.scheme_str(), Some("https" | "http"));
        let url = Self(uri);
        match is_web && has_port && is_host_of_urls(&url.host()) {
            true => Ok(url),
            false => Err(BadWebhookUrl::Form),
        }
    }

    /// For requests and answers to `admin` keys. Not to be logged.
    pub fn expose(&self) -> &Uri {
        &self.0
    }

    /// Scheme, host and port, for logs.
    pub fn origin(&self) -> String {
        let authority = self.0.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        format!("{}://{authority}", self.0.scheme_str().unwrap_or_default())
    }

    /// The host in lower case, without brackets.
    pub fn host(&self) -> String {
        let host = self.0.host().unwrap_or_default();
        host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase()
    }

    /// The host, if it is written as an address.
    pub fn address(&self) -> Option<IpAddr> {
        self.host().parse().ok()
    }

    /// The port, also if it is that of the scheme.
    pub fn port(&self) -> u16 {
        self.0.port_u16().unwrap_or(if self.is_https() { 443 } else { 80 })
    }

    /// Is the connection encrypted?
    pub fn is_https(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookUrl({}/…)", self.origin())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_shows_its_origin_alone() {
        let url =
            WebhookUrl::parse("https://Backend.example.com:8443/hook/s3cret?key=s3cret").expect("a URL");
        assert_eq!(url.origin(), "https://Backend.example.com:8443");
        assert_eq!(url.host(), "backend.example.com");
        assert!(url.is_https());
        assert!(!format!("{url:?}").contains("s3cret"));
        let literal = WebhookUrl::parse("http://[::1]:80").expect("a URL");
        assert_eq!(literal.address(), Some("::1".parse().expect("an address")));
    }

    #[test]
    fn anything_else_is_refused() {
        for wrong in [
            "",
            "backend",
            "/hook",
            "ftp://backend/hook",
            "https://",
            "https://h:x/",
            "https://h:0/",
            "https://é/",
            "https://*/",
            "https://*.example.com/",
            "https://a..b/",
            "https://a!/",
        ] {
            assert_eq!(WebhookUrl::parse(wrong), Err(BadWebhookUrl::Form), "{wrong}");
        }
        assert_eq!(WebhookUrl::parse("https://user:secret@h/"), Err(BadWebhookUrl::User));
        assert_eq!(
            WebhookUrl::parse(&format!("https://h/{}", "x".repeat(2_000))),
            Err(BadWebhookUrl::Length)
        );
    }
}
