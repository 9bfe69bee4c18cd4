//! The HTTP client of the commands that ask a running service, such as `queue`.
//!
//! It uses no proxy. For `https` it trusts the system's authorities; `SSL_CERT_FILE` names others.

mod failures;
mod stream;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::time::timeout;

use super::command_error::CommandError;
use super::progress;
use crate::provider::transport;
pub(super) use stream::LineStream;

/// The variable with the key. A key is never an argument: every user of a machine can see those.
const KEY: &str = "PUSHPOST_KEY";
/// `server.listen` as it is without a configuration.
const DEFAULT_URL: &str = "http://127.0.0.1:8080";
/// Time from a request to the end of its answer. The slowest answer, that to a pause, takes 5 s.
const TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer that is read. A page of 1,000 deliveries has less than 1 MB.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The argument that names the service.
#[derive(Args, Debug)]
pub(super) struct ServiceArgs {
    /// Base URL of the service; the key is read from PUSHPOST_KEY
    #[arg(long, env = "PUSHPOST_URL", hide_env_values = true, value_name = "URL", default_value = DEFAULT_URL)]
    url: String,
}

impl ServiceArgs {
    /// A client for this service. It connects with its first request.
    ///
    /// # Errors
    /// Wrong usage: the URL can't be one of a service, or there is no key. Or the system has no certificate authorities.
    pub(super) fn client(&self) -> Result<ServiceClient, CommandError> {
        ServiceClient::new(&self.url, std::env::var(KEY).ok().as_deref())
    }
}

/// A client of the HTTP API with a key.
#[derive(Debug)]
pub(super) struct ServiceClient {
    http: HttpClient,
    /// Without a slash at its end.
    base: String,
    authorization: HeaderValue,
}

#[derive(Debug)]
enum HttpClient {
    Plain(Client<HttpConnector, Full<Bytes>>),
    Tls(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

/// An answer of the service, whatever its status.
#[derive(Debug)]
struct ServiceAnswer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl ServiceClient {
    fn new(url: &str, key: Option<&str>) -> Result<Self, CommandError> {
        // An empty PUSHPOST_URL counts as not set, since containers can't leave a variable out.
        let url = if url.is_empty() { DEFAULT_URL } else { url };
        let is_https = has_tls(url)?;
        let authorization = authorization(key)?;
        Ok(Self {
            http: if is_https { HttpClient::with_tls()? } else { HttpClient::plain() },
            base: url.trim_end_matches('/').to_owned(),
            authorization,
        })
    }

    /// Asks for a path, which begins with a slash, and returns the JSON of the answer.
    ///
    /// # Errors
    /// The service is out of reach, or it refuses the request: see [`CommandError`] for the exit codes.
    pub(super) async fn get(&self, path: &str) -> Result<Value, CommandError> {
        self.ask(Method::GET, path, None).await
    }

    /// Posts a body, or none, and returns the JSON of the answer; null: the answer has no body. Nothing is repeated.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(super) async fn post(&self, path: &str, body: Option<&Value>) -> Result<Value, CommandError> {
        self.ask(Method::POST, path, body).await
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, CommandError> {
        let url = format!("{}{path}", self.base);
        let exchange = timeout(TIMEOUT, self.exchange(method, &url, body));
        let answered = progress::watched("waiting for the service", exchange).await;
        let answer = answered.map_err(|_| failures::overdue(&self.base, TIMEOUT))??;
        if answer.status == StatusCode::ACCEPTED && answer.body.is_empty() {
            return Ok(Value::Null);
        }
        if answer.status.is_success() {
            return serde_json::from_slice(&answer.body).map_err(|_| failures::foreign(&self.base, &answer));
        }
        Err(failures::refusal(&self.base, path, &answer))
    }

    async fn exchange(
        &self,
        method: Method,
        url: &str,
        body: Option<&Value>,
    ) -> Result<ServiceAnswer, CommandError> {
        let request = Request::builder().method(method).uri(url).header(ACCEPT, "application/json");
        let mut request = request.header(AUTHORIZATION, &self.authorization);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = request.body(Full::new(bytes)).map_err(CommandError::usage)?;
        let unreachable = |error| failures::unreachable(&self.base, error);
        let (parts, body) = match &self.http {
            HttpClient::Plain(http) => http.request(request).await,
            HttpClient::Tls(http) => http.request(request).await,
        }
        .map_err(|error| unreachable(error.into()))?
        .into_parts();
        let read = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = read.map_err(|error| match error.is::<LengthLimitError>() {
            true => CommandError::failed(format_args!("{} answers more than 64 MiB", self.base)),
            false => unreachable(error),
        })?;
        Ok(ServiceAnswer { status: parts.status, headers: parts.headers, body: body.to_bytes() })
    }
}

impl HttpClient {
    fn plain() -> Self {
        Self::Plain(Client::builder(TokioExecutor::new()).build(connector()))
    }

    fn with_tls() -> Result<Self, CommandError> {
        let mut tls = transport::tls(None).map_err(anyhow::Error::from)?.as_ref().clone();
        // The connector sets the ALPN protocols itself and requires an empty list.
        tls.alpn_protocols.clear();
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_all_versions()
            .wrap_connector(connector());
        Ok(Self::Tls(Client::builder(TokioExecutor::new()).build(https)))
    }
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector
}

impl ServiceAnswer {
    fn header(&self, name: &http::HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The place that a redirect names.
    fn location(&self) -> Option<&str> {
        self.header(&LOCATION).filter(|_| self.status.is_redirection())
    }

    fn retry_after(&self) -> Option<&str> {
        self.header(&RETRY_AFTER)
    }
}

/// Whether the URL asks for TLS. The message of an error does not repeat the URL, which may hold a password.
fn has_tls(url: &str) -> Result<bool, CommandError> {
    let usage = |message: &str| {
        let hint = "such as --url https://push.example.com, or PUSHPOST_URL";
        Err(CommandError::usage(message).hint(hint))
    };
    let Ok(parsed) = url.parse::<Uri>() else { return usage("the URL of the service can't be read") };
    let Some(authority) = parsed.authority() else {
        return usage("the URL of the service begins with http:// or https:// and a host");
    };
    if authority.as_str().contains('@') || parsed.query().is_some() || url.contains('#') {
        return usage("the URL of the service has a user or a query, and may have neither");
    }
    match parsed.scheme_str() {
        Some("http") => Ok(false),
        Some("https") => Ok(true),
        _ => usage("the URL of the service begins with http:// or https://"),
    }
}

/// The header with the key, which no message repeats.
fn authorization(key: Option<&str>) -> Result<HeaderValue, CommandError> {
    let Some(key) = key.map(str::trim).filter(|key| !key.is_empty()) else {
        let failure = CommandError::usage(format_args!("{KEY} is not set"));
        return Err(failure.hint("it holds the secret that pushpost keys create prints"));
    };
    let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| {
        let failure = CommandError::usage(format_args!("{KEY} holds characters that are in no key"));
        failure.hint("a key begins with pushpost_sk_ and is one line")
    })?;
    value.set_sensitive(true);
    Ok(value)
}
