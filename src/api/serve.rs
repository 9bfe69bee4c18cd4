//! The HTTP server: connections with deadlines, and an end that waits for requests under way.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::{State, Surface, router};

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
/// None so far: a connection that can't be accepted is tried again.
pub async fn serve(
    listener: TcpListener,
    state: State,
    surface: Surface,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let drain = state.limits.drain;
    let service = router(state, surface);
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

/// Serves one connection to its end, to the end of the drain, or until its first request is overdue.
async fn connection(stream: TcpStream, service: Router, shutdown: CancellationToken, cut: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let asked = Arc::new(AtomicBool::new(false));
    let service = {
        let asked = Arc::clone(&asked);
        service_fn(move |request: http::Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            service.clone().oneshot(request)
        })
    };
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_DEADLINE);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(KEEP_ALIVE);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    // hyper's own deadline begins when the protocol is known, which is as late as the client likes.
    let overdue = async {
        sleep(HEADER_DEADLINE).await;
        if asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = overdue => return,
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::api::tests::state;

    const DEADLINE: Duration = Duration::from_secs(20);

    async fn read_until(stream: &mut TcpStream, end: &str) -> String {
        let mut all = Vec::new();
        let mut buffer = [0; 1024];
        while !String::from_utf8_lossy(&all).ends_with(end) {
            let n = timeout(DEADLINE, stream.read(&mut buffer)).await.expect("in time").expect("readable");
            assert_ne!(n, 0, "closed after {}", String::from_utf8_lossy(&all));
            all.extend_from_slice(&buffer[..n]);
        }
        String::from_utf8(all).expect("text")
    }

    #[tokio::test]
    async fn shutdown_closes_idle_connections_and_cuts_stuck_ones_after_the_drain() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let mut state = state();
        state.limits.drain = Duration::from_millis(50);
        let shutdown = CancellationToken::new();
        let mut servers = tokio::task::JoinSet::new();
        servers.spawn(serve(listener, state, Surface::All, shutdown.clone()));

        let mut idle = TcpStream::connect(address).await.expect("listening");
        idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("writable");
        assert!(read_until(&mut idle, "{\"status\":\"ok\"}").await.starts_with("HTTP/1.1 200"));
        let mut stuck = TcpStream::connect(address).await.expect("listening");
        stuck.write_all(b"POST /v1/noti").await.expect("writable");

        shutdown.cancel();
        let ended = timeout(DEADLINE, servers.join_next()).await.expect("in time").expect("spawned");
        ended.expect("no panic").expect("no error");
        let mut rest = Vec::new();
        timeout(DEADLINE, idle.read_to_end(&mut rest)).await.expect("in time").expect("closed");
        assert!(rest.is_empty());
        assert!(TcpStream::connect(address).await.is_err());
    }
}
