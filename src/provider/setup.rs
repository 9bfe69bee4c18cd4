//! Builds the origin of a client from its settings, and has the timing constants of all providers' connections.

use std::time::Duration;

use http::Uri;
use http::uri::{Authority, Scheme};

use super::proxy::Proxy;
use super::transport::{self, Destination, PingSettings, TlsError};
use crate::settings::{CaFile, Endpoint};

/// Settings that no client can be made of. The text never contains a secret.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The TLS settings could not be made.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The credential can't be used.
    #[error("{setting} can't be used")]
    Credential {
        /// The setting that gave the credential, with its file, variable or line.
        setting: String,
        /// What is wrong with the credential.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another setting can't be used. The text names the key.
    #[error("{0}")]
    Setting(String),
}

/// Connections of a lane that take no requests: two that drain, one to the token endpoint.
pub(super) const OTHER_CONNECTIONS: usize = 3;
/// Longest connect: name resolution, TCP, TLS and HTTP/2 preface together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest request. FCM asks for at least 10 seconds (docs/providers.md#fcm-retries).
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// A connection that is silent while answers are due is given up after 5 s + 5 s
/// (docs/providers.md#connection-failures).
pub(super) const PING_WHILE_WAITING: PingSettings = PingSettings {
    after_silence: Duration::from_secs(5),
    deadline: Duration::from_secs(5),
    while_idle: None,
};
/// Most open streams on a connection that has answered nothing yet.
const FIRST_STREAMS: usize = 10;
/// Longest life of a connection. New connections resolve the host name again, and connections older than a week begin
/// to fail (docs/providers.md#connection-failures).
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// A connection is given up after this many requests in a row without an answer
/// (docs/providers.md#connection-failures).
const EVICT_AFTER_TIMEOUTS: u32 = 3;

/// The settings that connections to any provider have. Idle connections stay open and get no PING.
pub fn pool_settings(connections: usize, max_streams: usize) -> transport::Settings {
    transport::Settings {
        connections,
        max_streams,
        first_streams: FIRST_STREAMS,
        prove_first: false,
        connect_timeout: CONNECT_TIMEOUT,
        request_timeout: REQUEST_TIMEOUT,
        ping: Some(PING_WHILE_WAITING),
        idle_close: None,
        max_age: MAX_AGE,
        evict_after_timeouts: EVICT_AFTER_TIMEOUTS,
    }
}

/// The destination of connections and the authority of requests: `endpoint`, or port 443 of `host` without one.
/// `proxy` is used unless it excludes the endpoint.
///
/// # Errors
/// The CA file holds no usable certificate.
pub fn origin(
    endpoint: Option<&Endpoint>,
    host: &'static str,
    ca_file: Option<&CaFile>,
    proxy: Option<&Proxy>,
) -> Result<(Destination, Authority), SetupError> {
    let authority = match endpoint {
        None => Authority::from_static(host),
        Some(endpoint) => endpoint.authority(),
    };
    let tls = transport::tls(ca_file.map(|file| file.path.as_path()))?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let url = Uri::builder().scheme(Scheme::HTTPS).authority(authority.clone()).path_and_query("/").build();
    let proxy = proxy.zip(url.ok()).and_then(|(proxy, url)| proxy.towards(&url));
    Ok((Destination { host, port: authority.port_u16().unwrap_or(443), proxy, tls }, authority))
}

/// The bytes of a CA file for the fingerprint, because a lane that trusts another CA sends differently.
pub(super) fn ca_bytes(ca_file: Option<&CaFile>) -> &[u8] {
    ca_file.map(|file| file.pem.as_bytes()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_the_endpoint_or_port_443_of_the_providers_host() {
        let made = |endpoint: Option<&str>| {
            let endpoint = endpoint.map(|text| Endpoint::parse(text).expect("an endpoint"));
            let (origin, authority) =
                origin(endpoint.as_ref(), "own.example", None, None).expect("an origin");
            (origin.host, origin.port, authority.to_string())
        };
        let expected = |host: &str, port, authority: &str| (host.to_owned(), port, authority.to_owned());
        assert_eq!(made(None), expected("own.example", 443, "own.example"));
        assert_eq!(made(Some("https://localhost:9443")), expected("localhost", 9443, "localhost:9443"));
        assert_eq!(made(Some("https://push.example/")), expected("push.example", 443, "push.example:443"));
        assert_eq!(made(Some("https://[::1]:9443")), expected("::1", 9443, "[::1]:9443"));
    }
}
