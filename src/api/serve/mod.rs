//! The HTTP server: so many connections at a time, each with deadlines, and an end that waits for requests under way.

mod burst;
mod connection_slots;
mod idle_timeout;

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::rates::PeerAddress;
use super::{ApiLimits, ListenerRouter};
use burst::LogBurst;
use connection_slots::{ConnectionSlot, ConnectionSlots};
use idle_timeout::{ConnectionTimeout, Deadlines, IdleState, TrackedStream};

/// A head has so long: from the connection's beginning, or on a kept connection from the head's first byte. A client that
/// connects ahead of its requests connects again.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// What is under way without a sign of progress for so long is ended with its connection. Longer than any request may take.
const STALL_TIMEOUT: Duration = Duration::from_secs(75);
/// Then what is half done has so long to end.
const LINGER: Duration = Duration::from_secs(10);
/// On a connection that makes room: a request that came at that moment goes on, and the connection ends so long after it.
const ROOM_LINGER: Duration = Duration::from_millis(100);
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

/// Answers until `shutdown`, then lets requests under way end for at most `limits.drain`. `connections_max` may change
/// meanwhile.
///
/// # Errors
/// None so far: a connection that can't be accepted is tried again.
pub async fn serve(
    listener: TcpListener,
    router: ListenerRouter,
    limits: ApiLimits,
    connections_max: watch::Receiver<usize>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let slots = ConnectionSlots::new(*connections_max.borrow());
    let server = Server {
        deadlines: Deadlines { head: HEAD_TIMEOUT, idle: limits.keep_alive, stall: STALL_TIMEOUT },
        service: router.service(),
        shutdown: shutdown.clone(),
        // Past the drain: whatever is still open is cut.
        cut: CancellationToken::new(),
    };
    let connections = TaskTracker::new();
    tokio::select! {
        () = accept(&listener, &slots, &connections, &server) => {}
        () = follow(connections_max, &slots) => {}
        () = shutdown.cancelled() => {}
    }
    drop(listener);
    connections.close();
    if timeout(limits.drain, connections.wait()).await.is_err() {
        tracing::warn!(open = connections.len(), "connections still open after the drain are cut");
        server.cut.cancel();
        connections.wait().await;
    }
    Ok(())
}

/// Keeps the number of slots as it is to be; never returns.
async fn follow(mut connections_max: watch::Receiver<usize>, slots: &ConnectionSlots) {
    while connections_max.changed().await.is_ok() {
        slots.set_max(*connections_max.borrow_and_update());
    }
    std::future::pending().await
}

/// Takes connections in, each in a slot of its own; never returns.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<ConnectionSlots>,
    connections: &TaskTracker,
    server: &Server,
) {
    let (mut crowds, mut failures) = (LogBurst::default(), LogBurst::default());
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                if failures.begins() {
                    tracing::warn!(%error, "a connection could not be accepted");
                }
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let slot = match slots.take() {
            Some(slot) => slot,
            None => {
                if crowds.begins() {
                    tracing::warn!(
                        limit = slots.max(),
                        detail =
                            "connections without a request are closed, then those that are idle the longest",
                        hint = "if these are ordinary clients, raise the process's limit of open files, or start another node",
                        "client connections are at their limit"
                    );
                }
                slots.make_room().await
            }
        };
        connections.spawn(server.clone().connection(stream, peer.ip(), slot));
    }
}

/// What all connections of a listener share.
#[derive(Clone)]
struct Server {
    service: Router,
    deadlines: Deadlines,
    shutdown: CancellationToken,
    cut: CancellationToken,
}

impl Server {
    /// Serves one connection to its end, to the end of the drain, until it is overdue, or until it must make room.
    async fn connection(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: IpAddr,
        slot: ConnectionSlot,
    ) {
        let activity = &slot.activity;
        let service = service_fn(|mut request: Request<Incoming>| {
            let under_way = activity.begin(request.version());
            request.extensions_mut().insert(PeerAddress(peer));
            let (service, activity) = (self.service.clone(), activity.clone());
            async move {
                let request = request.map(|body| activity.clone().watch(Body::new(body)));
                let response = service.oneshot(request).await?;
                activity.note();
                Ok::<_, Infallible>(response.map(|body| under_way.watch(body)))
            }
        });
        let builder = builder();
        let stream = TrackedStream::new(stream, activity.clone());
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            // The connection last: asked in vain, it takes one more piece of an answer, which would count.
            biased;
            () = self.shutdown.cancelled() => {
                end_within(connection.as_mut(), self.cut.cancelled()).await
            }
            () = slot.evicted.cancelled() => {
                match activity.idle_state() {
                    IdleState::NoRequest(_) => None,
                    _ => end_within(connection.as_mut(), activity.idle_for(ROOM_LINGER)).await,
                }
            }
            overdue = activity.overdue(self.deadlines) => match overdue {
                ConnectionTimeout::Head => None,
                ConnectionTimeout::Idle | ConnectionTimeout::Stalled => end_within(connection.as_mut(), sleep(LINGER)).await,
            },
            ended = connection.as_mut() => Some(ended),
        };
        if let Some(Err(error)) = ended {
            tracing::debug!(error, "a connection ended with an error");
        }
    }
}

/// Takes nothing new on a connection, and waits for its end or for the end of patience; none: the latter came first.
async fn end_within<C: GracefulConnection>(
    mut connection: Pin<&mut C>,
    patience: impl Future<Output = ()>,
) -> Option<C::Output> {
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = connection => Some(ended),
        () = patience => None,
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
