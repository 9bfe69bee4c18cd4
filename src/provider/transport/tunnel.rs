//! Connects through an HTTP proxy with CONNECT (RFC 9110 9.3.6). TLS then goes to the origin itself.

use std::io;

use http::{HeaderValue, Uri};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::{ServiceExt as _, service_fn};

use super::Destination;
use super::error::TransportErrorKind;

/// The address of an HTTP proxy, with the login if it needs one.
#[derive(Clone, Debug)]
pub struct ProxyAddress {
    /// Host name or address, without brackets.
    pub host: String,
    /// The TCP port of the proxy.
    pub port: u16,
    /// The `Proxy-Authorization` header, if the proxy needs a login.
    pub authorization: Option<HeaderValue>,
}

/// Asks the proxy at the other end of `tcp` for a connection to the origin.
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
    // The URL is not used, because the service above returns the existing connection.
    let mut tunnel = Tunnel::new(Uri::from_static("http://proxy"), connector);
    if let Some(authorization) = &proxy.authorization {
        tunnel = tunnel.with_auth(authorization.clone());
    }
    let opened = tunnel.oneshot(target).await;
    // The library gives the cause only as text: "unsuccessful", "proxy authorization required" or an error of the
    // system.
    opened.map(TokioIo::into_inner).map_err(|error| {
        failed(proxy, &format!("CONNECT: {}", error.to_string().replace("tunnel error: ", "")))
    })
}

/// The error for a failure at the proxy, before or at CONNECT. The cause comes first, because a lane shows 200
/// characters.
pub(super) fn failed(proxy: &ProxyAddress, why: &str) -> TransportErrorKind {
    TransportErrorKind::Connect(format!("{why} (proxy {}:{})", proxy.host, proxy.port).into())
}
