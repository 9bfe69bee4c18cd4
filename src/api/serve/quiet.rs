//! Ending connections on which nothing goes on: a head that comes byte by byte or not at all, a client that left its
//! connection open, one that doesn't take its answer.
//!
//! hyper's own deadline for heads begins when the protocol is known, which is as late as the client likes, and there is
//! none for HTTP/2, where a peer that answers PINGs would stay for ever. What counts here is that a request arrives, that a
//! piece of its body does, that its answer begins, and that a piece of the answer is taken.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, sleep_until};

/// When something last went on.
#[derive(Clone, Debug)]
pub(super) struct Activity(Arc<Mutex<Instant>>);

impl Activity {
    /// Just now.
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    /// Something goes on.
    pub(super) fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Waits until nothing has gone on for so long.
    pub(super) async fn quiet_for(&self, time: Duration) {
        loop {
            let end = *self.0.lock().unwrap_or_else(PoisonError::into_inner) + time;
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    }

    /// The body with each of its pieces noted.
    pub(super) fn watch(self, body: Body) -> Watched {
        Watched { body, activity: self }
    }
}

/// The body of a request or an answer.
#[derive(Debug)]
pub(super) struct Watched {
    body: Body,
    activity: Activity,
}

impl HttpBody for Watched {
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
