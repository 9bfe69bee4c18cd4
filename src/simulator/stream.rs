//! The three things that a stream can wait for: its body, the moment of its answer, or the client's patience.

use std::future::poll_fn;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::server::SendResponse;
use http::Request;

use super::clock;
use super::entry::{End, Ended};
use super::ledger::Ticket;
use super::session::{Effect, Received};

/// Bodies are kept up to here; every provider's limit is far below.
const BODY_LIMIT: usize = 64 * 1024;

/// What a stream waits for.
pub(super) enum Wait {
    /// The rest of the request.
    Body { request: Request<RecvStream>, respond: SendResponse<Bytes>, stream: u32 },
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

/// Waits.
pub(super) async fn advance(wait: Wait) -> Step {
    match wait {
        Wait::Body { request, respond, stream } => {
            let (parts, body) = request.into_parts();
            match gather(body).await {
                Some(body) => {
                    let received = Received { parts, body, stream, at_us: clock::now_us() };
                    Step::Complete { received, respond }
                }
                None => Step::Gone,
            }
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
            // Whatever ends it, a reset or the connection's end, nobody waits any more.
            let _ended = poll_fn(|cx| respond.poll_reset(cx)).await;
            Step::Forgotten
        }
    }
}

/// The body, cut off past [`BODY_LIMIT`]; nothing if the client broke it off.
async fn gather(mut body: RecvStream) -> Option<Bytes> {
    let Some(first) = body.data().await else { return Some(Bytes::new()) };
    let first = first.ok()?;
    body.flow_control().release_capacity(first.len()).ok()?;
    if body.is_end_stream() {
        return Some(first);
    }
    let mut whole = BytesMut::from(&first[..]);
    while let Some(more) = body.data().await {
        let more = more.ok()?;
        body.flow_control().release_capacity(more.len()).ok()?;
        let room = BODY_LIMIT.saturating_sub(whole.len());
        whole.extend_from_slice(&more[..more.len().min(room)]);
    }
    Some(whole.freeze())
}
