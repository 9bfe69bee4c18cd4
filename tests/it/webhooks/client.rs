//! One attempt: what each kind of answer and fault means, and what is kept of it.

use std::io::Write as _;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use pushpost::domain::{AddressGuard, Network, WebhookOutcome};
use pushpost::events::webhooks::WebhookUrl;
use pushpost::events::webhooks::client::{Attempted, SignedMessage, WebhookClient};
use pushpost::provider::transport::tls;

use pushpost_testkit::webhook_receiver::{Reply, WebhookReceiver};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::task::JoinSet;

fn guard(networks: &[&str]) -> Arc<AddressGuard> {
    Arc::new(AddressGuard::new(networks.iter().map(|text| Network::parse(text).unwrap()).collect()))
}

fn client(url: &str, networks: &[&str]) -> WebhookClient {
    WebhookClient::new(WebhookUrl::parse(url).unwrap(), guard(networks), &tls(None).unwrap())
}

fn message() -> SignedMessage {
    SignedMessage {
        id: "msg_1".to_owned(),
        timestamp: 1_795_000_000,
        signature: "v1,abc v1,def".to_owned(),
        body: r#"{"type":"pushpost.events"}"#.into(),
        traceparent: None,
    }
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_000_000, 0).unwrap()
}

async fn attempt(reply: Reply) -> Attempted {
    let receiver = WebhookReceiver::start().await;
    receiver.reply(reply);
    client(&receiver.url(), &["127.0.0.0/8"]).post(&message(), now()).await
}

fn answer(head: &str, body: &str) -> Reply {
    Reply::Bytes(format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
}

#[tokio::test]
async fn a_message_is_posted_with_its_headers() {
    let receiver = WebhookReceiver::start().await;
    let traced = SignedMessage { traceparent: Some("00-01-02-03".to_owned()), ..message() };
    let attempted = client(&receiver.url(), &["127.0.0.0/8"]).post(&traced, now()).await;
    assert_eq!((attempted.outcome, attempted.status), (WebhookOutcome::Delivered, Some(200)));
    let posted = receiver.posted().remove(0);
    assert_eq!(
        (posted.path.as_str(), posted.body.as_str()),
        ("/hook?key=s3cret", r#"{"type":"pushpost.events"}"#)
    );
    let version = format!("pushpost/{}", env!("CARGO_PKG_VERSION"));
    for (name, value) in [
        ("content-type", "application/json"),
        ("user-agent", &version),
        ("webhook-id", "msg_1"),
        ("webhook-timestamp", "1795000000"),
        ("webhook-signature", "v1,abc v1,def"),
        ("traceparent", "00-01-02-03"),
    ] {
        assert_eq!(posted.headers[name], value, "{name}");
    }
}

#[tokio::test]
async fn the_first_printable_characters_of_an_answer_are_kept() {
    let body = format!("one\ttwo\r\nth\u{7}ree\u{202e}\u{2066}\u{200b} é {}", "x".repeat(20_000));
    let attempted = attempt(answer("500 Broken", &body)).await;
    assert_eq!((attempted.outcome, attempted.status), (WebhookOutcome::Refused, Some(500)));
    assert_eq!(attempted.response.chars().count(), 256);
    assert!(attempted.response.starts_with("one two  three é xxx"), "{}", attempted.response);
    assert_eq!(attempted.error.as_deref(), Some("status 500"));
}

#[tokio::test]
async fn a_long_answer_is_read_in_part_and_is_no_failure() {
    // The receiver promises more than it sends, so that reading on would never end.
    let promised = format!("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n{}", "x".repeat(16 << 10));
    let attempted = attempt(Reply::Unfinished(promised)).await;
    assert_eq!(attempted.outcome, WebhookOutcome::Delivered);
}

#[tokio::test]
async fn interim_answers_without_an_end_end_the_attempt() {
    // hyper reads these one after the other, and the task with them never waits.
    let flood = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100_000);
    let attempted = attempt(Reply::Unfinished(flood)).await;
    assert_eq!((attempted.outcome, attempted.status), (WebhookOutcome::NotConnected, None));
    let error = attempted.error.unwrap();
    assert!(error.contains("the answer is too long"), "{error}");
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_is_not_followed() {
    let target = WebhookReceiver::start().await;
    let location = format!("302 Found\r\nlocation: {}", target.url());
    let attempted = attempt(answer(&location, "")).await;
    assert_eq!((attempted.outcome, attempted.status), (WebhookOutcome::Refused, Some(302)));
    assert_eq!(attempted.error.as_deref(), Some("status 302; redirects are not followed"));
    assert_eq!(target.connections(), 0);
}

#[tokio::test]
async fn a_receiver_that_is_gone_says_so_by_410() {
    assert_eq!(attempt(answer("410 Gone", "")).await.outcome, WebhookOutcome::Gone);
}

#[tokio::test]
async fn a_wait_that_the_receiver_asks_for_is_an_hour_at_most() {
    let wait = async |text: &str| {
        let attempted = attempt(answer(&format!("503 Busy\r\nretry-after: {text}"), "")).await;
        attempted.retry_after.map(|wait| wait.as_secs())
    };
    assert_eq!(wait("120").await, Some(120));
    assert_eq!(wait("86400").await, Some(3_600));
    assert_eq!(wait("Wed, 18 Nov 2026 11:07:40 GMT").await, Some(60));
    assert_eq!(wait("soon").await, None);
}

#[tokio::test]
async fn an_answer_that_ends_early_is_a_failure_even_if_it_began_well() {
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfour";
    let attempted = attempt(Reply::Bytes(cut.to_owned())).await;
    assert_eq!((attempted.outcome, attempted.status), (WebhookOutcome::NotConnected, Some(200)));
    let error = attempted.error.unwrap();
    assert!(error.starts_with("the answer ends early"), "{error}");
    assert_eq!(attempt(Reply::Close).await.outcome, WebhookOutcome::NotConnected);
    assert_eq!(
        attempt(Reply::Bytes("nonsense\r\n\r\n".to_owned())).await.outcome,
        WebhookOutcome::NotConnected
    );
}

#[tokio::test]
async fn a_receiver_that_hangs_is_given_up() {
    let hanging = |begun: &str| attempt(Reply::Unfinished(begun.to_owned()));
    let begun = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfour";
    for attempted in <[Attempted; 2]>::from(tokio::join!(hanging(""), hanging(begun))) {
        assert_eq!(attempted.outcome, WebhookOutcome::TimedOut);
        assert_eq!(attempted.error.as_deref(), Some("no answer within 15 s"));
    }
}

#[tokio::test]
async fn a_refused_connection_names_neither_path_nor_query() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let url = format!("http://127.0.0.1:{port}/hook?key=s3cret");
    let attempted = client(&url, &["127.0.0.0/8"]).post(&message(), now()).await;
    assert_eq!(attempted.outcome, WebhookOutcome::NotConnected);
    let error = attempted.error.unwrap();
    assert!(error.to_lowercase().contains("refused") && !error.contains("s3cret"), "{error}");
}

#[tokio::test]
async fn plain_http_where_tls_is_expected_is_a_failure_of_tls() {
    let receiver = WebhookReceiver::start().await;
    let url = format!("https://127.0.0.1:{}/", receiver.port());
    // The receiver waits for the end of a head that TLS never has; another one answers at once.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let _read = socket.read(&mut [0; 1024]).await;
            let _gone = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let attempted = client(&plain, &["127.0.0.0/8", "::1"]).post(&message(), now()).await;
    assert_eq!(attempted.outcome, WebhookOutcome::TlsFailed, "{attempted:?}");
    let blocked = client(&url, &[]).post(&message(), now()).await;
    assert_eq!((blocked.outcome, receiver.connections()), (WebhookOutcome::Blocked, 0));
}

/// A server with a certificate for so many other names.
async fn serve_for_names(names: usize) -> (u16, tempfile::NamedTempFile, JoinSet<()>) {
    let names: Vec<_> = (0..names).map(|number| format!("name{number}.example")).collect();
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    let mut ca_file = tempfile::NamedTempFile::new().unwrap();
    ca_file.write_all(authority.pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.unwrap().with_no_client_auth();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, mut serving) = (listener.local_addr().unwrap().port(), JoinSet::new());
    serving.spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            assert!(acceptor.accept(socket).await.is_err(), "the client refuses the certificate");
        }
    });
    (port, ca_file, serving)
}

#[tokio::test]
async fn the_first_256_characters_of_an_error_are_kept() {
    let (port, ca_file, _serving) = serve_for_names(500).await;
    let url = WebhookUrl::parse(&format!("https://127.0.0.1:{port}/")).unwrap();
    let client = WebhookClient::new(url, guard(&["127.0.0.0/8"]), &tls(Some(ca_file.path())).unwrap());
    let attempted = client.post(&message(), now()).await;
    assert_eq!(attempted.outcome, WebhookOutcome::TlsFailed, "{attempted:?}");
    let error = attempted.error.unwrap();
    assert!(error.starts_with("TLS: ") && error.contains("name1"), "the text would list all names: {error}");
    assert_eq!(error.chars().count(), 256, "{error}");
}

/// Every way to write an address of this machine. None has a connection, and each refusal names what allows it.
#[tokio::test]
async fn an_address_that_is_not_allowed_sees_no_connection() {
    let receiver = WebhookReceiver::start().await;
    let port = receiver.port();
    let hosts =
        ["127.0.0.1", "0x7f000001", "2130706433", "127.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"];
    for host in hosts {
        let attempted = client(&format!("http://{host}:{port}/"), &[]).post(&message(), now()).await;
        assert_eq!(attempted.outcome, WebhookOutcome::Blocked, "{host}: {attempted:?}");
        let error = attempted.error.unwrap();
        assert!(error.contains("to webhooks.allow_networks"), "{host}: {error}");
        // TLS knows no name of digits alone, so there are two ways in which it does not come to a connection.
        let attempted = client(&format!("https://{host}:{port}/"), &[]).post(&message(), now()).await;
        let outcomes = [WebhookOutcome::Blocked, WebhookOutcome::NotConnected];
        assert!(outcomes.contains(&attempted.outcome), "{host}: {attempted:?}");
    }
    assert_eq!(receiver.connections(), 0);
    let allowed = client(&format!("http://127.0.0.1:{port}/"), &["127.0.0.1"]).post(&message(), now()).await;
    assert_eq!((allowed.outcome, receiver.connections()), (WebhookOutcome::Delivered, 1));
}
