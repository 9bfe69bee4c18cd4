//! One stream: what its client gets next, from the ring of its app or, if it is behind, by a page of its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::ring::Lookup;
use super::{RingUse, StreamPulse, StreamSlot};
use crate::domain::{App, EventPlace};
use crate::events::{EventFilter, EventPage, ReadError, WrittenEvent};
use crate::store;

/// Events that a stream reads at a time when it is behind.
pub(super) const PAGE_EVENTS: usize = 500;
/// The pause after a page that could not be read.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// A stream ends if nothing could be read for this long, so that its client may try another node.
const FAILING_MAX: Duration = Duration::from_secs(30);
/// A client that is idle gets a sign of life this often.
const IDLE_INTERVAL: Duration = Duration::from_secs(15);

/// Where a stream begins, and what it shows.
#[derive(Clone, Debug)]
pub struct StreamStart {
    /// What it shows.
    pub filter: EventFilter,
    /// It begins with what follows.
    pub after: EventPlace,
    /// The end of the log that was read for it.
    pub head: EventPlace,
    /// Does it go on at the end of the log?
    pub follows: bool,
}

/// What a client gets next.
#[derive(Debug)]
pub enum StreamStep {
    /// Events, in the order of the log.
    Events(Vec<WrittenEvent>),
    /// A sign of life, because there is nothing else.
    Idle,
    /// There is nothing more.
    End(StreamEnd),
}

/// Why a stream ends.
#[derive(Debug)]
pub enum StreamEnd {
    /// It has shown everything until its begin.
    Complete,
    /// The key was revoked, or has expired.
    KeyRevoked,
    /// The node shuts down.
    ShuttingDown,
    /// What it would show next is not kept any more.
    Expired,
    /// Postgres was out of reach for too long.
    Failed(store::Error),
}

/// A stream of events to one client.
#[derive(Debug)]
pub struct EventStream {
    app: Arc<App>,
    start: StreamStart,
    place: EventPlace,
    changes: watch::Receiver<()>,
    ring: RingUse,
    last_sign: Instant,
    failing_since: Option<Instant>,
    slot: StreamSlot,
}

impl EventStream {
    pub(super) fn new(slot: StreamSlot, app: Arc<App>, ring: RingUse, start: StreamStart) -> Self {
        let changes = ring.ring.changes();
        let (place, last_sign) = (start.after, Instant::now());
        Self { app, start, place, changes, ring, last_sign, failing_since: None, slot }
    }

    /// What the client gets next. To be called when the socket has room.
    pub async fn next(&mut self) -> StreamStep {
        let step = self.step().await;
        self.last_sign = Instant::now();
        step
    }

    /// Notes whether the socket takes what it gets.
    pub fn pulse(&self) -> StreamPulse {
        self.slot.pulse()
    }

    async fn step(&mut self) -> StreamStep {
        loop {
            if let Some(end) = self.end() {
                return StreamStep::End(end);
            }
            let ring = Arc::clone(&self.ring.ring);
            self.changes.mark_unchanged();
            match ring.look_up(self.place) {
                Lookup::Page(page) => {
                    let new = page.events.iter().filter(|event| event.place > self.place);
                    let new: Vec<_> =
                        new.filter(|event| self.start.filter.admits_event(event)).cloned().collect();
                    self.place = page.next;
                    if !new.is_empty() {
                        return StreamStep::Events(new);
                    }
                }
                Lookup::AtHead => {
                    if self.wait().await {
                        return StreamStep::Idle;
                    }
                }
                Lookup::Behind => match self.read().await {
                    Ok(page) => {
                        self.failing_since = None;
                        self.place = page.next;
                        if !page.events.is_empty() {
                            return StreamStep::Events(page.events);
                        }
                    }
                    Err(ReadError::Expired { .. }) => return StreamStep::End(StreamEnd::Expired),
                    Err(ReadError::Store(error)) => {
                        let since = *self.failing_since.get_or_insert_with(Instant::now);
                        if since.elapsed() > FAILING_MAX {
                            return StreamStep::End(StreamEnd::Failed(error));
                        }
                        tracing::debug!(%error, "a page of events can't be read; it is tried again");
                        sleep(RETRY_PAUSE).await;
                    }
                },
            }
            if self.last_sign.elapsed() >= IDLE_INTERVAL {
                return StreamStep::Idle;
            }
        }
    }

    fn end(&self) -> Option<StreamEnd> {
        if self.ring.shared.draining.is_cancelled() {
            return Some(StreamEnd::ShuttingDown);
        }
        if self.slot.ended().is_cancelled() {
            return Some(StreamEnd::KeyRevoked);
        }
        let is_complete = !self.start.follows && self.place >= self.start.head;
        is_complete.then_some(StreamEnd::Complete)
    }

    /// Waits at the head of the log. True: for so long that the client needs a sign of life.
    async fn wait(&mut self) -> bool {
        let deadline = self.last_sign + IDLE_INTERVAL;
        tokio::select! {
            changed = self.changes.changed() => changed.is_err(),
            () = self.slot.ended().cancelled() => false,
            () = self.ring.shared.draining.cancelled() => false,
            () = sleep_until(deadline) => true,
        }
    }

    /// A page of its own, from its place on.
    async fn read(&self) -> Result<EventPage, ReadError> {
        let shared = &self.ring.shared;
        let _permit = shared.own_reads.acquire().await.expect("the semaphore is never closed");
        let head = (*shared.head.borrow()).max(self.start.head);
        shared.reader.page(&self.app, self.place, head, &self.start.filter, PAGE_EVENTS).await
    }
}
