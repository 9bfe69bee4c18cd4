//! The account of one connection's streams: which are within the limit, which are still owed an answer, and
//! what a decision does to them. It touches no socket; [`super::connection`] moves the bytes.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use h2::Reason;
use h2::server::SendResponse;
use tokio::time::Instant;

use super::entry::{End, Ended};
use super::ledger::Ticket;
use super::reply::Reply;
use super::rule::{H2Code, LastStream};
use super::session::{Effect, Live, Plan, Session};
use super::settings::Overflow;
use super::stream::{Step, Wait};
use super::wire::Wire;

/// How long a connection outlives its GOAWAY and its last owed answer, for the client to read them.
const LINGER: Duration = Duration::from_secs(2);

/// What the loop does next.
#[expect(clippy::large_enum_variant, reason = "made and taken apart at once, for every request")]
pub(super) enum Next {
    Continue,
    Wait(Wait),
    Close,
    Stall,
}

/// The next wait that is over; none where nothing waits.
pub(super) async fn next_step<F: Future<Output = Step>>(
    waiting: &mut FuturesUnordered<F>,
    ready: &mut VecDeque<Step>,
) -> Step {
    if let Some(step) = ready.pop_front() {
        return step;
    }
    match waiting.next().await {
        Some(step) => step,
        None => std::future::pending().await,
    }
}

/// The account of a connection's streams.
pub(super) struct Streams<S> {
    wire: Arc<Wire>,
    session: S,
    overflow: Overflow,
    pub(super) live: Live,
    limit: u32,
    pub(super) announcement_due: bool,
    open: u32,
    /// Open streams that will get an answer.
    owed: u32,
    highest: u32,
    /// The highest stream that will still be answered.
    spared: u32,
    /// When to close, once a GOAWAY is out.
    leaving: Option<Instant>,
    last_request: Instant,
    /// Waits that are over and not yet handled.
    pub(super) ready: VecDeque<Step>,
    /// h2 is to begin its two-step shutdown.
    pub(super) retiring: bool,
}

impl<S: Session> Streams<S> {
    /// The streams of a new connection; its first SETTINGS announce the session's limit.
    pub(super) fn new(wire: Arc<Wire>, session: S, overflow: Overflow, live: Live) -> Self {
        Self {
            limit: session.streams(live.streams),
            wire,
            session,
            overflow,
            live,
            announcement_due: false,
            open: 0,
            owed: 0,
            highest: 0,
            spared: u32::MAX,
            leaving: None,
            last_request: Instant::now(),
            ready: VecDeque::new(),
            retiring: false,
        }
    }

    /// Before a stream is refused, those that the client has reset meanwhile are taken off the account; what
    /// could be answered stays on it, for the client could not know of the answer.
    pub(super) fn make_room<F: Future<Output = Step>>(&mut self, waiting: &mut FuturesUnordered<F>) {
        while self.open >= self.limit
            && let Some(Some(step)) = waiting.next().now_or_never()
        {
            match step {
                Step::Gone => self.close_stream(),
                Step::Forgotten => self.open -= 1,
                Step::Complete { .. } | Step::Due { .. } => self.ready.push_back(step),
            }
        }
    }

    pub(super) fn take(
        &mut self,
        request: http::Request<h2::RecvStream>,
        mut respond: SendResponse<Bytes>,
    ) -> Next {
        let stream = respond.stream_id().as_u32();
        if stream > self.spared {
            self.open += 1;
            return Next::Wait(Wait::Never { respond });
        }
        if self.open >= self.limit {
            if self.overflow == Overflow::GoAway {
                let (code, text) = self.session.overflow();
                self.go_away(self.highest, code, text);
                self.open += 1;
                return Next::Wait(Wait::Never { respond });
            }
            respond.send_reset(Reason::REFUSED_STREAM);
            return Next::Continue;
        }
        self.last_request = Instant::now();
        self.open += 1;
        self.owed += 1;
        self.highest = stream;
        // What is ready is handled with all else that is, so that the answers leave in one write.
        Wait::for_body(request, respond, stream, &mut self.ready).map_or(Next::Continue, Next::Wait)
    }

    /// Handles a finished wait and all others that are finished too, so that their answers leave in one write.
    pub(super) fn drain<F: Future<Output = Step>>(
        &mut self,
        step: Step,
        waiting: &mut FuturesUnordered<F>,
        start: impl Fn(Wait) -> F,
    ) -> Next {
        let mut step = step;
        loop {
            match self.step(step) {
                Next::Continue => {}
                Next::Wait(wait) => waiting.push(start(wait)),
                other => return other,
            }
            match next_step(waiting, &mut self.ready).now_or_never() {
                Some(another) => step = another,
                None => return Next::Continue,
            }
        }
    }

    fn step(&mut self, step: Step) -> Next {
        match step {
            Step::Complete { received, respond } => {
                if received.stream > self.spared {
                    self.owed -= 1;
                    return Next::Wait(Wait::Never { respond });
                }
                let stream = received.stream;
                let plan = self.session.judge(received);
                self.follow_limit();
                let Plan { ticket, delay, effect } = plan;
                if delay.is_zero() {
                    return self.act(stream, ticket, effect, respond);
                }
                Next::Wait(Wait::Answer { stream, ticket, delay, effect, respond })
            }
            Step::Due { stream, ticket, effect, respond } => self.act(stream, ticket, effect, respond),
            Step::Gone => {
                self.close_stream();
                Next::Continue
            }
            Step::Forgotten => {
                self.open -= 1;
                Next::Continue
            }
        }
    }

    fn act(&mut self, stream: u32, ticket: Ticket, effect: Effect, mut respond: SendResponse<Bytes>) -> Next {
        if stream > self.spared {
            return self.unprocessed(ticket, respond);
        }
        match effect {
            Effect::Reply { reply, accepted } => self.answer(ticket, reply, accepted, respond),
            Effect::Reset { code, accepted } => {
                self.close_stream();
                respond.send_reset(code.reason());
                ticket.end(End::without_answer(Ended::Reset, accepted));
                Next::Continue
            }
            Effect::GoAway { last: LastStream::Graceful, reply, accepted, .. } => {
                self.retiring = true;
                self.answer(ticket, reply, accepted, respond)
            }
            Effect::GoAway { code, last, debug, reply, accepted } => {
                let last = match last {
                    LastStream::Before => stream.saturating_sub(2),
                    LastStream::Stream(number) => number,
                    LastStream::This | LastStream::Graceful => self.highest,
                };
                self.go_away(last, code, &debug);
                if stream > last {
                    return self.unprocessed(ticket, respond);
                }
                self.answer(ticket, reply, accepted, respond)
            }
            Effect::Close { accepted } => {
                ticket.end(End::without_answer(Ended::Closed, accepted));
                Next::Close
            }
            Effect::NoAnswer { accepted } => {
                ticket.end(End::without_answer(Ended::NoAnswer, accepted));
                self.owed -= 1;
                Next::Wait(Wait::Never { respond })
            }
            Effect::Stall { accepted } => {
                ticket.end(End::without_answer(Ended::NoAnswer, accepted));
                Next::Stall
            }
        }
    }

    fn answer(
        &mut self,
        ticket: Ticket,
        reply: Reply,
        accepted: bool,
        mut respond: SendResponse<Bytes>,
    ) -> Next {
        self.close_stream();
        let answered = End::answered(&reply, accepted);
        let (head, body) = reply.into_parts();
        let sent = respond
            .send_response(head, body.is_empty())
            .and_then(|mut stream| if body.is_empty() { Ok(()) } else { stream.send_data(body, true) });
        ticket.end(match sent {
            Ok(()) => answered,
            Err(_) => End::without_answer(Ended::ClientGone, accepted),
        });
        Next::Continue
    }

    /// Streams above a GOAWAY's number are left without any frame, as if they had never come.
    fn unprocessed(&mut self, ticket: Ticket, respond: SendResponse<Bytes>) -> Next {
        self.owed -= 1;
        ticket.end(End::without_answer(Ended::Unprocessed, false));
        Next::Wait(Wait::Never { respond })
    }

    fn close_stream(&mut self) {
        self.open -= 1;
        self.owed -= 1;
    }

    fn go_away(&mut self, last: u32, code: H2Code, debug: &str) {
        self.spared = last.min(self.spared);
        self.leaving = Some(Instant::now() + LINGER);
        self.wire.go_away(self.spared, code.reason().into(), debug.as_bytes());
    }

    pub(super) fn follow(&mut self, live: Live) -> Next {
        if live.closes != self.live.closes {
            return Next::Close;
        }
        self.live = live;
        self.follow_limit();
        Next::Continue
    }

    fn follow_limit(&mut self) {
        let limit = self.session.streams(self.live.streams);
        if limit != self.limit {
            self.limit = limit;
            self.wire.announce(limit);
            self.announcement_due = true;
        }
    }

    pub(super) fn timer(&self) -> Option<Instant> {
        self.leaving.or_else(|| self.session.idle_close().map(|idle| self.last_request + idle))
    }

    pub(super) fn timed_out(&mut self) -> Next {
        match self.leaving {
            Some(_) if self.owed == 0 => Next::Close,
            Some(_) => {
                self.leaving = Some(Instant::now() + LINGER);
                Next::Continue
            }
            None => {
                self.go_away(self.highest, H2Code::NoError, "session_timed_out");
                Next::Continue
            }
        }
    }
}
