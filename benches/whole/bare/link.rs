//! One connection.

use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use http::Uri;
use http::uri::Authority;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::gather::Gather;

/// As the service has it.
const CONNECTION_WINDOW: u32 = 1 << 20;

/// Where to connect.
#[derive(Clone)]
pub(super) struct Origin {
    authority: Authority,
    tls: Arc<rustls::ClientConfig>,
}

impl Origin {
    /// The origin of an endpoint such as `https://localhost:PORT`.
    pub(super) fn new(endpoint: &str, tls: Arc<rustls::ClientConfig>) -> anyhow::Result<Self> {
        let uri: Uri = endpoint.parse()?;
        let authority = uri.authority().context("an endpoint has an authority")?.clone();
        Ok(Self { authority, tls })
    }

    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }
}

/// A connection that only its owner drives.
pub(super) struct Link {
    pub(super) sender: SendRequest<Bytes>,
    pub(super) connection: Connection<Gather<TlsStream<TcpStream>>, Bytes>,
}

impl Link {
    pub(super) async fn open(origin: &Origin) -> anyhow::Result<Self> {
        let host = origin.authority.host().to_owned();
        let port = origin.authority.port_u16().context("an endpoint has a port")?;
        let tcp = TcpStream::connect((host.as_str(), port)).await?;
        tcp.set_nodelay(true)?;
        let tls = TlsConnector::from(origin.tls.clone()).connect(ServerName::try_from(host)?, tcp).await?;
        // APNs allows one stream until it has seen a provider token; what more there may be its SETTINGS tell.
        let (sender, connection) = h2::client::Builder::new()
            .initial_max_send_streams(1)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .enable_push(false)
            .handshake(Gather::new(tls))
            .await?;
        Ok(Self { sender, connection })
    }
}
