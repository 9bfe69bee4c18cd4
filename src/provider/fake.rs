//! A server for tests of the clients, with real TLS, HTTP/2 and HTTP/1.1. The test decides the answers.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

use super::{Attempt, Validity};
use crate::domain::DeviceToken;
use crate::settings::CaFile;

/// Longest duration of any step of a test. Reaching it fails the test.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// A request that arrived at the server.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// The number of its connection, counted from 0.
    pub(super) connection: usize,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Status and body of an answer; `None` never answers.
pub(super) type Answer = Option<(u16, String)>;

/// The test server. Dropping it ends its tasks.
pub(super) struct Fake {
    pub(super) port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    _tasks: JoinSet<()>,
}

struct Pki {
    server: Arc<rustls::ServerConfig>,
    ca: tempfile::NamedTempFile,
}

fn pki() -> &'static Pki {
    static PKI: OnceLock<Pki> = OnceLock::new();
    PKI.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let chain = vec![CertificateDer::from(made.cert.der().to_vec())];
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut server = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let ca = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(ca.path(), made.cert.pem()).unwrap();
        Pki { server: Arc::new(server), ca }
    })
}

/// The CA that clients must trust to reach a test server.
pub(super) fn ca() -> CaFile {
    let path = pki().ca.path();
    CaFile { path: path.to_owned(), pem: std::fs::read_to_string(path).unwrap() }
}

/// Starts a server that answers each request with the result of `answer`.
pub(super) async fn serve(answer: impl Fn(&Seen) -> Answer + Clone + Send + Sync + 'static) -> Fake {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        for connection in 0.. {
            let (tcp, _) = listener.accept().await.unwrap();
            let (answer, log) = (answer.clone(), log.clone());
            connections.spawn(async move {
                let Ok(tls) = TlsAcceptor::from(pki().server.clone()).accept(tcp).await else { return };
                let service = service_fn(move |request: Request<Incoming>| {
                    let (answer, log) = (answer.clone(), log.clone());
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await?.to_bytes();
                        let path = head.uri.path().to_owned();
                        let seen = Seen { connection, path, headers: head.headers, body };
                        log.lock().unwrap().push(seen.clone());
                        let Some((status, body)) = answer(&seen) else { return std::future::pending().await };
                        let answer = Response::builder().status(status).body(Full::new(Bytes::from(body)));
                        Ok::<_, hyper::Error>(answer.unwrap())
                    }
                });
                // The client notices how the connection ends.
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(tls), service)
                    .await;
            });
        }
    });
    Fake { port, seen, _tasks: tasks }
}

/// How [`serve_streams`] ends a stream.
#[derive(Clone, Copy)]
pub(super) enum ConnectionFate {
    Answered,
    Reset(h2::Reason),
}

/// Starts a server that ends the first stream by the first fate and so on. The last fate applies to all later streams.
pub(super) async fn serve_streams(fates: &'static [ConnectionFate]) -> Fake {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        for connection in 0.. {
            let (tcp, _) = listener.accept().await.unwrap();
            let tls = TlsAcceptor::from(pki().server.clone()).accept(tcp).await.unwrap();
            let mut streams = h2::server::handshake(tls).await.unwrap();
            while let Some(Ok((request, mut respond))) = streams.accept().await {
                let path = request.uri().path().to_owned();
                let number = {
                    let mut log = log.lock().unwrap();
                    log.push(Seen {
                        connection,
                        path,
                        headers: request.headers().clone(),
                        body: Bytes::new(),
                    });
                    log.len() - 1
                };
                match fates[number.min(fates.len() - 1)] {
                    ConnectionFate::Answered => drop(respond.send_response(Response::new(()), true).unwrap()),
                    ConnectionFate::Reset(reason) => respond.send_reset(reason),
                }
            }
        }
    });
    Fake { port, seen, _tasks: tasks }
}

impl Fake {
    pub(super) fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// All requests so far, in the order of arrival.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

/// The fixed time of all attempts in tests.
pub(super) fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_000_000, 0).unwrap()
}

/// An attempt that expires in an hour.
pub(super) fn attempt(token: &DeviceToken) -> Attempt<'_> {
    Attempt {
        token,
        message_id: Uuid::from_u128(0xAB),
        now: now(),
        expires_at: now() + TimeDelta::hours(1),
        once: false,
        deadline: Instant::now() + PATIENCE,
        validity: Validity(&|| true),
        exchange: None,
    }
}

/// A port without a listener. While the socket is held, no other process can listen on the port.
pub(super) fn closed_port() -> (u16, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    (socket.local_addr().unwrap().port(), socket)
}
