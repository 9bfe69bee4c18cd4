//! Origins of a push service: HTTP/2 over TLS at `localhost` and `127.0.0.1`, which keep what they receive.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// The certificate that all origins of a test have.
pub(super) struct Certificate {
    pub(super) ca_pem: String,
    tls: Arc<ServerConfig>,
}

/// A message that an origin received.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Received {
    pub(super) path: String,
    pub(super) body: Value,
}

/// An origin. Dropping it ends it.
pub(super) struct Origin {
    /// `https://HOST:PORT`, as a token begins.
    pub(super) url: String,
    state: Arc<Mutex<State>>,
    _accepting: JoinSet<()>,
}

#[derive(Default)]
struct State {
    received: Vec<Received>,
    gone: HashSet<String>,
}

impl Certificate {
    pub(super) fn generate() -> Self {
        let made =
            rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let chain = vec![CertificateDer::from(made.cert.der().to_vec())];
        let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let versions = ServerConfig::builder_with_provider(crypto).with_safe_default_protocol_versions();
        let mut tls = versions.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Self { ca_pem: made.cert.pem(), tls: Arc::new(tls) }
    }
}

impl Origin {
    /// Listens on a free port. `host` is `localhost` or `127.0.0.1`.
    pub(super) async fn start(host: &str, certificate: &Certificate) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let url = format!("https://{host}:{}", listener.local_addr().unwrap().port());
        let state = Arc::new(Mutex::new(State::default()));
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, TlsAcceptor::from(certificate.tls.clone()), state.clone()));
        Self { url, state, _accepting: accepting }
    }

    /// From now on the target at `path` is gone.
    pub(super) fn remove(&self, path: &str) {
        self.state.lock().unwrap().gone.insert(path.to_owned());
    }

    /// What it has accepted so far, in the order of paths.
    pub(super) fn received(&self) -> Vec<Received> {
        let mut received = self.state.lock().unwrap().received.clone();
        received.sort_by(|one, other| one.path.cmp(&other.path));
        received
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        connections.spawn(serve(socket, tls.clone(), state.clone()));
    }
}

async fn serve(socket: TcpStream, tls: TlsAcceptor, state: Arc<Mutex<State>>) {
    // A client that gives up while it connects is its own affair.
    let Ok(stream) = tls.accept(socket).await else { return };
    let service = service_fn(move |request| answer(request, state.clone()));
    let connection =
        http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
    // The client notices how the connection ends.
    let _ended = connection.await;
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<Empty<Bytes>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let mut state = state.lock().unwrap();
    let status = if state.gone.contains(&path) {
        StatusCode::GONE
    } else {
        state.received.push(Received { path, body: serde_json::from_slice(&body).unwrap() });
        StatusCode::CREATED
    };
    Ok(Response::builder().status(status).body(Empty::new()).unwrap())
}
