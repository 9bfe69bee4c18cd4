//! A stream of events as the body of an answer: lines, or server-sent events.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::HeaderName;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use super::begin::{EVENT_STREAM, NDJSON};
use crate::events::WrittenEvent;
use crate::events::streams::{EventStream, StreamEnd, StreamStep};

/// Bytes after which a piece is handed out. A piece has at least one event.
const PIECE_BYTES: usize = 32 << 10;
/// Milliseconds after which a client of server-sent events connects again: a random time in between, so that the clients
/// of a node that ended do not come at once.
const RECONNECT_MS: std::ops::RangeInclusive<u32> = 1_000..=5_000;

/// The form of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::api) enum StreamForm {
    /// A JSON object per line.
    Ndjson {
        /// It stays open, so that it needs signs of life.
        follows: bool,
    },
    /// Server-sent events, for `EventSource`.
    Sse,
}

impl StreamForm {
    fn media_type(self) -> &'static str {
        match self {
            Self::Ndjson { .. } => NDJSON,
            Self::Sse => EVENT_STREAM,
        }
    }

    /// What comes before all events.
    fn first(self) -> Option<String> {
        (self == Self::Sse).then(|| format!("retry: {}\n\n", rand::random_range(RECONNECT_MS)))
    }

    fn idle(self) -> Option<&'static str> {
        match self {
            Self::Ndjson { follows: true } => Some("\n"),
            Self::Ndjson { follows: false } => None,
            Self::Sse => Some(": ping\n\n"),
        }
    }

    /// Adds an event. Its JSON has no line breaks.
    fn add(self, piece: &mut String, event: &WrittenEvent) {
        let WrittenEvent { id, kind, json, .. } = event;
        let written = match self {
            Self::Ndjson { .. } => writeln!(piece, "{json}"),
            Self::Sse => write!(piece, "id: {id}\nevent: {kind}\ndata: {json}\n\n"),
        };
        written.expect("a string takes any text");
    }

    /// What comes after all events. An error cuts the answer off, so that a part is not taken for all.
    fn last(self, end: StreamEnd) -> Option<Result<String, io::Error>> {
        let comment = match end {
            StreamEnd::Complete => return None,
            StreamEnd::ShuttingDown => "the node is shutting down",
            StreamEnd::KeyRevoked => "the key is revoked or has expired",
            StreamEnd::Expired => "what follows is not kept any more",
            StreamEnd::Failed(error) => {
                tracing::warn!(%error, "an event stream ends, because the log can't be read");
                return Some(Err(io::Error::other("the event log can't be read")));
            }
        };
        match self {
            Self::Sse => Some(Ok(format!(": {comment}\n\n"))),
            Self::Ndjson { follows: true } => None,
            Self::Ndjson { follows: false } => Some(Err(io::Error::other(comment))),
        }
    }
}

/// What the body of an answer is made from.
pub(in crate::api) struct Pieces {
    stream: EventStream,
    form: StreamForm,
    first: Option<String>,
    waiting: VecDeque<WrittenEvent>,
    has_ended: bool,
}

impl Pieces {
    pub(in crate::api) fn new(stream: EventStream, form: StreamForm) -> Self {
        Self { stream, form, first: form.first(), waiting: VecDeque::new(), has_ended: false }
    }

    /// What is written next. None: the stream has ended.
    pub(in crate::api) async fn next(&mut self) -> Option<Result<Bytes, io::Error>> {
        if let Some(first) = self.first.take() {
            return Some(Ok(first.into()));
        }
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(Ok(self.piece(&event)));
            }
            if self.has_ended {
                return None;
            }
            match self.stream.next().await {
                StreamStep::Events(events) => self.waiting.extend(events),
                StreamStep::Idle => {
                    if let Some(idle) = self.form.idle() {
                        return Some(Ok(idle.into()));
                    }
                }
                StreamStep::End(end) => {
                    self.has_ended = true;
                    let last = self.form.last(end)?;
                    return Some(last.map(Bytes::from));
                }
            }
        }
    }

    /// The event, and those behind it as far as they fit.
    fn piece(&mut self, first: &WrittenEvent) -> Bytes {
        let mut piece = String::new();
        self.form.add(&mut piece, first);
        while piece.len() < PIECE_BYTES
            && let Some(event) = self.waiting.pop_front()
        {
            self.form.add(&mut piece, &event);
        }
        piece.into()
    }
}

/// The answer that is this stream. Proxies must neither keep nor change it.
pub(super) fn stream(stream: EventStream, form: StreamForm) -> Response {
    let pulse = stream.pulse();
    let body = stream::unfold((Pieces::new(stream, form), pulse), |(mut pieces, pulse)| async {
        pulse.note_asked();
        let piece = pieces.next().await?;
        pulse.note_handed();
        Some((piece, (pieces, pulse)))
    });
    let headers = [
        (CONTENT_TYPE, form.media_type()),
        (CACHE_CONTROL, "no-store, no-transform"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(body)).into_response()
}
