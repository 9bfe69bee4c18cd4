//! `pushpost webhooks listen`: a receiver for development. It verifies messages and prints their events.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use chrono::Utc;
use clap::Args;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::cli::command_error::CommandError;
use crate::cli::output;
use crate::cli::signals::StopSignals;
use crate::domain::WebhookSecret;

/// Bytes of a message at most. Pushpost's have 256 KiB, unless one event alone has more.
const BODY_BYTES_MAX: usize = 4 << 20;
/// How far a message's time may be from now, as the libraries of Standard Webhooks have it, in seconds.
const TIME_TOLERANCE: u64 = 300;

/// Receive messages on 127.0.0.1, verify them, and print each event as a line of JSON, until Ctrl-C
///
/// For development. Name it as the URL of a webhook, http://127.0.0.1:PORT/, and add 127.0.0.1 to webhooks.allow_networks.
#[derive(Args, Debug)]
pub(super) struct ListenArgs {
    /// The port; 0: any free one
    #[arg(long, value_name = "N")]
    port: u16,
    /// The webhook's secret, which begins with whsec_
    #[arg(long, value_name = "S", value_parser = WebhookSecret::parse)]
    secret: WebhookSecret,
}

impl ListenArgs {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
        let address = listener.local_addr().context("the socket has no address")?;
        let mut signals = StopSignals::catch()?;
        eprintln!("listening on http://{address}");
        let secret = Arc::new(self.secret);
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = signals.next() => return Ok(()),
                accepted = listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
            };
            let (socket, _) = accepted.context("no connection is accepted any more")?;
            let secret = Arc::clone(&secret);
            let service = service_fn(move |request| answer(request, Arc::clone(&secret)));
            connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    secret: Arc<WebhookSecret>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
    let verified = match body {
        Ok(body) => verify(&parts.headers, &body.to_bytes(), &secret),
        Err(_) => Err("the body is too large or ends early".to_owned()),
    };
    let (status, text) = match verified {
        Ok(events) => {
            // A closed pipe ends the command with the next signal.
            let _closed = events.iter().try_for_each(|event| output::line(&event.to_string()));
            (StatusCode::OK, String::new())
        }
        Err(why) => {
            eprintln!("refused: {why}");
            (StatusCode::UNAUTHORIZED, why)
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    Ok(response)
}

/// The events of a message.
#[expect(clippy::disallowed_methods, reason = "a receiver compares with the clock of its machine")]
fn verify(headers: &HeaderMap, body: &[u8], secret: &WebhookSecret) -> Result<Vec<Value>, String> {
    let header = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.ok_or_else(|| format!("the header {name} is missing"))
    };
    let (id, signature) = (header("webhook-id")?, header("webhook-signature")?);
    let timestamp: i64 =
        header("webhook-timestamp")?.parse().map_err(|_| "the time is no number".to_owned())?;
    if Utc::now().timestamp().abs_diff(timestamp) > TIME_TOLERANCE {
        return Err(format!("the time of {id} is more than five minutes from now"));
    }
    if !secret.verifies(id, timestamp, body, signature) {
        return Err(format!("no signature of {id} is made with this secret"));
    }
    let mut message: Value = serde_json::from_slice(body).map_err(|_| format!("{id} is not JSON"))?;
    match message["data"]["events"].take() {
        Value::Array(events) => Ok(events),
        _ => Err(format!("{id} has no events")),
    }
}
