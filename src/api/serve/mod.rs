//! The HTTP server: accepts connections up to a limit, ends those that miss a deadline, and at shutdown waits for
//! requests in progress.

mod burst;
mod connection_cut;
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
use crate::telemetry::metrics::{Gauge, Held};
use burst::LogBurst;
pub(super) use connection_cut::ConnectionCut;
use connection_slots::{ConnectionSlot, ConnectionSlots};
use idle_timeout::{ConnectionTimeout, Deadlines, IdleState, TrackedStream};

/// How long a request's head may take: on a new connection from its start, later from the head's first byte. A client
/// that connects without a request must connect again.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection with a request in progress is ended if nothing is read or written for this long. Longer than the
/// deadline of requests, so that the deadline is answered first.
const STALL_TIMEOUT: Duration = Duration::from_secs(75);
/// After the idle or stall time-out: how long requests in progress may take to end.
const LINGER: Duration = Duration::from_secs(10);
/// For a connection that is evicted: a request that arrived at the same moment is answered, and the connection ends
/// this long after it.
const EVICTION_LINGER: Duration = Duration::from_millis(100);
/// After a failed accept, which mostly means that there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Between two PINGs on an HTTP/2 connection.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Bytes of a head that hyper accepts. Our own limit, which is answered with a problem document, is much lower.
const HEAD_BYTES_MAX: usize = 4 * super::request_layer::HEADERS_MAX;
/// Headers of a request at most.
const HEADERS_MAX: usize = 100;
/// Concurrent requests on one HTTP/2 connection at most.
const STREAMS_MAX: u32 = 200;

/// Serves a listener until `shutdown`, then waits up to `limits.drain` for requests in progress. `connections_max` may
/// change meanwhile.
///
/// # Errors
/// None at present, because a failed accept is repeated.
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
        open: router.connections().clone(),
        shutdown: shutdown.clone(),
        // Cancelled after the drain, for connections that are still open.
        cut: CancellationToken::new(),
    };
    let connections = TaskTracker::new();
    tokio::select! {
        () = accept(&listener, &slots, &connections, &server) => {}
        () = update_slots(connections_max, &slots) => {}
        () = shutdown.cancelled() => {}
    }
    drop(listener);
    connections.close();
    if timeout(limits.drain, connections.wait()).await.is_err() {
        tracing::warn!(
            open = connections.len(),
            "connections are still open after the drain, and are closed"
        );
        server.cut.cancel();
        connections.wait().await;
    }
    Ok(())
}

/// Applies changes of the number of slots; never returns.
async fn update_slots(mut connections_max: watch::Receiver<usize>, slots: &ConnectionSlots) {
    while connections_max.changed().await.is_ok() {
        slots.set_max(*connections_max.borrow_and_update());
    }
    std::future::pending().await
}

/// Accepts connections, each in a slot; never returns.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<ConnectionSlots>,
    connections: &TaskTracker,
    server: &Server,
) {
    let (mut full, mut failures) = (LogBurst::default(), LogBurst::default());
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
            tracing::debug!(%error, "TCP_NODELAY can't be set");
        }
        let slot = match slots.take() {
            Some(slot) => slot,
            None => {
                if full.begins() {
                    tracing::warn!(
                        limit = slots.max(),
                        detail = "connections without a request are closed first, then those idle for the longest time",
                        hint = "if these are ordinary clients, raise the process's limit of open files, or add a node",
                        "client connections are at their limit"
                    );
                }
                slots.take_evicting().await
            }
        };
        connections.spawn(server.clone().connection(stream, peer.ip(), slot));
    }
}

/// What all connections of a listener share.
#[derive(Clone)]
struct Server {
    service: Router,
    /// Counts the open connections.
    open: Gauge,
    deadlines: Deadlines,
    shutdown: CancellationToken,
    cut: CancellationToken,
}

impl Server {
    /// Serves a connection until it ends, misses a deadline, is evicted, or the drain ends.
    async fn connection(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: IpAddr,
        slot: ConnectionSlot,
    ) {
        let _counted = Held::new(&self.open);
        let (activity, cut) = (&slot.activity, ConnectionCut::default());
        let service = service_fn(|mut request: Request<Incoming>| {
            let under_way = activity.begin(request.version());
            request.extensions_mut().insert(PeerAddress(peer));
            request.extensions_mut().insert(cut.clone());
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
        let served = async {
            tokio::select! {
                // The connection is polled last, because polling it may write a piece of an answer, which would reset the
                // deadline.
                biased;
                () = self.shutdown.cancelled() => {
                    end_within(connection.as_mut(), self.cut.cancelled()).await
                }
                () = slot.evicted.cancelled() => {
                    match activity.idle_state() {
                        IdleState::NoRequest(_) => None,
                        _ => end_within(connection.as_mut(), activity.idle_for(EVICTION_LINGER)).await,
                    }
                }
                timeout = activity.timed_out(self.deadlines) => match timeout {
                    ConnectionTimeout::Head => None,
                    ConnectionTimeout::Idle | ConnectionTimeout::Stalled => end_within(connection.as_mut(), sleep(LINGER)).await,
                },
                ended = connection.as_mut() => Some(ended),
            }
        };
        let ended = tokio::select! {
            biased;
            () = cut.happened() => None,
            ended = served => ended,
        };
        if let Some(Err(error)) = ended {
            tracing::debug!(error, "connection ended with an error");
        }
    }
}

/// Accepts nothing new on a connection, and waits until it ends. None: `limit` came first.
async fn end_within<C: GracefulConnection>(
    mut connection: Pin<&mut C>,
    limit: impl Future<Output = ()>,
) -> Option<C::Output> {
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = connection => Some(ended),
        () = limit => None,
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().header_read_timeout(None).max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX as u32);
    builder
}

#[cfg(test)]
mod tests;
