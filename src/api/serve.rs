//! The HTTP server: connections with deadlines, and an end that waits for requests under way.

use std::io;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{State, router};

/// From a request's first byte, or from the end of the one before it, to the end of its head. Also what ends an idle
/// connection.
const HEADER_DEADLINE: Duration = Duration::from_secs(75);
/// After a failed accept, most often for want of file descriptors: time to get some back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// An idle HTTP/2 connection is asked whether it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Answers until `shutdown`, then lets requests under way end for at most `limits.drain`.
///
/// # Errors
/// If the listener has no address, which is to say, none.
pub async fn serve(listener: TcpListener, state: State, shutdown: CancellationToken) -> io::Result<()> {
    let drain = state.limits.drain;
    let service = router(state);
    let connections = TaskTracker::new();
    // Past the drain: whatever is still open is cut.
    let cut = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (shutdown, cut) = (shutdown.clone(), cut.clone());
                connections.spawn(connection(stream, service.clone(), shutdown, cut));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if timeout(drain, connections.wait()).await.is_err() {
        tracing::warn!(open = connections.len(), "connections still open after the drain are cut");
        cut.cancel();
        connections.wait().await;
    }
    Ok(())
}

async fn connection(stream: TcpStream, service: Router, shutdown: CancellationToken, cut: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_DEADLINE);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(KEEP_ALIVE);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = cut.cancelled() => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "a connection ended with an error");
    }
}
