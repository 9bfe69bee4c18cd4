//! The account of connections, open streams and waiters, under one short lock.
//!
//! A lock and not atomics: whoever frees a place hands it to the longest waiter in the same step. That
//! makes waiting fair and loses no wake-up. It is taken twice per request; `h2` takes its own a dozen
//! times, and the pool's CPU per request can't be told from a bare `h2` client's.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::Connection;
use super::error::{TransportError, TransportErrorKind};
use super::opener::pause;
use super::pool::PoolStats;
use super::{Destination, Settings};

/// What a waiter gets.
pub(super) type Grant<S> = Result<StreamSlot<S>, TransportError>;

/// One stream's place on a connection; dropping it gives the place back.
pub(super) struct StreamSlot<S> {
    connection: Arc<Connection<S>>,
}

/// The right to open a connection: at most one exists per pool.
pub(super) struct Opening<S> {
    pub(super) pool: Arc<PoolState<S>>,
    /// Not to start earlier.
    pub(super) not_before: Instant,
    /// Not yet given back. It is given back in the same step that adds the connection or fails the
    /// waiters: a claim between the two would wait for nobody.
    held: bool,
}

/// The answer to a claim of a place.
pub(super) enum StreamClaim<S> {
    Granted(StreamSlot<S>),
    Queued(oneshot::Receiver<Grant<S>>),
    Closed,
}

/// What a pool and its connections share.
pub(super) struct PoolState<S> {
    pub(super) origin: Destination,
    pub(super) settings: Settings,
    pub(super) epoch: Instant,
    pub(super) tasks: TaskTracker,
    /// Cancelled when no more connections are to be opened.
    pub(super) closing: CancellationToken,
    pool_state: Mutex<Ledger<S>>,
}

struct Ledger<S> {
    /// All that live, draining ones too.
    connections: Vec<Arc<Connection<S>>>,
    waiters: VecDeque<oneshot::Sender<Grant<S>>>,
    opening: bool,
    closed: bool,
    /// Connections in a row that failed, or ended without an answer.
    failures: u32,
    not_before: Instant,
    last_failure: Option<TransportErrorKind>,
}

impl<S> StreamSlot<S> {
    pub(super) fn connection(&self) -> &Arc<Connection<S>> {
        &self.connection
    }
}

impl<S> Drop for StreamSlot<S> {
    fn drop(&mut self) {
        self.connection.pool.release(&self.connection);
    }
}

impl<S> Drop for Opening<S> {
    fn drop(&mut self) {
        if self.held {
            self.pool.lock().opening = false;
        }
    }
}

/// Places.
impl<S> PoolState<S> {
    pub(super) fn new(origin: Destination, settings: Settings) -> Self {
        let epoch = Instant::now();
        let pool_state = Ledger {
            connections: Vec::new(),
            waiters: VecDeque::new(),
            opening: false,
            closed: false,
            failures: 0,
            not_before: epoch,
            last_failure: None,
        };
        Self {
            origin,
            settings,
            epoch,
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            pool_state: Mutex::new(pool_state),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ledger<S>> {
        self.pool_state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place on the least loaded connection, or a place in the queue; and the right to open a
    /// connection if one is needed.
    pub(super) fn claim(self: &Arc<Self>) -> (StreamClaim<S>, Option<Opening<S>>) {
        let mut pool_state = self.lock();
        if pool_state.closed {
            return (StreamClaim::Closed, None);
        }
        if pool_state.waiters.is_empty()
            && let Some((connection, crowded)) = pool_state.take_place()
        {
            let opening = if crowded { self.opening(&mut pool_state) } else { None };
            return (StreamClaim::Granted(StreamSlot { connection }), opening);
        }
        let (sender, receiver) = oneshot::channel();
        pool_state.waiters.push_back(sender);
        let opening = self.opening(&mut pool_state);
        (StreamClaim::Queued(receiver), opening)
    }

    /// The right to open a connection, if waiters or load call for one.
    pub(super) fn wanted(self: &Arc<Self>) -> Option<Opening<S>> {
        let mut pool_state = self.lock();
        if pool_state.waiters.is_empty() { None } else { self.opening(&mut pool_state) }
    }

    fn opening(self: &Arc<Self>, pool_state: &mut Ledger<S>) -> Option<Opening<S>> {
        if pool_state.closed || pool_state.opening {
            return None;
        }
        let (mut usable, mut tried, mut fresh) = (0, false, false);
        let (mut demand, mut bearable) = (pool_state.waiters.len(), 0);
        for connection in pool_state
            .connections
            .iter()
            .filter(|connection| !connection.is_draining() && !connection.is_suspect())
        {
            usable += 1;
            demand += connection.open();
            if connection.is_stalled() {
                continue;
            }
            let untried = connection.is_untried();
            tried |= !untried;
            fresh |= untried || connection.is_widening();
            bearable += if untried { self.settings.max_streams } else { connection.full_limit() };
        }
        // Growth can wait for one connection to show that it is of use, for fresh ones that will bear all that there is,
        // and for a pause to end.
        let patient = fresh && (!tried || demand <= bearable);
        if usable > 0 && (patient || usable >= self.settings.connections) {
            return None;
        }
        let now = Instant::now();
        if usable > 0 && now < pool_state.not_before {
            return None;
        }
        pool_state.opening = true;
        Some(Opening { pool: self.clone(), not_before: pool_state.not_before.max(now), held: true })
    }

    fn release(&self, connection: &Arc<Connection<S>>) {
        let mut pool_state = self.lock();
        let left = connection.give_place();
        if connection.is_draining() {
            drop(pool_state);
            if left == 0 {
                connection.disturb();
            }
        } else if !pool_state.waiters.is_empty() {
            let grants = pool_state.grants();
            drop(pool_state);
            deliver(grants);
        }
    }

    /// Hands free places to waiters.
    pub(super) fn serve(&self) {
        let grants = self.lock().grants();
        deliver(grants);
    }
}

/// Connections.
impl<S> PoolState<S> {
    /// Takes a new connection in and ends its opening. One that was opened because another was suspect takes its
    /// place, or goes if it isn't needed any more.
    pub(super) fn add(&self, connection: &Arc<Connection<S>>, mut opening: Opening<S>) {
        let mut pool_state = self.lock();
        if pool_state.closed {
            connection.start_draining();
        }
        pool_state.connections.push(connection.clone());
        let surplus = pool_state.surplus(self.settings.connections);
        if let Some(surplus) = &surplus {
            surplus.start_draining();
        }
        pool_state.opening = false;
        opening.held = false;
        drop(pool_state);
        if let Some(surplus) = surplus {
            surplus.disturb();
        }
    }

    /// No new streams on `connection`; it ends when its last stream does.
    pub(super) fn retire(&self, connection: &Connection<S>) {
        let pool_state = self.lock();
        let news = !connection.is_draining();
        connection.start_draining();
        drop(pool_state);
        if news {
            connection.disturb();
        }
    }

    /// Retires `connection` if no stream is open on it and none was sent since `idle` before `now`.
    pub(super) fn retire_if_idle(&self, connection: &Connection<S>, now: Instant, idle: Duration) {
        let _ledger = self.lock();
        if connection.open() == 0 && now.saturating_duration_since(connection.last_used()) >= idle {
            connection.start_draining();
        }
    }

    /// Retires all connections.
    pub(super) fn retire_all(&self) {
        let connections = self.lock().connections.clone();
        for connection in &connections {
            self.retire(connection);
        }
    }

    /// Takes out a connection that ended. One that never answered counts as a failed connect, else a peer
    /// that accepts and hangs up would be connected to without pause.
    pub(super) fn remove(&self, connection: &Arc<Connection<S>>) {
        let mut pool_state = self.lock();
        connection.start_draining();
        pool_state.connections.retain(|other| !Arc::ptr_eq(other, connection));
        let ours =
            matches!(connection.fate(), Some(TransportErrorKind::Retired | TransportErrorKind::PoolClosed));
        if !connection.has_answered() && !ours {
            pool_state.note_failure(connection.fate().cloned());
        }
    }

    /// A connect failed: whoever can hope for no other connection hears of it now.
    pub(super) fn fail(&self, kind: &TransportErrorKind, mut opening: Opening<S>) {
        let waiters = {
            let mut pool_state = self.lock();
            pool_state.note_failure(Some(kind.clone()));
            pool_state.opening = false;
            opening.held = false;
            if pool_state.connections.iter().any(|connection| !connection.is_draining()) {
                VecDeque::new()
            } else {
                std::mem::take(&mut pool_state.waiters)
            }
        };
        for waiter in waiters {
            let _ = waiter.send(Err(TransportError::not_sent(kind.clone())));
        }
    }

    /// A connection answered: the next connect need not wait.
    pub(super) fn note_success(&self) {
        let mut pool_state = self.lock();
        pool_state.failures = 0;
        pool_state.not_before = self.epoch;
        pool_state.last_failure = None;
    }

    /// Why a waiter's deadline passed: no connection, or none free.
    pub(super) fn why_none(&self) -> TransportErrorKind {
        let pool_state = self.lock();
        match &pool_state.last_failure {
            Some(kind) if pool_state.connections.iter().all(|connection| connection.is_draining()) => {
                kind.clone()
            }
            _ => TransportErrorKind::Timeout,
        }
    }

    /// Opens nothing more, lets the connections drain and sends the waiters away.
    pub(super) fn close(&self) {
        let (connections, waiters) = {
            let mut pool_state = self.lock();
            pool_state.closed = true;
            (pool_state.connections.clone(), std::mem::take(&mut pool_state.waiters))
        };
        self.closing.cancel();
        self.tasks.close();
        for waiter in waiters {
            let _ = waiter.send(Err(TransportError::not_sent(TransportErrorKind::PoolClosed)));
        }
        for connection in &connections {
            self.retire(connection);
        }
    }

    /// Drops all connections as they are.
    pub(super) fn kill_all(&self) {
        let connections = self.lock().connections.clone();
        for connection in &connections {
            connection.kill(TransportErrorKind::PoolClosed);
        }
    }

    pub(super) fn stats(&self) -> PoolStats {
        let pool_state = self.lock();
        let usable = pool_state.connections.iter().filter(|connection| !connection.is_draining()).count();
        PoolStats {
            connections: usable,
            draining: pool_state.connections.len() - usable,
            open_streams: pool_state.connections.iter().map(|connection| connection.open()).sum(),
            waiting: pool_state.waiters.iter().filter(|waiter| !waiter.is_closed()).count(),
        }
    }
}

#[cfg(test)]
impl<S> PoolState<S> {
    pub(super) fn writes(&self) -> u64 {
        self.lock().connections.iter().map(|connection| connection.traffic.writes()).sum()
    }
}

impl<S> Ledger<S> {
    /// Takes a place on the least loaded connection. Also says whether even that one is now beyond half
    /// of its streams.
    fn take_place(&mut self) -> Option<(Arc<Connection<S>>, bool)> {
        let mut best: Option<(&Arc<Connection<S>>, usize, usize)> = None;
        for connection in &self.connections {
            let (open, limit) = (connection.open(), connection.limit());
            if open < limit && !connection.is_draining() && best.is_none_or(|(_, least, _)| open < least) {
                best = Some((connection, open, limit));
            }
        }
        let (connection, open, limit) = best?;
        connection.take_place();
        Some((connection.clone(), limit > 1 && (open + 1) * 2 > limit))
    }

    /// The connection that is one too many, if one is: a suspect one, else the last.
    fn surplus(&self, most: usize) -> Option<Arc<Connection<S>>> {
        let usable = || self.connections.iter().filter(|connection| !connection.is_draining());
        if usable().count() <= most {
            return None;
        }
        usable().find(|connection| connection.is_suspect()).or_else(|| usable().next_back()).cloned()
    }

    /// Matches waiters and free places. To be delivered without the lock: an undeliverable place is
    /// given back, which takes the lock.
    fn grants(&mut self) -> Vec<(oneshot::Sender<Grant<S>>, StreamSlot<S>)> {
        let mut grants = Vec::new();
        while let Some(waiter) = self.waiters.front() {
            if waiter.is_closed() {
                self.waiters.pop_front();
                continue;
            }
            let Some((connection, _)) = self.take_place() else { break };
            let waiter = self.waiters.pop_front().expect("it has a front");
            grants.push((waiter, StreamSlot { connection }));
        }
        grants
    }

    fn note_failure(&mut self, kind: Option<TransportErrorKind>) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = Instant::now() + pause(self.failures);
        self.last_failure = kind;
    }
}

fn deliver<S>(grants: Vec<(oneshot::Sender<Grant<S>>, StreamSlot<S>)>) {
    for (waiter, slot) in grants {
        // A waiter that left meanwhile returns its place by dropping it here.
        let _ = waiter.send(Ok(slot));
    }
}
