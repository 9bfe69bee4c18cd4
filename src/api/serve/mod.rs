//! The HTTP server: connections with deadlines, and an end that waits for requests under way.

mod quiet;

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::rates::Peer;
use super::{Front, Limits};
use quiet::Activity;

/// A connection on which nothing goes on for so long is ended. Longer than load balancers keep an idle one (60 s), so
/// that they never send into one that is just ending, and than any request may take.
const QUIET: Duration = Duration::from_secs(75);
/// Then what is half done has so long to end.
const LINGER: Duration = Duration::from_secs(10);
/// After a failed accept, most often for want of file descriptors: time to get some back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// An idle HTTP/2 connection is asked whether it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// What hyper takes of a head before it refuses without asking us; our own limit, which is answered with a problem, is
/// far below.
const HEAD_BYTES: usize = 4 * super::request::HEADERS_MAX;
/// Most headers of a request.
const HEADERS: usize = 100;
/// Requests at a time on one HTTP/2 connection.
const STREAMS: u32 = 200;

/// Answers until `shutdown`, then lets requests under way end for at most `limits.drain`.
///
/// # Errors
/// None so far: a connection that can't be accepted is tried again.
pub async fn serve(
    listener: TcpListener,
    front: Front,
    limits: Limits,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let service = front.service();
    let connections = TaskTracker::new();
    // Past the drain: whatever is still open is cut.
    let cut = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY could not be set");
                }
                let (shutdown, cut) = (shutdown.clone(), cut.clone());
                connections.spawn(connection(stream, peer.ip(), service.clone(), shutdown, cut));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if timeout(limits.drain, connections.wait()).await.is_err() {
        tracing::warn!(open = connections.len(), "connections still open after the drain are cut");
        cut.cancel();
        connections.wait().await;
    }
    Ok(())
}

/// Serves one connection to its end, to the end of the drain, or until nothing goes on any more.
async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: IpAddr,
    service: Router,
    shutdown: CancellationToken,
    cut: CancellationToken,
) {
    let activity = Activity::new();
    let service = service_fn(|mut request: Request<Incoming>| {
        activity.note();
        request.extensions_mut().insert(Peer(peer));
        let (service, activity) = (service.clone(), activity.clone());
        async move {
            let request = request.map(|body| activity.clone().watch(Body::new(body)));
            let response = service.oneshot(request).await?;
            activity.note();
            Ok::<_, Infallible>(response.map(|body| activity.watch(body)))
        }
    });
    let builder = builder();
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        // The connection last: asked in vain, it takes one more piece of an answer, which would count.
        biased;
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = cut.cancelled() => return,
            }
        }
        () = activity.quiet_for(QUIET) => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = sleep(LINGER) => return,
            }
        }
        ended = connection.as_mut() => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(error, "a connection ended with an error");
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().header_read_timeout(None).max_buf_size(HEAD_BYTES).max_headers(HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD_BYTES as u32);
    builder
}

#[cfg(test)]
mod tests;
