//! The three things that a stream can wait for: its body, the moment of its answer, or the client's patience.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::server::SendResponse;
use http::Request;
use http::request::Parts;

use super::clock;
use super::entry::{End, Ended};
use super::ledger::Ticket;
use super::session::{Effect, Received};

/// Bodies are kept up to here; every provider's limit is far below.
const BODY_LIMIT: usize = 64 * 1024;

/// What a stream waits for.
pub(super) enum Wait {
    /// The rest of the request.
    Body { parts: Parts, body: Body, respond: SendResponse<Bytes>, stream: u32 },
    /// The time to answer.
    Answer { stream: u32, ticket: Ticket, delay: Duration, effect: Effect, respond: SendResponse<Bytes> },
    /// Nothing: it will not be answered.
    Never { respond: SendResponse<Bytes> },
}

/// What it came to.
pub(super) enum Step {
    /// A whole request.
    Complete { received: Received, respond: SendResponse<Bytes> },
    /// An answer's time has come.
    Due { stream: u32, ticket: Ticket, effect: Effect, respond: SendResponse<Bytes> },
    /// The client reset a stream that was owed an answer.
    Gone,
    /// The client reset a stream that was never to be answered.
    Forgotten,
}

/// Waits for the next step of a stream.
pub(super) async fn advance(wait: Wait) -> Step {
    match wait {
        Wait::Body { parts, mut body, respond, stream } => {
            let whole = poll_fn(|cx| body.poll(cx)).await;
            Step::of_body(parts, whole, respond, stream)
        }
        Wait::Answer { stream, ticket, delay, effect, mut respond } => {
            let reset = tokio::select! {
                biased;
                () = tokio::time::sleep(delay) => false,
                _ = poll_fn(|cx| respond.poll_reset(cx)) => true,
            };
            if reset {
                let accepted = effect.accepted();
                ticket.end(End::without_answer(Ended::ClientGone, accepted));
                return Step::Gone;
            }
            Step::Due { stream, ticket, effect, respond }
        }
        Wait::Never { mut respond } => {
            // A reset or the end of the connection ends the wait.
            let _ended = poll_fn(|cx| respond.poll_reset(cx)).await;
            Step::Forgotten
        }
    }
}

impl Wait {
    /// For a request's body. Mostly all of it is here with the head: then there is nothing to wait for, and what it
    /// came to joins what is `ready`.
    pub(super) fn for_body(
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
        stream: u32,
        ready: &mut VecDeque<Step>,
    ) -> Option<Self> {
        let (parts, body) = request.into_parts();
        let mut body = Body { rest: body, whole: BytesMut::new() };
        match body.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => Some(Self::Body { parts, body, respond, stream }),
            Poll::Ready(whole) => {
                ready.push_back(Step::of_body(parts, whole, respond, stream));
                None
            }
        }
    }
}

impl Step {
    fn of_body(parts: Parts, whole: Option<Bytes>, respond: SendResponse<Bytes>, stream: u32) -> Self {
        let Some(body) = whole else { return Self::Gone };
        Self::Complete { received: Received { parts, body, stream, at_us: clock::now_us() }, respond }
    }
}

/// A body on its way, cut off past [`BODY_LIMIT`].
pub(super) struct Body {
    rest: RecvStream,
    whole: BytesMut,
}

impl Body {
    /// All of it; nothing if the client broke it off.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        while !self.rest.is_end_stream() {
            let Some(more) = ready!(self.rest.poll_data(cx)) else { break };
            let Ok(more) = more else { return Poll::Ready(None) };
            if self.rest.flow_control().release_capacity(more.len()).is_err() {
                return Poll::Ready(None);
            }
            // The first piece is mostly the whole, and is not copied then.
            if self.whole.is_empty() && self.rest.is_end_stream() {
                return Poll::Ready(Some(more));
            }
            let room = BODY_LIMIT.saturating_sub(self.whole.len());
            self.whole.extend_from_slice(&more[..more.len().min(room)]);
        }
        Poll::Ready(Some(std::mem::take(&mut self.whole).freeze()))
    }
}
