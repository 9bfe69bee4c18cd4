//! Posts spans to the collector: OTLP over HTTP with protobuf (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>).

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use tokio::time::timeout;

/// Bytes of an answer at most. It names the number of refused spans and a text.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Longest wait that an answer may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);

/// A collector, with a kept connection.
pub(super) struct Collector {
    http: HttpClient,
    endpoint: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    timeout: Duration,
}

enum HttpClient {
    Plain(Client<HttpConnector, Full<Bytes>>),
    Tls(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

/// Why the collector did not take spans. Its texts show neither headers nor the body of an answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    /// The connection failed. A repeat may help.
    #[error("no answer: {0}")]
    NoAnswer(String),
    /// The collector took too long. A repeat would take as long, while spans wait.
    #[error("no answer in time")]
    TimedOut,
    /// The collector can't take them now. A repeat after this time may help.
    #[error("status {0}")]
    Busy(u16, Option<Duration>),
    /// The collector refuses them.
    #[error("status {0}")]
    Refused(u16),
}

impl Collector {
    /// Connects with the first post.
    pub(super) fn new(
        endpoint: Uri,
        headers: Vec<(HeaderName, HeaderValue)>,
        timeout: Duration,
        tls: Option<&rustls::ClientConfig>,
    ) -> Self {
        let mut builder = Client::builder(TokioExecutor::new());
        let builder = builder.pool_max_idle_per_host(1);
        let http = match tls {
            None => HttpClient::Plain(builder.build_http()),
            Some(tls) => {
                let mut tls = tls.clone();
                // The connector sets the ALPN protocols itself and requires an empty list.
                tls.alpn_protocols.clear();
                let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1();
                HttpClient::Tls(builder.build(connector.build()))
            }
        };
        Self { http, endpoint, headers, timeout }
    }

    /// Posts encoded spans. Returns how many of them the collector refused all the same.
    pub(super) async fn post(&self, body: Bytes) -> Result<u64, PostError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.endpoint.clone();
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        for (name, value) in &self.headers {
            request.headers_mut().insert(name, value.clone());
        }
        let posted = timeout(self.timeout, self.exchange(request)).await;
        posted.unwrap_or(Err(PostError::TimedOut))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<u64, PostError> {
        let sent = match &self.http {
            HttpClient::Plain(client) => client.request(request).await,
            HttpClient::Tls(client) => client.request(request).await,
        };
        let answer = sent.map_err(|error| PostError::NoAnswer(causes(&error)))?;
        let status = answer.status().as_u16();
        match status {
            200..=299 => {}
            429 | 502 | 503 | 504 => {
                let wait =
                    answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
                return Err(PostError::Busy(
                    status,
                    wait.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX)),
                ));
            }
            _ => return Err(PostError::Refused(status)),
        }
        // An answer that can't be read says nothing of refused spans.
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let partial = ExportTraceServiceResponse::decode(body).ok().and_then(|answer| answer.partial_success);
        Ok(partial.and_then(|partial| u64::try_from(partial.rejected_spans).ok()).unwrap_or_default())
    }
}

/// An error with its causes, without repetitions.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
