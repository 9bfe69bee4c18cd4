//! Decides which origins are reached through the HTTP proxy (docs/operations.md#network).

use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, TryFutureExt as _};
use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::{Service, ServiceExt as _};

use super::transport::ProxyAddress;

/// The port of a proxy URL without a port. 1080 is curl's default.
pub const PROXY_PORT: u16 = 1080;

/// An HTTP proxy for all hosts except loopback and the excluded ones.
#[derive(Debug)]
pub struct Proxy(Matcher);

impl Proxy {
    /// `url` is `http://host:port`, perhaps with a name and a password; `no_proxy` lists hosts, domains, addresses and
    /// networks that are reached without it, by curl's rules.
    pub fn new(url: &str, no_proxy: &[String]) -> Self {
        Self(Matcher::builder().https(url.to_owned()).no(no_proxy.join(",")).build())
    }

    /// The proxy for an origin. `None` if the origin is reached directly, as loopback hosts always are.
    pub fn towards(&self, origin: &Uri) -> Option<ProxyAddress> {
        let host = origin.host()?.trim_start_matches('[').trim_end_matches(']');
        let is_local = host.eq_ignore_ascii_case("localhost")
            || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        if is_local {
            return None;
        }
        self.0.intercept(origin).and_then(|found| address(&found))
    }
}

fn address(proxy: &Intercept) -> Option<ProxyAddress> {
    let host = proxy.uri().host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = proxy.uri().port_u16().unwrap_or(PROXY_PORT);
    let authorization = proxy.basic_auth().cloned().map(|mut header| {
        header.set_sensitive(true);
        header
    });
    Some(ProxyAddress { host, port, authorization })
}

/// A connector for hyper clients that connects directly or through the proxy, as the origin requires.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    direct: HttpConnector,
    proxy: Option<Arc<Proxy>>,
}

impl Connector {
    pub(super) fn new(proxy: Option<Arc<Proxy>>) -> Self {
        let mut direct = HttpConnector::new();
        // The TLS connector around this one handles https.
        direct.enforce_http(false);
        Self { direct, proxy }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.direct.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, origin: Uri) -> Self::Future {
        let Some(proxy) = self.proxy.as_ref().and_then(|proxy| proxy.towards(&origin)) else {
            return self.direct.call(origin).map_err(Into::into).boxed();
        };
        let host = if proxy.host.contains(':') { format!("[{}]", proxy.host) } else { proxy.host };
        let url = match format!("http://{host}:{}", proxy.port).parse() {
            Ok(url) => url,
            Err(error) => return std::future::ready(Err(Box::from(error) as Self::Error)).boxed(),
        };
        let mut tunnel = Tunnel::new(url, self.direct.clone());
        if let Some(authorization) = proxy.authorization {
            tunnel = tunnel.with_auth(authorization);
        }
        tunnel.oneshot(origin).map_err(Into::into).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_excluded_hosts_are_reached_directly() {
        let left_out = [".internal.example", "10.0.0.0/8", "direct.example"].map(str::to_owned);
        let proxy = Proxy::new("http://name:pass%3Aword@proxy.example:3128", &left_out);
        for direct in [
            "https://localhost:9443",
            "https://127.0.0.1:9443",
            "https://[::1]:9443",
            "https://push.internal.example",
            "https://10.1.2.3",
            "https://direct.example",
        ] {
            assert!(proxy.towards(&direct.parse().expect("a URL")).is_none(), "{direct}");
        }
        let found =
            proxy.towards(&Uri::from_static("https://api.push.apple.com")).expect("through the proxy");
        assert_eq!((found.host.as_str(), found.port), ("proxy.example", 3128));
        // RFC 7617: "name:pass:word".
        assert_eq!(found.authorization.expect("a login"), "Basic bmFtZTpwYXNzOndvcmQ=");
        let open = Proxy::new("http://proxy", &[]);
        let found = open.towards(&Uri::from_static("https://fcm.googleapis.com")).expect("through the proxy");
        assert_eq!((found.host.as_str(), found.port, found.authorization), ("proxy", PROXY_PORT, None));
    }
}
