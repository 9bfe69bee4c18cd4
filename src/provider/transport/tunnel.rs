//! The way through an HTTP proxy: CONNECT (RFC 9110 9.3.6), then TLS with the origin itself.

use std::io;

use http::{HeaderValue, Uri};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::{ServiceExt as _, service_fn};

use super::Destination;
use super::error::TransportErrorKind;

/// An HTTP proxy, and how to log in there.
#[derive(Clone, Debug)]
pub struct ProxyAddress {
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// `Proxy-Authorization`, if the proxy wants one.
    pub authorization: Option<HeaderValue>,
}

/// Asks a proxy, to which `tcp` leads, for a connection to the origin.
pub(super) async fn open(
    proxy: &ProxyAddress,
    tcp: TcpStream,
    origin: &Destination,
) -> Result<TcpStream, TransportErrorKind> {
    let host = match origin.host.contains(':') {
        true => format!("[{}]", origin.host),
        false => origin.host.clone(),
    };
    let target: Uri =
        format!("https://{host}:{}", origin.port).parse().map_err(|_| failed(proxy, "unusable host name"))?;
    let mut connected = Some(tcp);
    let connector = service_fn(move |_: Uri| {
        let tcp = connected.take().map(TokioIo::new);
        std::future::ready(tcp.ok_or_else(|| io::Error::other("connected once already")))
    });
    // The address is ours to reach: the service above has it.
    let mut tunnel = Tunnel::new(Uri::from_static("http://proxy"), connector);
    if let Some(authorization) = &proxy.authorization {
        tunnel = tunnel.with_auth(authorization.clone());
    }
    let opened = tunnel.oneshot(target).await;
    // The library says why in its text alone: "unsuccessful", "proxy authorization required", or what the system said.
    opened.map(TokioIo::into_inner).map_err(|error| {
        failed(proxy, &format!("CONNECT: {}", error.to_string().replace("tunnel error: ", "")))
    })
}

/// Any failure at the proxy, also before CONNECT. The reason comes first, because a lane shows 200 characters of it.
pub(super) fn failed(proxy: &ProxyAddress, why: &str) -> TransportErrorKind {
    TransportErrorKind::Connect(format!("{why} (proxy {}:{})", proxy.host, proxy.port).into())
}
