//! Ports: accepts TCP, does TLS, and hands each connection to its provider by port and ALPN.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::apns::ApnsSession;
use super::entry::Environment;
use super::fcm::FcmSession;
use super::session::Shared;
use super::{connection, http1};

/// A client that does not finish its TLS handshake by then is dropped.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// After a failed accept (out of file descriptors, say) a moment's rest instead of a busy loop.
const REST: Duration = Duration::from_millis(50);

/// What a port is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Port {
    Apns(Environment),
    Fcm,
}

impl Port {
    /// APNs speaks HTTP/2 only (docs/providers.md 1.1); the token endpoint HTTP/1.1 too.
    pub(super) fn alpn(self) -> &'static [&'static str] {
        match self {
            Self::Apns(_) => &["h2"],
            Self::Fcm => &["h2", "http/1.1"],
        }
    }
}

/// Accepts until told to stop.
pub(super) async fn accept(
    listener: TcpListener,
    port: Port,
    tls: Arc<ServerConfig>,
    shared: Arc<Shared>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(tls);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, _)) => {
                let serving = serve(socket, port, acceptor.clone(), shared.clone(), stop.clone());
                tasks.spawn(serving);
            }
            Err(_) => tokio::time::sleep(REST).await,
        }
    }
}

async fn serve(
    socket: TcpStream,
    port: Port,
    acceptor: TlsAcceptor,
    shared: Arc<Shared>,
    stop: CancellationToken,
) {
    // A socket that refuses the option is about to fail anyway.
    let _ = socket.set_nodelay(true);
    let Ok(Ok(tls)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(socket)).await else { return };
    let number = shared.next_connection.fetch_add(1, Ordering::Relaxed);
    let is_h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    match port {
        Port::Apns(environment) => {
            let session = ApnsSession::new(shared.clone(), environment, number);
            connection::serve(tls, &shared, session, stop).await;
        }
        Port::Fcm if is_h2 => {
            let session = FcmSession::new(shared.clone(), number);
            connection::serve(tls, &shared, session, stop).await;
        }
        Port::Fcm => http1::serve(tls, shared, number, stop).await,
    }
}
