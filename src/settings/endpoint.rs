//! The address of a provider's stand-in or gateway, in place of the provider's own host.

use std::fmt;

use http::Uri;
use http::uri::Authority;

/// A host and a port, always over TLS.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Endpoint {
    /// A name or an IP address, without brackets.
    host: String,
    /// The TCP port.
    port: u16,
}

/// Not a place to send to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("must be https:// and a host, perhaps with a port, such as \"https://localhost:9443\"")]
pub struct BadEndpoint;

impl Endpoint {
    /// Reads `https://host` or `https://host:port`.
    ///
    /// # Errors
    /// The text has another scheme, no host, a user, a path or a query.
    pub fn parse(text: &str) -> Result<Self, BadEndpoint> {
        let uri: Uri = text.parse().map_err(|_| BadEndpoint)?;
        let bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
        let authority =
            uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or(BadEndpoint)?;
        if uri.scheme_str() != Some("https") || !bare || authority.host().is_empty() {
            return Err(BadEndpoint);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => 443,
            Some(port) => port.trim_start_matches(':').parse().map_err(|_| BadEndpoint)?,
            None => return Err(BadEndpoint),
        };
        Ok(Self { host: host.to_owned(), port })
    }

    /// Host and port of requests, with brackets around an IPv6 address.
    pub fn authority(&self) -> Authority {
        let text = self.to_string();
        let authority = text.trim_start_matches("https://");
        authority.parse().expect("the host was read from a URL")
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "https://[{}]:{}", self.host, self.port),
            false => write!(f, "https://{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_over_tls() {
        let read = |text| Endpoint::parse(text).map(|endpoint| (endpoint.host, endpoint.port));
        assert_eq!(read("https://localhost:9443"), Ok(("localhost".to_owned(), 9443)));
        assert_eq!(read("https://push.example/"), Ok(("push.example".to_owned(), 443)));
        assert_eq!(read("https://[::1]:9443"), Ok(("::1".to_owned(), 9443)));
    }

    #[test]
    fn anything_else_is_refused() {
        let wrong = [
            "",
            "localhost",
            "localhost:9443",
            "http://localhost",
            "https://h/path",
            "https://h?q",
            "https://u:p@h",
            "https://h:x",
        ];
        for text in wrong {
            assert_eq!(Endpoint::parse(text), Err(BadEndpoint), "{text}");
        }
    }
}
