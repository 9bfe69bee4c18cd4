//! Ports: accepts TCP, does TLS, and hands each connection to its provider by port and ALPN.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::apns::ApnsSession;
use super::entry::{Environment, Provider};
use super::fcm::FcmSession;
use super::rule::ConnectionFault;
use super::rules::Subject;
use super::session::Shared;
use super::tls::{Face, Keys};
use super::{Error, connection, http1};

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
    /// APNs speaks HTTP/2 only (docs/providers.md#apns-hosts-and-tls); the token endpoint HTTP/1.1 too.
    pub(super) fn alpn(self) -> &'static [&'static str] {
        match self {
            Self::Apns(_) => &["h2"],
            Self::Fcm => &["h2", "http/1.1"],
        }
    }

    /// What the script wants to be wrong with a new connection.
    fn fault(self, shared: &Shared, about: fn(ConnectionFault) -> bool) -> Option<ConnectionFault> {
        let (provider, environment) = match self {
            Self::Apns(environment) => (Provider::Apns, Some(environment)),
            Self::Fcm => (Provider::Fcm, None),
        };
        let elapsed_ms = shared.started.elapsed_ms();
        let subject = Subject { provider, environment, token: None, authorization: None, elapsed_ms };
        shared.rules.decide_connection(subject, about)
    }
}

/// The certificates that a port can show.
#[derive(Clone)]
pub(super) struct Faces {
    own: TlsAcceptor,
    elsewhere: TlsAcceptor,
    stranger: TlsAcceptor,
}

impl Faces {
    /// Those of a port.
    ///
    /// # Errors
    /// [`Error::Tls`] where rustls refuses a certificate.
    pub(super) fn of(keys: &Keys, port: Port) -> Result<Self, Error> {
        let acceptor = |face| Ok::<_, Error>(TlsAcceptor::from(keys.server(face, port.alpn())?));
        Ok(Self {
            own: acceptor(Face::Own)?,
            elsewhere: acceptor(Face::Elsewhere)?,
            stranger: acceptor(Face::Stranger)?,
        })
    }
}

/// Accepts until told to stop.
pub(super) async fn accept(
    listener: TcpListener,
    port: Port,
    faces: Faces,
    shared: Arc<Shared>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, _)) => {
                let serving = serve(socket, port, faces.clone(), shared.clone(), stop.clone());
                tasks.spawn(serving);
            }
            Err(_) => tokio::time::sleep(REST).await,
        }
    }
}

async fn serve(socket: TcpStream, port: Port, faces: Faces, shared: Arc<Shared>, stop: CancellationToken) {
    let before_tls = |fault| fault != ConnectionFault::ZeroWindow;
    let acceptor = match port.fault(&shared, before_tls) {
        Some(ConnectionFault::HangUp) => return,
        Some(ConnectionFault::Silence) => return stop.cancelled().await,
        Some(ConnectionFault::WrongName) => faces.elsewhere,
        Some(ConnectionFault::UnknownAuthority) => faces.stranger,
        Some(ConnectionFault::ZeroWindow) | None => faces.own,
    };
    // A socket that refuses the option is about to fail anyway.
    let _ = socket.set_nodelay(true);
    let Ok(Ok(tls)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(socket)).await else { return };
    let number = shared.next_connection.fetch_add(1, Ordering::Relaxed);
    let is_h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let shut = is_h2 && port.fault(&shared, |fault| fault == ConnectionFault::ZeroWindow).is_some();
    let window = if shut { 0 } else { connection::INITIAL_WINDOW };
    match port {
        Port::Apns(environment) => {
            let session = ApnsSession::new(shared.clone(), environment, number);
            connection::serve(tls, &shared, session, window, stop).await;
        }
        Port::Fcm if is_h2 => {
            let session = FcmSession::new(shared.clone(), number);
            connection::serve(tls, &shared, session, window, stop).await;
        }
        Port::Fcm => http1::serve(tls, shared, number, stop).await,
    }
}
