//! Opens an HTTP/2 connection to a host name.
//!
//! Each connect resolves the name again and tries every address, because providers change addresses and ask clients to
//! do so (docs/providers.md#apns-http2).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::TransportErrorKind;
use super::wire::{Traffic, Wire};
use super::{Destination, Settings, tunnel};

/// The only ALPN protocol that is offered.
pub(super) const ALPN: &[u8] = b"h2";

/// Most streams before the peer's first SETTINGS, unless `prove_first` is set. RFC 9113 6.5.2 advises servers to allow
/// at least 100.
const STREAMS_BEFORE_SETTINGS: usize = 100;

/// Receive windows. They are larger than any answer, so no answer waits for a WINDOW_UPDATE.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
const STREAM_WINDOW: u32 = 256 * 1024;

/// Most bytes of an answer's headers. Providers send a few short ones.
const HEADER_LIST_BYTES_MAX: u32 = 64 * 1024;

/// How many timed-out streams are remembered, and for how long. Late frames of these streams are ignored.
const RESET_STREAMS_MAX: usize = 4096;
const RESET_STREAMS_KEPT_FOR: Duration = Duration::from_secs(60);

/// The connection type of `h2` over this transport.
pub(super) type Http2 = h2::client::Connection<Wire<TlsStream<TcpStream>>, Bytes>;

/// A fresh connection. No HTTP/2 frame was read from it yet.
pub(super) struct Dialled {
    pub(super) sender: h2::client::SendRequest<Bytes>,
    pub(super) http2: Http2,
    pub(super) traffic: Arc<Traffic>,
    /// Most streams before the peer's SETTINGS arrive.
    pub(super) initial_streams: usize,
}

/// Connects within `connect_timeout`.
pub(super) async fn dial(origin: &Destination, settings: &Settings) -> Result<Dialled, TransportErrorKind> {
    let deadline = Instant::now() + settings.connect_timeout;
    let tcp = connect(origin, deadline).await?;
    let tls = match timeout_at(deadline, handshake(origin, tcp)).await {
        Ok(done) => done?,
        Err(_) => return Err(TransportErrorKind::Tls("handshake timed out".into())),
    };
    let traffic = Arc::new(Traffic::default());
    let initial_streams = if settings.prove_first { 1 } else { STREAMS_BEFORE_SETTINGS };
    let preface = h2::client::Builder::new()
        .initial_max_send_streams(initial_streams)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_window_size(STREAM_WINDOW)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .enable_push(false)
        .max_concurrent_reset_streams(RESET_STREAMS_MAX)
        .reset_stream_duration(RESET_STREAMS_KEPT_FOR)
        .handshake(Wire::new(tls, traffic.clone()));
    match timeout_at(deadline, preface).await {
        Ok(Ok((sender, http2))) => Ok(Dialled { sender, http2, traffic, initial_streams }),
        Ok(Err(error)) => Err(TransportErrorKind::Connect(error.to_string().into())),
        Err(_) => Err(TransportErrorKind::Connect("preface timed out".into())),
    }
}

/// Connects to the origin, directly or through its proxy.
async fn connect(origin: &Destination, deadline: Instant) -> Result<TcpStream, TransportErrorKind> {
    let Some(proxy) = &origin.proxy else { return connect_tcp(&origin.host, origin.port, deadline).await };
    let tcp = connect_tcp(&proxy.host, proxy.port, deadline).await;
    let tcp = tcp.map_err(|error| match error {
        TransportErrorKind::Connect(why) => tunnel::failed(proxy, &why),
        other => tunnel::failed(proxy, &other.to_string()),
    })?;
    match timeout_at(deadline, tunnel::open(proxy, tcp, origin)).await {
        Ok(opened) => opened,
        Err(_) => Err(tunnel::failed(proxy, "no answer")),
    }
}

async fn connect_tcp(host: &str, port: u16, deadline: Instant) -> Result<TcpStream, TransportErrorKind> {
    let addresses: Vec<SocketAddr> = match timeout_at(deadline, lookup_host((host, port))).await {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => return Err(TransportErrorKind::Dns(error.to_string().into())),
        Err(_) => return Err(TransportErrorKind::Dns("timed out".into())),
    };
    let mut last = TransportErrorKind::Dns("no address".into());
    for (tried, address) in addresses.iter().enumerate() {
        // Each address gets an equal share of the time left, so that a silent address leaves time for the next.
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        match timeout_at(Instant::now() + share, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => {
                if let Err(error) = tcp.set_nodelay(true) {
                    last = TransportErrorKind::Connect(error.to_string().into());
                    continue;
                }
                return Ok(tcp);
            }
            Ok(Err(error)) => last = TransportErrorKind::Connect(format!("{address}: {error}").into()),
            Err(_) => last = TransportErrorKind::Connect(format!("{address}: timed out").into()),
        }
    }
    Err(last)
}

async fn handshake(origin: &Destination, tcp: TcpStream) -> Result<TlsStream<TcpStream>, TransportErrorKind> {
    let name = ServerName::try_from(origin.host.clone())
        .map_err(|error| TransportErrorKind::Tls(error.to_string().into()))?;
    let tls = TlsConnector::from(origin.tls.clone())
        .connect(name, tcp)
        .await
        .map_err(|error| TransportErrorKind::Tls(error.to_string().into()))?;
    if tls.get_ref().1.alpn_protocol() == Some(ALPN) {
        Ok(tls)
    } else {
        Err(TransportErrorKind::Tls("the peer does not speak HTTP/2 (ALPN)".into()))
    }
}
