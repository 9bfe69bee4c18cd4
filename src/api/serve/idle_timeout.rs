//! The time-outs of a client's connection: for a head that does not arrive, for no further request, and for a request
//! without progress.
//!
//! hyper's own deadline for heads starts when the protocol is known, which a client can delay without limit, and hyper
//! has none for HTTP/2, where a peer that answers PINGs could stay for ever. Progress is: a request arrives, a piece of
//! its body arrives, its answer begins, or a piece of the answer is written.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::Version;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

/// The time-outs of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    /// From the first byte of a head to its end; for the first head from the start of the connection.
    pub(super) head: Duration,
    /// From the end of the last answer to the next request.
    pub(super) idle: Duration,
    /// Between two signs of progress of the requests in progress.
    pub(super) stall: Duration,
}

/// The time-out that has passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ConnectionTimeout {
    /// A head did not arrive completely.
    Head,
    /// There was no further request.
    Idle,
    /// The requests in progress made no progress.
    Stalled,
}

/// Whether a connection may be evicted, and since when. The order is that of eviction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum IdleState {
    /// There was no request yet, since this time.
    NoRequest(Instant),
    /// No request is in progress, since this time.
    Idle(Instant),
    /// A request is in progress; never evicted.
    UnderWay,
}

/// The activity of one connection. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct ConnectionActivity(Arc<Mutex<Progress>>);

#[derive(Debug)]
struct Progress {
    /// The time of the last progress.
    last: Instant,
    /// The start of a head that has not arrived completely.
    head_began: Option<Instant>,
    has_asked: bool,
    is_http2: bool,
    under_way: usize,
}

impl ConnectionActivity {
    /// For a connection that was just opened.
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self(Arc::new(Mutex::new(Progress {
            last: now,
            head_began: Some(now),
            has_asked: false,
            is_http2: false,
            under_way: 0,
        })))
    }

    /// Notes that a request has arrived. It is in progress until its answer's body is dropped.
    pub(super) fn begin(&self, version: Version) -> OpenRequest {
        let mut progress = self.progress();
        progress.last = Instant::now();
        progress.head_began = None;
        progress.has_asked = true;
        progress.is_http2 = version == Version::HTTP_2;
        progress.under_way += 1;
        OpenRequest(self.clone())
    }

    /// Notes progress of a request.
    pub(super) fn note(&self) {
        self.progress().last = Instant::now();
    }

    /// Notes that bytes have arrived. Between requests they are the start of a head; on HTTP/2 they may be any frame,
    /// so they do not count.
    fn note_bytes(&self) {
        let mut progress = self.progress();
        if progress.under_way == 0 && !progress.is_http2 && progress.head_began.is_none() {
            progress.head_began = Some(Instant::now());
        }
    }

    /// Whether the connection may be evicted.
    pub(super) fn idle_state(&self) -> IdleState {
        let progress = self.progress();
        match (progress.under_way, progress.has_asked) {
            (0, false) => IdleState::NoRequest(progress.last),
            (0, true) => IdleState::Idle(progress.last),
            _ => IdleState::UnderWay,
        }
    }

    /// Waits until a time-out has passed.
    pub(super) async fn timed_out(&self, deadlines: Deadlines) -> ConnectionTimeout {
        // A deadline that starts during the sleep ends at least `step` later, so sleeping this long misses none.
        let step = deadlines.head.min(deadlines.idle).min(deadlines.stall);
        loop {
            let (end, timeout) = self.progress().deadline(deadlines);
            let now = Instant::now();
            if end <= now {
                return timeout;
            }
            sleep_until(end.min(now + step)).await;
        }
    }

    /// Waits until no request has been in progress for `time`, counted from now on.
    pub(super) async fn idle_for(&self, time: Duration) {
        let begun = Instant::now();
        loop {
            let now = Instant::now();
            let since = match self.idle_state() {
                IdleState::UnderWay => now,
                IdleState::NoRequest(since) | IdleState::Idle(since) => since.max(begun),
            };
            if since + time <= now {
                return;
            }
            sleep_until(since + time).await;
        }
    }

    /// Wraps the body of a request, of which each piece counts as progress.
    pub(super) fn watch(self, body: Body) -> TrackedBody {
        TrackedBody { body, activity: self, _under_way: None }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress {
    fn deadline(&self, deadlines: Deadlines) -> (Instant, ConnectionTimeout) {
        match self.head_began {
            _ if self.under_way > 0 => (self.last + deadlines.stall, ConnectionTimeout::Stalled),
            Some(began) => (began + deadlines.head, ConnectionTimeout::Head),
            None => (self.last + deadlines.idle, ConnectionTimeout::Idle),
        }
    }
}

/// A request in progress, until this is dropped.
#[derive(Debug)]
pub(super) struct OpenRequest(ConnectionActivity);

impl OpenRequest {
    /// Wraps the body of the answer, of which each piece counts as progress. The request ends with it.
    pub(super) fn watch(self, body: Body) -> TrackedBody {
        TrackedBody { body, activity: self.0.clone(), _under_way: Some(self) }
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let mut progress = self.0.progress();
        progress.last = Instant::now();
        progress.under_way -= 1;
    }
}

/// The body of a request or an answer, with its progress noted.
#[derive(Debug)]
pub(super) struct TrackedBody {
    body: Body,
    activity: ConnectionActivity,
    _under_way: Option<OpenRequest>,
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_ready() {
            self.activity.note();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The stream of a connection, with the arrival of bytes noted.
#[derive(Debug)]
pub(super) struct TrackedStream<S> {
    stream: S,
    activity: ConnectionActivity,
}

impl<S> TrackedStream<S> {
    pub(super) fn new(stream: S, activity: ConnectionActivity) -> Self {
        Self { stream, activity }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TrackedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.activity.note_bytes();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TrackedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
