//! Tests of the pool against real TLS servers: one of the `h2` crate, and one that writes raw frames for behaviour
//! that no library server has.

mod chaos;
mod faults;
mod floods;
mod life;
mod limits;
mod silence;

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{Request, Response as HttpResponse};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Destination, PingSettings, Pool, Response, Settings, TransportError, tls};

/// Longest duration of any step of a test. Reaching it fails the test.
const PATIENCE: Duration = Duration::from_secs(120);

struct Pki {
    server: Arc<rustls::ServerConfig>,
    client: Arc<rustls::ClientConfig>,
}

/// One certificate for all tests, trusted through a CA file as an operator would.
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
        server.alpn_protocols = vec![b"h2".to_vec()];
        let ca = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(ca.path(), made.cert.pem()).unwrap();
        Pki { server: Arc::new(server), client: tls(Some(ca.path())).unwrap() }
    })
}

fn origin(port: u16) -> Destination {
    Destination { host: "localhost".to_owned(), port, proxy: None, tls: pki().client.clone() }
}

fn settings() -> Settings {
    Settings {
        connections: 1,
        max_streams: 100,
        first_streams: usize::MAX,
        prove_first: false,
        connect_timeout: PATIENCE,
        request_timeout: PATIENCE,
        ping: None,
        idle_close: None,
        max_age: Duration::from_secs(3600),
        evict_after_timeouts: 3,
    }
}

/// The pool user's state in tests.
#[derive(Default)]
struct State {
    seen: AtomicUsize,
}

type TestPool = Arc<Pool<State>>;

fn pool(port: u16, settings: Settings) -> TestPool {
    Arc::new(Pool::new(origin(port), settings))
}

fn head(path: &str) -> Request<()> {
    Request::post(format!("https://localhost{path}")).version(http::Version::HTTP_2).body(()).unwrap()
}

async fn send(
    pool: &Pool<State>,
    path: &str,
    body: &'static [u8],
) -> Result<Response<State>, TransportError> {
    let stream = pool.reserve(Instant::now() + PATIENCE).await?;
    stream.send(head(path), Bytes::from_static(body)).await
}

/// Starts `count` simultaneous requests, and returns the server's end of their connection.
async fn in_flight(
    server: &RawServer,
    pool: &TestPool,
    count: usize,
) -> (Raw, JoinSet<Result<Response<State>, TransportError>>) {
    let mut requests = JoinSet::new();
    for _ in 0..count {
        let pool = pool.clone();
        requests.spawn(async move { send(&pool, "/", b"").await });
    }
    let mut raw = server.accept(&[]).await;
    let streams = raw.requests(count).await;
    assert_eq!(streams, (0..count).map(|n| 2 * u32::try_from(n).unwrap() + 1).collect::<Vec<_>>());
    (raw, requests)
}

async fn outcomes(
    requests: JoinSet<Result<Response<State>, TransportError>>,
) -> (usize, Vec<TransportError>) {
    let (ok, failed): (Vec<_>, Vec<_>) = soon(requests.join_all()).await.into_iter().partition(Result::is_ok);
    (ok.len(), failed.into_iter().map(Result::unwrap_err).collect())
}

async fn one_error(requests: JoinSet<Result<Response<State>, TransportError>>) -> TransportError {
    let (_, mut errors) = outcomes(requests).await;
    assert_eq!(errors.len(), 1);
    errors.remove(0)
}

/// Waits until the condition is true. Fails after `PATIENCE`.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let done = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, done).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Waits for a future. Fails after `PATIENCE`.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("in time")
}

/// A server built with the `h2` crate.
struct Server {
    port: u16,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

/// Serves each request with `answer` in a task of its own; `answer` also learns the connection's number.
async fn serve<F, A>(builder: h2::server::Builder, answer: F) -> Server
where
    F: Fn(usize, Request<RecvStream>, SendResponse<Bytes>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = connections.clone();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut each = JoinSet::new();
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let number = counter.fetch_add(1, Ordering::SeqCst);
            each.spawn(serve_connection(tcp, number, builder.clone(), answer.clone()));
        }
    });
    Server { port, connections, _tasks: tasks }
}

async fn serve_connection<F, A>(tcp: TcpStream, number: usize, builder: h2::server::Builder, answer: F)
where
    F: Fn(usize, Request<RecvStream>, SendResponse<Bytes>) -> A,
    A: Future<Output = ()> + Send + 'static,
{
    tcp.set_nodelay(true).unwrap();
    let Ok(tls) = TlsAcceptor::from(pki().server.clone()).accept(tcp).await else { return };
    let Ok(mut connection) = builder.handshake::<_, Bytes>(tls).await else { return };
    let mut requests = JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        requests.spawn(answer(number, request, respond));
        while requests.try_join_next().is_some() {}
    }
}

/// Reads the request's body and answers 200 with it.
async fn echo(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let mut body = request.into_body();
    let mut all = Vec::new();
    while let Some(Ok(chunk)) = body.data().await {
        let _ = body.flow_control().release_capacity(chunk.len());
        all.extend_from_slice(&chunk);
    }
    let Ok(mut stream) = respond.send_response(HttpResponse::new(()), all.is_empty()) else { return };
    if !all.is_empty() {
        let _ = stream.send_data(all.into(), true);
    }
}

/// Accepts connections for a test that writes its frames itself.
struct RawServer {
    port: u16,
    listener: TcpListener,
}

/// One connection of a [`RawServer`], after the prefaces.
struct Raw {
    tls: TlsStream<TcpStream>,
}

#[derive(Debug, PartialEq)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;

impl RawServer {
    async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { port: listener.local_addr().unwrap().port(), listener }
    }

    /// Accepts TCP and TLS.
    async fn accept_tls(&self) -> TlsStream<TcpStream> {
        let (tcp, _) = soon(self.listener.accept()).await.unwrap();
        soon(TlsAcceptor::from(pki().server.clone()).accept(tcp)).await.unwrap()
    }

    /// Accepts a connection and exchanges prefaces with these SETTINGS.
    async fn accept(&self, settings: &[(u16, u32)]) -> Raw {
        let mut raw = Raw { tls: self.accept_tls().await };
        let mut preface = [0; 24];
        soon(raw.tls.read_exact(&mut preface)).await.unwrap();
        assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        raw.settings(settings).await;
        raw
    }
}

impl Raw {
    async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.tls.write_all(&frame).await.unwrap();
        self.tls.flush().await.unwrap();
    }

    /// The next frame; `None` at the connection's end.
    async fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        soon(self.tls.read_exact(&mut head)).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        soon(self.tls.read_exact(&mut payload)).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Whether anything arrives within this time.
    async fn reads_within(&mut self, time: Duration) -> bool {
        timeout(time, self.tls.read_u8()).await.is_ok()
    }

    /// The next frame of this kind, skipping others.
    async fn next(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.read().await.unwrap_or_else(|| panic!("closed before a frame of kind {kind}"));
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// The stream ids of the next `count` requests.
    async fn requests(&mut self, count: usize) -> Vec<u32> {
        let mut streams = Vec::new();
        for _ in 0..count {
            streams.push(self.next(HEADERS).await.stream);
        }
        streams
    }

    async fn settings(&mut self, settings: &[(u16, u32)]) {
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend(id.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        self.write(SETTINGS, 0, 0, &payload).await;
    }

    /// Answers 200 without a body.
    async fn respond(&mut self, stream: u32) {
        self.answer(stream, 0x88).await;
    }

    /// Answers a status without a body. `status` is its index in HPACK's static table: 0x88 is 200, 0x8e is 500.
    async fn answer(&mut self, stream: u32, status: u8) {
        // END_HEADERS and END_STREAM.
        self.write(HEADERS, 0x5, stream, &[status]).await;
    }

    async fn reset(&mut self, stream: u32, code: u32) {
        self.write(RST_STREAM, 0, stream, &code.to_be_bytes()).await;
    }

    async fn go_away(&mut self, last: u32, code: u32, debug: &[u8]) {
        let mut payload = last.to_be_bytes().to_vec();
        payload.extend(code.to_be_bytes());
        payload.extend(debug);
        self.write(GOAWAY, 0, 0, &payload).await;
    }

    /// Closes in order, TLS included.
    async fn close(mut self) {
        let _ = self.tls.shutdown().await;
    }
}
