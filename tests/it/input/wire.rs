//! Clients that break off or speak HTTP/2.

use bytes::Bytes;
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Duration, timeout};

use super::log::Log;
use pushpost_testkit::request::{ApiRequest, DEVICES, SEND, service_without_workers, stored};
use pushpost_testkit::service::TestService;

async fn connect(service: &TestService) -> TcpStream {
    let url = service.url("");
    TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_client_that_breaks_off_stores_nothing_and_logs_no_error() {
    let log = Log::default();
    let logging = log.start();
    let service = service_without_workers(&[]).await;
    let s = service.key("send").await;
    let before = stored(&service).await;
    let body = json!({"to": {"tokens": [{"platform": "fcm", "token": "f1"}]}, "title": "A"}).to_string();
    let head = |length: &str| {
        format!(
            "POST {SEND} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {s}\r\nContent-Type: application/json\r\n{length}\r\n\r\n"
        )
    };
    let announced = head(&format!("Content-Length: {}", body.len() + 1));
    let chunked = head("Transfer-Encoding: chunked");
    for begun in [
        format!("{announced}{body}"),
        format!("{chunked}{:x}\r\n{body}\r\n", body.len()),
        format!("{chunked}{:x}\r\n{body}", body.len() + 1),
        format!("{chunked}no size\r\n"),
        announced.clone(),
    ] {
        let mut stream = connect(&service).await;
        stream.write_all(begun.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        // Until the service has noticed; what it still writes is not read.
        let mut rest = Vec::new();
        let _reset = stream.read_to_end(&mut rest).await;
        assert!(
            !rest.starts_with(b"HTTP/1.1 2") && !rest.starts_with(b"HTTP/1.1 5"),
            "{}",
            String::from_utf8_lossy(&rest)
        );
    }
    assert_eq!(stored(&service).await, before);
    assert_eq!(
        ApiRequest::json(http::Method::POST, SEND, body).key(&s).of(&service).await.status,
        202,
        "others are served"
    );
    service.stop_undecided().await;
    drop(logging);
    let logged = log.text();
    assert!(!logged.contains("ERROR") && !logged.contains("status=5"), "{logged}");
}

/// One request over HTTP/2 without TLS.
async fn over_http2(
    send: &mut h2::client::SendRequest<Bytes>,
    request: Request<()>,
    body: Vec<u8>,
) -> (StatusCode, http::HeaderMap, Vec<u8>) {
    let (answer, mut stream) = send.send_request(request, body.is_empty()).unwrap();
    if !body.is_empty() {
        // It may be refused before all of it is sent.
        let _refused = stream.send_data(body.into(), true);
    }
    let (head, mut answer) = answer.await.unwrap().into_parts();
    let mut bytes = Vec::new();
    while let Some(piece) = answer.data().await {
        bytes.extend_from_slice(&piece.unwrap());
    }
    (head.status, head.headers, bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_gets_the_same_answers() {
    let service = service_without_workers(&[("LIMITS__BODY_BYTES", "100000")]).await;
    let s = service.key("send,devices").await;
    let before = stored(&service).await;
    let (mut send, connection) = h2::client::handshake(connect(&service).await).await.unwrap();
    let mut running = JoinSet::new();
    running.spawn(connection);
    let request = |method: &str, path: &str| {
        let request = Request::builder()
            .method(method)
            .uri(service.url(path))
            .header("content-type", "application/json");
        request.header("authorization", format!("Bearer {s}")).body(()).unwrap()
    };
    for (method, path, body, status, code) in [
        ("POST", SEND, b"{".to_vec(), 400, "invalid_request"),
        ("POST", SEND, b"x".repeat(300_000), 413, "body_too_large"),
        ("POST", "/v1/nothing", b"x".repeat(60_000), 404, "not_found"),
        ("DELETE", SEND, Vec::new(), 405, "method_not_allowed"),
        ("GET", "/v1/devices?usr=1", Vec::new(), 400, "invalid_request"),
    ] {
        let (found, headers, bytes) = over_http2(&mut send, request(method, path), body).await;
        let problem: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((found.as_u16(), &problem["code"]), (status, &json!(code)));
        assert_eq!(headers["content-type"], "application/problem+json");
        assert_eq!(problem["request_id"], headers["request-id"].to_str().unwrap());
    }
    for (path, status) in [(DEVICES, 200), ("/v1/devices/dev_x", 404)] {
        let (found, _, bytes) = over_http2(&mut send, request("HEAD", path), Vec::new()).await;
        assert_eq!((found.as_u16(), bytes.len()), (status, 0), "HEAD {path}");
    }
    assert_eq!(stored(&service).await, before);
    service.stop_undecided().await;
}

/// Long enough for a busy machine, and shorter than the default of `server.keep_alive`.
const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_connection_is_ended_when_it_is_idle_or_its_head_does_not_come() {
    let service = service_without_workers(&[("SERVER__KEEP_ALIVE", "1s")]).await;
    let mut ended = JoinSet::new();
    for head in ["", "GET /healthz HT", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let mut stream = connect(&service).await;
        ended.spawn(async move {
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            let read = timeout(SOON, stream.read_to_end(&mut answer)).await;
            assert!(read.is_ok(), "still open after {head:?}");
            assert_eq!(answer.starts_with(b"HTTP/1.1 200"), head.ends_with("\r\n\r\n"), "{head:?}");
        });
    }
    while let Some(ended) = ended.join_next().await {
        ended.unwrap();
    }
    service.stop_undecided().await;
}
