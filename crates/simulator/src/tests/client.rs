//! A minimal HTTP/2 client that can send wrong things, and the credentials to send right ones.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Method, Request};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::{Settings, Simulator, clock};

pub(super) const TOKEN: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

pub(super) async fn simulator() -> Simulator {
    Simulator::start(Settings::default()).await.unwrap()
}

/// An answer as a test looks at it.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Answered {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    pub(super) fn reason(&self) -> String {
        self.json()["reason"].as_str().unwrap_or_default().to_owned()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub(super) struct Client {
    pub(super) send: SendRequest<Bytes>,
    /// Ends with what ended the connection.
    pub(super) driver: JoinSet<Result<(), h2::Error>>,
}

/// TLS that trusts the simulator's authority.
pub(super) fn connector(simulator: &Simulator, alpn: &[u8]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(simulator.ca_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    TlsConnector::from(Arc::new(config))
}

pub(super) async fn tls(simulator: &Simulator, address: SocketAddr, alpn: &[u8]) -> TlsStream<TcpStream> {
    let socket = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    connector(simulator, alpn).connect(name, socket).await.unwrap()
}

impl Client {
    pub(super) async fn connect(simulator: &Simulator, address: SocketAddr) -> Self {
        let stream = tls(simulator, address, b"h2").await;
        let mut builder = h2::client::Builder::new();
        let (send, connection) = builder.initial_max_send_streams(1).handshake(stream).await.unwrap();
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        Self { send, driver }
    }

    pub(super) async fn apns(simulator: &Simulator) -> Self {
        Self::connect(simulator, simulator.addresses().apns).await
    }

    pub(super) async fn fcm(simulator: &Simulator) -> Self {
        Self::connect(simulator, simulator.addresses().fcm).await
    }

    /// Opens a stream as soon as the peer's limit allows.
    pub(super) async fn open(&mut self, request: Request<Bytes>) -> Result<ResponseFuture, h2::Error> {
        let (parts, body) = request.into_parts();
        self.send = self.send.clone().ready().await?;
        let (response, mut stream) =
            self.send.send_request(Request::from_parts(parts, ()), body.is_empty())?;
        if !body.is_empty() {
            stream.send_data(body, true)?;
        }
        Ok(response)
    }

    pub(super) async fn send(&mut self, request: Request<Bytes>) -> Result<Answered, h2::Error> {
        let response = self.open(request).await?;
        tokio::time::timeout(PATIENCE, read(response)).await.expect("an answer in time")
    }

    /// How the connection ended.
    pub(super) async fn ended(&mut self) -> Result<(), h2::Error> {
        tokio::time::timeout(PATIENCE, self.driver.join_next())
            .await
            .expect("an end in time")
            .unwrap()
            .unwrap()
    }

    /// Waits until the peer's stream limit is this one.
    pub(super) async fn sees_limit(&self, limit: usize) -> bool {
        let watch = async {
            while self.send.current_max_send_streams() != limit {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, watch).await.is_ok()
    }
}

pub(super) async fn read(response: ResponseFuture) -> Result<Answered, h2::Error> {
    let (parts, mut body) = response.await?.into_parts();
    let mut text = Vec::new();
    while let Some(chunk) = body.data().await {
        text.extend_from_slice(&chunk?);
    }
    Ok(Answered {
        status: parts.status.as_u16(),
        headers: parts.headers,
        text: String::from_utf8(text).unwrap(),
    })
}

/// A provider token of the right team and key, issued so many seconds ago.
pub(super) fn provider_token(simulator: &Simulator, age: i64) -> String {
    signed_token(simulator.p8_pem(), "ABC123DEFG", "DEF123GHIJ", age)
}

pub(super) fn signed_token(p8: &str, kid: &str, team: &str, age: i64) -> String {
    let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::ES256) };
    let claims = json!({ "iss": team, "iat": clock::now_seconds() - age });
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ec_pem(p8.as_bytes()).unwrap()).unwrap()
}

/// A good alert push to `token`; tests spoil it.
pub(super) fn push(jwt: &str, token: &str) -> Request<Bytes> {
    Request::builder()
        .method(Method::POST)
        .uri(format!("https://localhost/3/device/{token}"))
        .header("authorization", format!("bearer {jwt}"))
        .header("apns-topic", "com.example.shop")
        .header("apns-push-type", "alert")
        .body(Bytes::from_static(br#"{"aps":{"alert":{"title":"Hi"}},"pushpost":"ntf_1"}"#))
        .unwrap()
}

/// The token request as yup-oauth2 makes it: padded segments, form-encoded.
pub(super) fn token_request(simulator: &Simulator, change: impl FnOnce(&mut Value)) -> Request<Bytes> {
    let now = clock::now_seconds();
    let mut claims = json!({
        "iss": "pushpost@shop-1.iam.gserviceaccount.com",
        "aud": simulator.token_uri(),
        "exp": now + 3595,
        "iat": now,
        "sub": null,
        "scope": "https://www.googleapis.com/auth/firebase.messaging",
    });
    change(&mut claims);
    let body = format!(
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={}",
        padded_assertion(simulator.service_account_key_pem(), &claims).replace('=', "%3D")
    );
    Request::builder()
        .method(Method::POST)
        .uri(simulator.token_uri())
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Bytes::from(body))
        .unwrap()
}

fn padded_assertion(pem: &str, claims: &Value) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
    let message = format!(
        "{}.{}",
        URL_SAFE.encode(r#"{"alg":"RS256","typ":"JWT"}"#),
        URL_SAFE.encode(claims.to_string())
    );
    let key = EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::RS256).unwrap();
    format!("{message}.{}", URL_SAFE.encode(URL_SAFE_NO_PAD.decode(signature).unwrap()))
}

/// A fresh access token.
pub(super) async fn access_token(simulator: &Simulator) -> String {
    let mut client = Client::fcm(simulator).await;
    let answered = client.send(token_request(simulator, |_| {})).await.unwrap();
    assert_eq!(answered.status, 200, "{}", answered.text);
    answered.json()["access_token"].as_str().unwrap().to_owned()
}

/// A send call with this message.
pub(super) fn message(access_token: &str, message: &Value) -> Request<Bytes> {
    body(access_token, &json!({ "message": message }))
}

/// A send call with this body.
pub(super) fn body(access_token: &str, body: &Value) -> Request<Bytes> {
    Request::builder()
        .method(Method::POST)
        .uri("https://localhost/v1/projects/shop-1/messages:send")
        .header("authorization", format!("Bearer {access_token}"))
        .header("content-type", "application/json")
        .body(Bytes::from(body.to_string()))
        .unwrap()
}
