//! From settings to an origin: what both providers' clients need before they can connect.

use std::path::Path;
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, Scheme};

use super::proxy::Proxy;
use super::transport::{self, Destination, PingSettings, TlsError};

/// Settings that no client can be made of. Names what is wrong, never a secret.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// `endpoint` is not an https URL of a host and at most a port.
    #[error("endpoint: not https://host or https://host:port")]
    Endpoint,
    /// No TLS settings.
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

/// Bound on name, TCP, TLS and HTTP/2 preface of a connect.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bound on one request. FCM asks for at least 10 seconds (docs/providers.md#fcm-retries).
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// A connection that is silent while answers are due is dead after ten seconds (docs/providers.md#connection-failures).
pub(super) const PING_WHILE_WAITING: PingSettings = PingSettings {
    after_silence: Duration::from_secs(5),
    deadline: Duration::from_secs(5),
    while_idle: None,
};
/// Streams at once on a connection that has answered nothing yet.
pub(super) const FIRST_STREAMS: usize = 10;
/// Longest life of a connection: the names are resolved anew now and then, and older than a week they begin to fail
/// (docs/providers.md#connection-failures).
pub(super) const MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// Requests in a row without an answer after which a connection is given up (docs/providers.md#connection-failures).
pub(super) const EVICT_AFTER_TIMEOUTS: u32 = 3;

/// Where to connect, and what requests name as their authority: `endpoint`, or else port 443 of `host`. `proxy`
/// leads there unless the endpoint is left out of it.
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

/// The bytes of a CA file, as they count for a fingerprint: what trusts another authority is another way to send.
pub(super) fn ca_bytes(ca_file: Option<&Path>) -> Vec<u8> {
    // One that can't be read has been told by `origin`.
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
