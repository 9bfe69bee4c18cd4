//! What a client is still sending when its answer is ready: a body that was refused before it was read, or in the
//! middle.
//!
//! HTTP/1 clients mostly write all of a request before they read, and a connection that is closed with unread bytes in
//! it is reset, which takes the answer along. So what still comes is read and thrown away first, within bounds. HTTP/2
//! needs none of this: there the answer and the reset of the stream are frames of their own.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http::header::EXPECT;
use http::request::Parts;
use http::{HeaderMap, Version};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::oneshot;
use tokio::time::{Duration, timeout};

/// A client that sends nothing for so long is waiting for its answer.
const IDLE_TIMEOUT: Duration = Duration::from_millis(250);
/// Longest time, and most bytes, for which an answer is kept back.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);
const DRAIN_BYTES_MAX: usize = 64 << 20;

/// The way back of a body that its handler gave up.
#[derive(Debug)]
pub(super) struct UnreadBody(Option<oneshot::Receiver<Body>>);

/// Follows a request's body.
pub(super) fn track(head: &Parts, body: Body) -> (Body, UnreadBody) {
    let is_http1 = head.version <= Version::HTTP_11;
    // Reading would tell a client to go on that still waits to be told.
    if !is_http1 || waits(&head.headers) || body.is_end_stream() {
        return (body, UnreadBody(None));
    }
    let (back, unread) = oneshot::channel();
    (Body::new(TrackedBody { body: Some(body), back: Some(back) }), UnreadBody(Some(unread)))
}

impl UnreadBody {
    /// Throws away what still comes. To be called when the handler is done.
    pub(super) async fn drain(self) {
        let Some(Ok(body)) = self.0.map(|mut unread| unread.try_recv()) else { return };
        // What is left after that is the connection's end.
        let _rest = timeout(DRAIN_TIME_MAX, discard(body)).await;
    }
}

async fn discard(mut body: Body) {
    let mut read = 0;
    while read < DRAIN_BYTES_MAX {
        match timeout(IDLE_TIMEOUT, body.frame()).await {
            Ok(Some(Ok(frame))) => read += frame.data_ref().map_or(0, Bytes::len),
            _ => return,
        }
    }
}

fn waits(headers: &HeaderMap) -> bool {
    headers.contains_key(EXPECT)
}

struct TrackedBody {
    body: Option<Body>,
    back: Option<oneshot::Sender<Body>>,
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for TrackedBody {
    fn drop(&mut self) {
        let unread = self.body.take().filter(|body| !body.is_end_stream());
        if let (Some(body), Some(back)) = (unread, self.back.take()) {
            // Nobody waits for it where the request itself was given up.
            let _gone = back.send(body);
        }
    }
}
