//! Tests of connections that are slow, idle or stalled. Time is paused, so that a wait of a minute takes no time.

use std::net::Ipv4Addr;

use axum::routing::{get, post};
use futures_util::stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::*;
use crate::api::body::{JsonBody, NdjsonBody};
use crate::api::error::ApiError;
use crate::api::request_layer::RequestLayer;
use crate::api::tests::{shared, state};
use crate::api::{Surface, devices, request_layer};
use crate::telemetry::metrics::{Gauge, Metrics};

const DEADLINE: Duration = Duration::from_secs(120);
/// The value of `server.keep_alive`; shorter than the deadline of a request, so that a test can tell them apart.
const IDLE: Duration = Duration::from_secs(20);
/// Longer than any deadline in these tests.
const LONG: Duration = Duration::from_secs(600);

/// The client's end of a connection, and the task that serves the other end.
struct Client {
    stream: DuplexStream,
    server: JoinSet<()>,
}

/// A router with a route that reads a body, and one with an endless answer.
fn service() -> Router {
    let endless =
        || async { axum::body::Body::from_stream(stream::repeat(Ok::<_, Infallible>(vec![b'x'; 1 << 16]))) };
    Router::new()
        .route("/body", post(async |JsonBody(body): JsonBody| format!("{} bytes", body.len())))
        .route(devices::import::PATH, post(length))
        .route("/endless", get(endless))
        .route("/ok", get(async || "ok"))
        .layer(axum::middleware::from_fn_with_state(RequestLayer::new(Metrics::new()), request_layer::handle))
        .with_state(state())
}

/// Reads a stream, and answers with its length.
async fn length(NdjsonBody(mut pieces): NdjsonBody) -> Result<String, ApiError> {
    let mut bytes = 0;
    while let Some(piece) = pieces.next().await? {
        bytes += piece.len();
    }
    Ok(format!("{bytes} bytes"))
}

fn server() -> Server {
    Server {
        open: Gauge::default(),
        service: service(),
        deadlines: Deadlines { head: HEAD_TIMEOUT, idle: IDLE, stall: STALL_TIMEOUT },
        shutdown: CancellationToken::new(),
        cut: CancellationToken::new(),
    }
}

impl Client {
    fn connect() -> Self {
        let (stream, theirs) = duplex(1 << 16);
        let slot = ConnectionSlots::new(1).take().expect("a slot");
        let mut tasks = JoinSet::new();
        tasks.spawn(server().connection(theirs, Ipv4Addr::LOCALHOST.into(), slot));
        Self { stream, server: tasks }
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("writable");
    }

    async fn read_until(&mut self, end: &str) -> String {
        read_until(&mut self.stream, end).await
    }

    /// Reads until the connection ends. Returns the bytes and the time.
    async fn rest(&mut self) -> (Vec<u8>, Duration) {
        let (from, mut rest) = (Instant::now(), Vec::new());
        timeout(LONG, self.stream.read_to_end(&mut rest)).await.expect("it is ended").expect("readable");
        (rest, from.elapsed())
    }

    /// Asserts that the connection ends after the head time-out, counted from now on.
    async fn assert_ended_without_a_head(&mut self) {
        let (_, time) = self.rest().await;
        assert_eq!(time, HEAD_TIMEOUT);
    }
}

async fn read_until(stream: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut all = Vec::new();
    let mut buffer = [0; 1024];
    while !String::from_utf8_lossy(&all).ends_with(end) {
        let n = timeout(DEADLINE, stream.read(&mut buffer)).await.expect("in time").expect("readable");
        assert_ne!(n, 0, "closed after {}", String::from_utf8_lossy(&all));
        all.extend_from_slice(&buffer[..n]);
    }
    String::from_utf8(all).expect("text")
}

const OK: &str = "GET /ok HTTP/1.1\r\nHost: x\r\n\r\n";

/// The head of a request with a body of `length` bytes, without the empty line.
fn post_of(length: usize) -> String {
    format!(
        "POST /body HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n"
    )
}

#[tokio::test(start_paused = true)]
async fn connection_without_a_byte_is_ended() {
    Client::connect().assert_ended_without_a_head().await;
}

#[tokio::test(start_paused = true)]
async fn incomplete_first_head_ends_the_connection() {
    for begun in ["G", "PRI * HTTP/2", "GET /ok HTTP/1.1\r\nHost: x\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
    {
        let mut client = Client::connect();
        client.send(begun).await;
        client.assert_ended_without_a_head().await;
    }
}

#[tokio::test(start_paused = true)]
async fn first_head_byte_by_byte_ends_the_connection() {
    let mut client = Client::connect();
    client.send("GET /ok HTTP/1.1\r\nX: ").await;
    let from = Instant::now();
    while client.stream.write_all(b"x").await.is_ok() {
        assert!(from.elapsed() <= HEAD_TIMEOUT, "still open");
        sleep(Duration::from_secs(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn idle_connection_is_ended_after_keep_alive() {
    let mut client = Client::connect();
    for _ in 0..3 {
        client.send(OK).await;
        assert!(client.read_until("ok").await.starts_with("HTTP/1.1 200"));
        sleep(IDLE - Duration::from_secs(1)).await;
    }
    client.send(OK).await;
    assert!(client.read_until("ok").await.starts_with("HTTP/1.1 200"));
    let (rest, time) = client.rest().await;
    assert_eq!((rest, time), (Vec::new(), IDLE));
}

#[tokio::test(start_paused = true)]
async fn incomplete_second_head_ends_the_connection() {
    let mut client = Client::connect();
    client.send(OK).await;
    client.read_until("ok").await;
    client.send("GET /ok HT").await;
    client.assert_ended_without_a_head().await;
}

#[tokio::test(start_paused = true)]
async fn second_head_byte_by_byte_ends_the_connection() {
    let mut client = Client::connect();
    client.send(OK).await;
    client.read_until("ok").await;
    sleep(IDLE / 2).await;
    let from = Instant::now();
    client.send("GET /ok HTTP/1.1\r\nX: ").await;
    while client.stream.write_all(b"x").await.is_ok() {
        assert!(from.elapsed() <= HEAD_TIMEOUT, "still open");
        sleep(Duration::from_secs(2)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn client_that_does_not_read_its_answer_is_disconnected() {
    let mut client = Client::connect();
    client.send("GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let from = Instant::now();
    let ended = timeout(LONG, client.server.join_next()).await.expect("it is ended");
    ended.expect("one task").expect("no panic");
    // At the first check of its deadlines, the connection writes one more piece, which counts as progress.
    assert!(from.elapsed() <= HEAD_TIMEOUT + STALL_TIMEOUT + LINGER, "{:?}", from.elapsed());
}

#[tokio::test(start_paused = true)]
async fn client_that_reads_its_answer_slowly_stays_connected() {
    let mut client = Client::connect();
    client.send("GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut buffer = vec![0; 1 << 20];
    for _ in 0..5 {
        client.stream.read_exact(&mut buffer).await.expect("it goes on");
        sleep(STALL_TIMEOUT - LINGER).await;
    }
}

#[tokio::test(start_paused = true)]
async fn http2_connection_that_only_answers_pings_is_ended() {
    for (requests, end) in [(0, HEAD_TIMEOUT), (1, IDLE), (3, IDLE)] {
        let mut client = Client::connect();
        let (stream, _) = duplex(1);
        let stream = std::mem::replace(&mut client.stream, stream);
        let (mut send, connection) = h2::client::handshake(stream).await.expect("a handshake");
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        for _ in 0..requests {
            let request = Request::get("http://x/ok").body(()).expect("a request");
            let (response, _) = send.send_request(request, true).expect("it takes one");
            assert_eq!(response.await.expect("an answer").status(), 200);
        }
        let from = Instant::now();
        let ended = timeout(LONG, driver.join_next()).await;
        assert!(ended.is_ok(), "it is ended");
        assert_eq!(from.elapsed(), end, "after {requests} requests");
    }
}

#[tokio::test(start_paused = true)]
async fn body_that_stops_is_answered_408() {
    let mut client = Client::connect();
    client.send(format!("{}\r\n{{", post_of(100))).await;
    let (answer, _) = client.rest().await;
    let answer = String::from_utf8(answer).expect("text");
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("application/problem+json") && answer.contains("body_too_slow"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("\r\nrequest-id: "), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn body_that_trickles_is_answered_408() {
    let mut client = Client::connect();
    client.send(format!("{}\r\n", post_of(1000))).await;
    let (mut reader, mut writer) = tokio::io::split(client.stream);
    let mut sending = JoinSet::new();
    sending.spawn(async move {
        while writer.write_all(b" ").await.is_ok() {
            sleep(Duration::from_millis(200)).await;
        }
    });
    let mut answer = [0; 12];
    timeout(LONG, reader.read_exact(&mut answer)).await.expect("an answer").expect("readable");
    assert_eq!(&answer, b"HTTP/1.1 408");
}

const IMPORT: &str = "POST /v1/devices/import HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n";

#[tokio::test(start_paused = true)]
async fn stream_that_makes_progress_has_no_deadline() {
    let mut client = Client::connect();
    client.send(format!("{IMPORT}Content-Length: 2000\r\n\r\n")).await;
    let from = Instant::now();
    for _ in 0..20 {
        client.send([b"\n".as_slice(), &[b'x'; 99]].concat()).await;
        sleep(Duration::from_secs(25)).await;
    }
    assert!(from.elapsed() > 2 * (STALL_TIMEOUT + LINGER));
    assert_eq!(client.read_until("2000 bytes").await.get(..15), Some("HTTP/1.1 200 OK"));
}

#[tokio::test(start_paused = true)]
async fn stream_without_an_end_of_line_is_answered_408() {
    for pause in [1, 1_000] {
        let mut client = Client::connect();
        client.send(format!("{IMPORT}Content-Length: 1000000\r\n\r\n{{}}\n")).await;
        let (mut reader, mut writer) = tokio::io::split(client.stream);
        let mut sending = JoinSet::new();
        sending.spawn(async move {
            while writer.write_all(b" ").await.is_ok() {
                sleep(Duration::from_secs(pause)).await;
            }
        });
        let (from, mut answer) = (Instant::now(), [0; 12]);
        timeout(LONG, reader.read_exact(&mut answer)).await.expect("an answer").expect("readable");
        assert_eq!(&answer, b"HTTP/1.1 408");
        assert!(from.elapsed() < STALL_TIMEOUT, "{:?}", from.elapsed());
    }
}

/// The body is larger than the pipe, so that the client would block if the server did not read.
#[tokio::test(start_paused = true)]
async fn client_that_writes_before_reading_gets_the_refusal() {
    for (head, status) in [
        (post_of(1 << 20), "413"),
        (post_of(1 << 20).replace("/body", "/nothing"), "404"),
        (post_of(1 << 20).replace("application/json", "text/plain"), "415"),
    ] {
        let mut client = Client::connect();
        client.send(format!("{head}\r\n")).await;
        timeout(DEADLINE, client.send(vec![b' '; 1 << 20])).await.expect("it is read");
        client.send(OK).await;
        let answers = client.read_until("ok").await;
        assert!(answers.starts_with(&format!("HTTP/1.1 {status}")), "{answers}");
        assert!(answers.contains("HTTP/1.1 200"), "the connection goes on: {answers}");
    }
}

#[tokio::test(start_paused = true)]
async fn chunked_body_over_the_limit_is_refused() {
    let mut client = Client::connect();
    let head = "POST /body HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(head).await;
    for _ in 0..11 {
        client.send(format!("64\r\n{}\r\n", "x".repeat(100))).await;
    }
    client.send("0\r\n\r\n").await;
    let answer = client.read_until("\"limit\":1000}").await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn expect_continue_is_answered_or_refused_before_the_body() {
    let mut client = Client::connect();
    client.send(format!("{}Expect: 100-continue\r\n\r\n", post_of(2))).await;
    assert_eq!(client.read_until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("{}").await;
    assert!(client.read_until("2 bytes").await.starts_with("HTTP/1.1 200"));

    let mut client = Client::connect();
    client.send(format!("{}Expect: 100-continue\r\n\r\n", post_of(1001))).await;
    let (answer, time) = client.rest().await;
    assert!(answer.starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&answer));
    assert!(time < STALL_TIMEOUT, "closed at once, since the body may or may not follow");
}

#[tokio::test(start_paused = true)]
async fn long_urls_and_large_headers_are_refused_with_their_limits() {
    let long = "x".repeat(9_000);
    for (request, status, code) in [
        (format!("GET /ok?{long} HTTP/1.1\r\nHost: x\r\n\r\n"), "414", "url_too_long"),
        (format!("GET /ok HTTP/1.1\r\nA: {long}\r\nB: {long}\r\n\r\n"), "431", "headers_too_large"),
    ] {
        let mut client = Client::connect();
        client.send(request).await;
        let answer = client.read_until("}").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.contains(code) && answer.contains("\"limit\":"), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn huge_heads_end_the_connection() {
    for request in [
        format!("GET /ok HTTP/1.1\r\n{}\r\n", "A: x\r\n".repeat(HEADERS_MAX + 1)),
        format!("GET /ok HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(HEAD_BYTES_MAX)),
    ] {
        let mut client = Client::connect();
        // The server may refuse the head before all of it is written.
        let _refused = client.stream.write_all(request.as_bytes()).await;
        let (answer, time) = client.rest().await;
        assert!(answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
        assert!(time < STALL_TIMEOUT);
    }
}

fn shared_socket() -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseport(true).expect("known to the system");
    socket
}

#[tokio::test]
async fn shutdown_closes_idle_connections_and_stalled_ones_after_the_drain() {
    // The first socket keeps the port, so that no other process listens there after the shutdown.
    let (ours, listening) = (shared_socket(), shared_socket());
    ours.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let address = ours.local_addr().expect("bound");
    listening.bind(address).expect("shared");
    let listener = listening.listen(16).expect("bound");
    let mut shared = shared();
    shared.limits.drain = Duration::from_millis(50);
    let shutdown = CancellationToken::new();
    let mut servers = JoinSet::new();
    let limits = shared.limits;
    let router = ListenerRouter::of(shared.into(), Surface::All);
    servers.spawn(serve(listener, router, limits, watch::channel(100).1, shutdown.clone()));

    let mut idle = TcpStream::connect(address).await.expect("listening");
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("writable");
    assert!(read_until(&mut idle, "{\"status\":\"ok\"}").await.starts_with("HTTP/1.1 200"));
    let mut stalled = TcpStream::connect(address).await.expect("listening");
    stalled.write_all(b"POST /v1/noti").await.expect("writable");

    shutdown.cancel();
    let ended = timeout(DEADLINE, servers.join_next()).await.expect("in time").expect("spawned");
    ended.expect("no panic").expect("no error");
    let mut rest = Vec::new();
    timeout(DEADLINE, idle.read_to_end(&mut rest)).await.expect("in time").expect("closed");
    assert!(rest.is_empty());
    assert!(TcpStream::connect(address).await.is_err());
}
