//! Reads and discards the rest of a request's body that its handler did not read, before the answer is sent. Used by
//! `request`.
//!
//! Most HTTP/1 clients write the whole request before they read. If a connection is closed with unread bytes in it, TCP
//! resets the connection, and the client does not get the answer. So the rest is read first, within limits. HTTP/2 does
//! not need this, because an answer and the reset of its stream are separate frames.

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

/// A client that sends nothing for this long is taken to wait for its answer.
const IDLE_TIMEOUT: Duration = Duration::from_millis(250);
/// The answer is held back for this long, and for this many bytes, at most.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);
const DRAIN_BYTES_MAX: usize = 64 << 20;

/// Receives the body from its handler, if the handler drops it before its end.
#[derive(Debug)]
pub(super) struct UnreadBody(Option<oneshot::Receiver<Body>>);

/// Wraps a request's body for the handler.
pub(super) fn track(head: &Parts, body: Body) -> (Body, UnreadBody) {
    let is_http1 = head.version <= Version::HTTP_11;
    // A client that sent Expect waits for 100 Continue, which reading would send.
    if !is_http1 || expects_continue(&head.headers) || body.is_end_stream() {
        return (body, UnreadBody(None));
    }
    let (back, unread) = oneshot::channel();
    (Body::new(TrackedBody { body: Some(body), back: Some(back) }), UnreadBody(Some(unread)))
}

impl UnreadBody {
    /// Discards the rest of the body. To be called when the handler is done.
    pub(super) async fn drain(self) {
        let Some(Ok(body)) = self.0.map(|mut unread| unread.try_recv()) else { return };
        // If there is still more after that, the connection is closed with the answer.
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

fn expects_continue(headers: &HeaderMap) -> bool {
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
            // The receiver is gone if the request itself was cancelled.
            let _gone = back.send(body);
        }
    }
}
