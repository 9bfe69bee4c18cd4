//! Builds the origin of a client from its settings, and has the timing constants of both providers' connections.

use std::path::Path;
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, Scheme};

use super::proxy::Proxy;
use super::transport::{self, Destination, PingSettings, TlsError};

/// Settings that no client can be made of. The text never contains a secret.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// `endpoint` is not an https URL of a host and at most a port.
    #[error("endpoint: not https://host or https://host:port")]
    Endpoint,
    /// The TLS settings could not be made.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An APNs key that can't be used.
    #[error(transparent)]
    ApnsKey(#[from] super::apns::KeyError),
    /// An APNs topic that can't be a header.
    #[error("topic: not a bundle id")]
    Topic,
    /// A credential for Google that can't be used.
    #[error(transparent)]
    GoogleCredential(#[from] super::fcm::CredentialError),
}

/// Longest connect: name resolution, TCP, TLS and HTTP/2 preface together.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest request. FCM asks for at least 10 seconds (docs/providers.md#fcm-retries).
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// A connection that is silent while answers are due is given up after 5 s + 5 s
/// (docs/providers.md#connection-failures).
pub(super) const PING_WHILE_WAITING: PingSettings = PingSettings {
    after_silence: Duration::from_secs(5),
    deadline: Duration::from_secs(5),
    while_idle: None,
};
/// Most open streams on a connection that has answered nothing yet.
pub(super) const FIRST_STREAMS: usize = 10;
/// Longest life of a connection. New connections resolve the host name again, and connections older than a week begin
/// to fail (docs/providers.md#connection-failures).
pub(super) const MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// A connection is given up after this many requests in a row without an answer
/// (docs/providers.md#connection-failures).
pub(super) const EVICT_AFTER_TIMEOUTS: u32 = 3;

/// The destination of connections and the authority of requests: `endpoint`, or port 443 of `host` without one.
/// `proxy` is used unless it excludes the endpoint.
pub(super) fn origin(
    endpoint: Option<&str>,
    host: &'static str,
    ca_file: Option<&Path>,
    proxy: Option<&Proxy>,
) -> Result<(Destination, Authority), SetupError> {
    let authority = match endpoint {
        None => Authority::from_static(host),
        Some(endpoint) => authority(endpoint).ok_or(SetupError::Endpoint)?,
    };
    let tls = transport::tls(ca_file)?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let url = Uri::builder().scheme(Scheme::HTTPS).authority(authority.clone()).path_and_query("/").build();
    let proxy = proxy.zip(url.ok()).and_then(|(proxy, url)| proxy.towards(&url));
    Ok((Destination { host, port: authority.port_u16().unwrap_or(443), proxy, tls }, authority))
}

/// The bytes of a CA file for the fingerprint, because a lane that trusts another CA sends differently.
pub(super) fn ca_bytes(ca_file: Option<&Path>) -> Vec<u8> {
    // `origin` has reported an unreadable file.
    ca_file.and_then(|path| std::fs::read(path).ok()).unwrap_or_default()
}

fn authority(endpoint: &str) -> Option<Authority> {
    let uri: Uri = endpoint.parse().ok()?;
    let bare = uri.scheme() == Some(&Scheme::HTTPS) && uri.path() == "/" && uri.query().is_none();
    let authority = uri.authority().filter(|authority| bare && !authority.as_str().contains('@'))?;
    (!authority.host().is_empty()).then(|| authority.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_https_host_with_or_without_a_port() {
        let made = |endpoint: &str| {
            origin(Some(endpoint), "unused", None, None)
                .ok()
                .map(|(origin, authority)| (origin.host, origin.port, authority.to_string()))
        };
        let expected =
            |host: &str, port, authority: &str| Some((host.to_owned(), port, authority.to_owned()));
        assert_eq!(made("https://localhost:9443"), expected("localhost", 9443, "localhost:9443"));
        assert_eq!(made("https://push.example/"), expected("push.example", 443, "push.example"));
        assert_eq!(made("https://[::1]:9443"), expected("::1", 9443, "[::1]:9443"));
        for wrong in
            ["http://localhost:9443", "localhost:9443", "https://a/b", "https://u:p@a", "https://a?b", ""]
        {
            assert_eq!(made(wrong), None, "{wrong}");
        }
    }
}
