//! When a connection is ended: its head doesn't come, nothing is asked on it any more, or nothing moves on it.
//!
//! hyper's own deadline for heads begins when the protocol is known, which is as late as the client likes, and there is
//! none for HTTP/2, where a peer that answers PINGs would stay for ever. What counts here is that a request arrives, that a
//! piece of its body does, that its answer begins, and that a piece of the answer is taken.

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

/// How long a connection may wait for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    /// From a head's first byte (of the first head: from the connection's beginning) to its end.
    pub(super) head: Duration,
    /// From the end of the last answer to the next request.
    pub(super) idle: Duration,
    /// Between two signs of progress of what is under way.
    pub(super) stall: Duration,
}

/// Why a connection is ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ConnectionTimeout {
    /// A head did not come to its end.
    Head,
    /// Nothing was asked.
    Idle,
    /// What is under way did not get on.
    Stalled,
}

/// How much a connection is worth keeping, the least first; older ones first among equals.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum IdleState {
    /// No request has come yet, since then.
    NoRequest(Instant),
    /// No request is under way, since then.
    Idle(Instant),
    /// A request is under way.
    UnderWay,
}

/// What goes on on one connection. Clones are of the same one.
#[derive(Clone, Debug)]
pub(super) struct ConnectionActivity(Arc<Mutex<Progress>>);

#[derive(Debug)]
struct Progress {
    /// When something last went on.
    last: Instant,
    /// When the head began that has not come to its end.
    head_began: Option<Instant>,
    has_asked: bool,
    is_http2: bool,
    under_way: usize,
}

impl ConnectionActivity {
    /// Of a connection that has just been opened.
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

    /// A request has come; it is under way until the answer is dropped.
    pub(super) fn begin(&self, version: Version) -> OpenRequest {
        let mut progress = self.progress();
        progress.last = Instant::now();
        progress.head_began = None;
        progress.has_asked = true;
        progress.is_http2 = version == Version::HTTP_2;
        progress.under_way += 1;
        OpenRequest(self.clone())
    }

    /// Something goes on.
    pub(super) fn note(&self) {
        self.progress().last = Instant::now();
    }

    /// Bytes have come. Between requests they begin a head; on HTTP/2 they may be anything.
    fn note_bytes(&self) {
        let mut progress = self.progress();
        if progress.under_way == 0 && !progress.is_http2 && progress.head_began.is_none() {
            progress.head_began = Some(Instant::now());
        }
    }

    /// How much it is worth keeping.
    pub(super) fn idle_state(&self) -> IdleState {
        let progress = self.progress();
        match (progress.under_way, progress.has_asked) {
            (0, false) => IdleState::NoRequest(progress.last),
            (0, true) => IdleState::Idle(progress.last),
            _ => IdleState::UnderWay,
        }
    }

    /// Waits until it has waited too long for something.
    pub(super) async fn overdue(&self, deadlines: Deadlines) -> ConnectionTimeout {
        // A deadline that is set while this sleeps ends no earlier than one that is set now.
        let step = deadlines.head.min(deadlines.idle).min(deadlines.stall);
        loop {
            let (end, overdue) = self.progress().deadline(deadlines);
            let now = Instant::now();
            if end <= now {
                return overdue;
            }
            sleep_until(end.min(now + step)).await;
        }
    }

    /// Waits until no request has been under way for so long, from now on.
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

    /// The body with each of its pieces noted.
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

/// A request that is under way, until this is dropped.
#[derive(Debug)]
pub(super) struct OpenRequest(ConnectionActivity);

impl OpenRequest {
    /// The answer's body, with each of its pieces noted; the request ends with it.
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

/// The body of a request or an answer.
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

/// A connection's bytes, noted as they come.
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
