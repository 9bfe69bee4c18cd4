//! Posts one message to a receiver and says what came of it. It follows no redirect and knows no proxy.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout};

use super::connector::{Blocked, GuardedConnector};
use super::url::WebhookUrl;
use crate::domain::{AddressGuard, WebhookOutcome, printable};
use crate::provider::retry_after;

/// From the beginning of the connect to the end of the answer.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes of an answer's body that are read at most.
const BODY_BYTES_MAX: usize = 16 << 10;
/// Characters of an answer's body that are kept.
const RESPONSE_CHARACTERS: usize = 256;
/// Characters of an error that are kept. One of TLS may list all names of the receiver's certificate.
const ERROR_CHARACTERS: usize = 256;
/// The longest wait that `Retry-After` may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// An idle connection is closed after this long, before most receivers close it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A message as it is posted, signed for this attempt.
#[derive(Clone, Debug)]
pub struct SignedMessage {
    /// The value of `webhook-id`.
    pub id: String,
    /// The value of `webhook-timestamp`, in seconds since 1970.
    pub timestamp: i64,
    /// The value of `webhook-signature`.
    pub signature: String,
    /// The body, JSON.
    pub body: Bytes,
    /// The value of `traceparent`, if the attempt is traced.
    pub traceparent: Option<String>,
}

/// What came of an attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attempted {
    /// What it means for the delivery.
    pub outcome: WebhookOutcome,
    /// The status of the answer; none without an answer.
    pub status: Option<u16>,
    /// Why it failed, for operators. It shows neither path nor query.
    pub error: Option<String>,
    /// The first printable characters of the answer's body.
    pub response: String,
    /// How long the receiver asks to wait, at most an hour.
    pub retry_after: Option<Duration>,
    /// From the beginning of the connect to the end of the answer.
    pub elapsed: Duration,
}

/// A client for one receiver. It keeps connections for a short time.
#[derive(Clone)]
pub struct WebhookClient {
    http: HttpClient,
    url: WebhookUrl,
}

#[derive(Clone)]
enum HttpClient {
    Plain(Client<GuardedConnector, Full<Bytes>>),
    Tls(Client<HttpsConnector<GuardedConnector>, Full<Bytes>>),
}

impl WebhookClient {
    /// `tls`: what `https` trusts.
    pub fn new(url: WebhookUrl, guard: Arc<AddressGuard>, tls: &rustls::ClientConfig) -> Self {
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_max_idle_per_host(1).pool_idle_timeout(IDLE_TIMEOUT).pool_timer(TokioTimer::new());
        let connector = GuardedConnector::new(guard, url.is_https());
        let http = match url.is_https() {
            false => HttpClient::Plain(builder.build(connector)),
            true => {
                let mut tls = tls.clone();
                // The connector sets the ALPN protocols itself and requires an empty list.
                tls.alpn_protocols.clear();
                let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1();
                HttpClient::Tls(builder.build(https.wrap_connector(connector)))
            }
        };
        Self { http, url }
    }

    /// Posts a message once. `now` is Postgres's time, for a `Retry-After` that is a date.
    pub async fn post(&self, message: &SignedMessage, now: DateTime<Utc>) -> Attempted {
        let began = Instant::now();
        let failed = |outcome, error: String| Attempted {
            outcome,
            status: None,
            error: Some(error),
            response: String::new(),
            retry_after: None,
            elapsed: Duration::ZERO,
        };
        let attempted = match timeout(ATTEMPT_TIMEOUT, self.exchange(message, now)).await {
            Ok(Ok(attempted)) => attempted,
            Ok(Err(error)) => {
                let (outcome, text) = classify(&error);
                failed(outcome, text)
            }
            Err(_) => failed(WebhookOutcome::TimedOut, "no answer within 15 s".to_owned()),
        };
        let error = attempted.error.map(|text| printable(&text).take(ERROR_CHARACTERS).collect());
        Attempted { elapsed: began.elapsed(), error, ..attempted }
    }

    async fn exchange(
        &self,
        message: &SignedMessage,
        now: DateTime<Utc>,
    ) -> Result<Attempted, hyper_util::client::legacy::Error> {
        let request = self.request(message);
        let answer = match &self.http {
            HttpClient::Plain(client) => client.request(request).await?,
            HttpClient::Tls(client) => client.request(request).await?,
        };
        let status = answer.status().as_u16();
        let retry_after = retry_after(answer.headers(), now).map(|wait| wait.min(RETRY_AFTER_MAX));
        let (outcome, error) = match status {
            200..=299 => (WebhookOutcome::Delivered, None),
            300..=399 => {
                (WebhookOutcome::Refused, Some(format!("status {status}; redirects are not followed")))
            }
            410 => (WebhookOutcome::Gone, Some("status 410".to_owned())),
            _ => (WebhookOutcome::Refused, Some(format!("status {status}"))),
        };
        let response = first_characters(answer).await;
        let attempted = match response {
            Ok(response) => Attempted {
                outcome,
                status: Some(status),
                error,
                response,
                retry_after,
                elapsed: Duration::ZERO,
            },
            // An answer without its end may be that of a receiver that has not stored the message.
            Err(cause) => Attempted {
                outcome: WebhookOutcome::NotConnected,
                status: Some(status),
                error: Some(format!("the answer ends early: {}", causes(&cause))),
                response: String::new(),
                retry_after,
                elapsed: Duration::ZERO,
            },
        };
        Ok(attempted)
    }

    fn request(&self, message: &SignedMessage) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(message.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.expose().clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("pushpost/", env!("CARGO_PKG_VERSION"))));
        headers.insert(TIMESTAMP, HeaderValue::from(message.timestamp));
        let texts = [
            (ID, Some(&message.id)),
            (SIGNATURE, Some(&message.signature)),
            (TRACEPARENT, message.traceparent.as_ref()),
        ];
        for (name, text) in texts {
            if let Some(value) = text.and_then(|text| HeaderValue::from_str(text).ok()) {
                headers.insert(name, value);
            }
        }
        request
    }
}

impl std::fmt::Debug for WebhookClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookClient").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Reads the body as far as it is allowed to be. A longer one is cut off with its connection, which is no failure.
async fn first_characters(answer: Response<Incoming>) -> Result<String, hyper::Error> {
    let mut body = answer.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data[..data.len().min(BODY_BYTES_MAX - bytes.len())]);
        }
        if bytes.len() >= BODY_BYTES_MAX {
            break;
        }
    }
    Ok(printable(&String::from_utf8_lossy(&bytes)).take(RESPONSE_CHARACTERS).collect())
}

/// What an error without an answer means, with a text for operators.
fn classify(error: &hyper_util::client::legacy::Error) -> (WebhookOutcome, String) {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(cause) = next {
        if let Some(Blocked(refused)) = cause.downcast_ref() {
            return (WebhookOutcome::Blocked, refused.to_string());
        }
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return (WebhookOutcome::TlsFailed, format!("TLS: {tls}"));
        }
        // `io::Error` hides the error that it was made of from `source`.
        let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => cause.source(),
        };
    }
    (WebhookOutcome::NotConnected, causes(error))
}

/// The error's causes, without what each of them repeats of the next.
fn causes(error: &dyn Error) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        let own = cause.to_string();
        if !text.contains(&own) {
            let separator = if text.is_empty() { "" } else { ": " };
            text = format!("{text}{separator}{own}");
        }
        next = cause.source();
    }
    text
}
