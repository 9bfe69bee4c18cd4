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

use super::error::{Kind, TransportError};
use super::link::Link;
use super::opener::pause;
use super::pool::PoolStats;
use super::{Origin, Settings};

/// What a waiter gets.
pub(super) type Grant<S> = Result<Slot<S>, TransportError>;

/// One stream's place on a connection; dropping it gives the place back.
pub(super) struct Slot<S> {
    link: Arc<Link<S>>,
}

/// The right to open a connection: at most one exists per pool.
pub(super) struct Opening<S> {
    pub(super) pool: Arc<Shared<S>>,
    /// Not to start earlier.
    pub(super) not_before: Instant,
    /// Not yet given back. It is given back in the same step that adds the connection or fails the
    /// waiters: a claim between the two would wait for nobody.
    held: bool,
}

/// The answer to a claim of a place.
pub(super) enum Claim<S> {
    Granted(Slot<S>),
    Queued(oneshot::Receiver<Grant<S>>),
    Closed,
}

/// What a pool and its connections share.
pub(super) struct Shared<S> {
    pub(super) origin: Origin,
    pub(super) settings: Settings,
    pub(super) epoch: Instant,
    pub(super) tasks: TaskTracker,
    /// Cancelled when no more connections are to be opened.
    pub(super) closing: CancellationToken,
    ledger: Mutex<Ledger<S>>,
}

struct Ledger<S> {
    /// All that live, draining ones too.
    links: Vec<Arc<Link<S>>>,
    waiters: VecDeque<oneshot::Sender<Grant<S>>>,
    opening: bool,
    closed: bool,
    /// Connections in a row that failed, or ended without an answer.
    failures: u32,
    not_before: Instant,
    last_failure: Option<Kind>,
}

impl<S> Slot<S> {
    pub(super) fn link(&self) -> &Arc<Link<S>> {
        &self.link
    }
}

impl<S> Drop for Slot<S> {
    fn drop(&mut self) {
        self.link.pool.release(&self.link);
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
impl<S> Shared<S> {
    pub(super) fn new(origin: Origin, settings: Settings) -> Self {
        let epoch = Instant::now();
        let ledger = Ledger {
            links: Vec::new(),
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
            ledger: Mutex::new(ledger),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ledger<S>> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place on the least loaded connection, or a place in the queue; and the right to open a
    /// connection if one is needed.
    pub(super) fn claim(self: &Arc<Self>) -> (Claim<S>, Option<Opening<S>>) {
        let mut ledger = self.lock();
        if ledger.closed {
            return (Claim::Closed, None);
        }
        if ledger.waiters.is_empty()
            && let Some((link, crowded)) = ledger.take_place()
        {
            let opening = if crowded { self.opening(&mut ledger) } else { None };
            return (Claim::Granted(Slot { link }), opening);
        }
        let (sender, receiver) = oneshot::channel();
        ledger.waiters.push_back(sender);
        let opening = self.opening(&mut ledger);
        (Claim::Queued(receiver), opening)
    }

    /// The right to open a connection, if waiters or load call for one.
    pub(super) fn wanted(self: &Arc<Self>) -> Option<Opening<S>> {
        let mut ledger = self.lock();
        if ledger.waiters.is_empty() { None } else { self.opening(&mut ledger) }
    }

    fn opening(self: &Arc<Self>, ledger: &mut Ledger<S>) -> Option<Opening<S>> {
        if ledger.closed || ledger.opening {
            return None;
        }
        let (mut usable, mut tried, mut fresh) = (0, false, false);
        let (mut demand, mut bearable) = (ledger.waiters.len(), 0);
        for link in ledger.links.iter().filter(|link| !link.is_draining() && !link.is_suspect()) {
            usable += 1;
            demand += link.open();
            if link.is_stalled() {
                continue;
            }
            let untried = link.is_untried();
            tried |= !untried;
            fresh |= untried || link.is_widening();
            bearable += if untried { self.settings.max_streams } else { link.full_limit() };
        }
        // Growth can wait for one connection to show that it is of use, for fresh ones that will bear all that there is,
        // and for a pause to end.
        let patient = fresh && (!tried || demand <= bearable);
        if usable > 0 && (patient || usable >= self.settings.connections) {
            return None;
        }
        let now = Instant::now();
        if usable > 0 && now < ledger.not_before {
            return None;
        }
        ledger.opening = true;
        Some(Opening { pool: self.clone(), not_before: ledger.not_before.max(now), held: true })
    }

    fn release(&self, link: &Arc<Link<S>>) {
        let mut ledger = self.lock();
        let left = link.give_place();
        if link.is_draining() {
            drop(ledger);
            if left == 0 {
                link.disturb();
            }
        } else if !ledger.waiters.is_empty() {
            let grants = ledger.grants();
            drop(ledger);
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
impl<S> Shared<S> {
    /// Takes a new connection in and ends its opening. One that was opened because another was suspect takes its
    /// place, or goes if it isn't needed any more.
    pub(super) fn add(&self, link: &Arc<Link<S>>, mut opening: Opening<S>) {
        let mut ledger = self.lock();
        if ledger.closed {
            link.start_draining();
        }
        ledger.links.push(link.clone());
        let surplus = ledger.surplus(self.settings.connections);
        if let Some(surplus) = &surplus {
            surplus.start_draining();
        }
        ledger.opening = false;
        opening.held = false;
        drop(ledger);
        if let Some(surplus) = surplus {
            surplus.disturb();
        }
    }

    /// No new streams on `link`; it ends when its last stream does.
    pub(super) fn retire(&self, link: &Link<S>) {
        let ledger = self.lock();
        let news = !link.is_draining();
        link.start_draining();
        drop(ledger);
        if news {
            link.disturb();
        }
    }

    /// Retires `link` if no stream is open on it and none was sent since `idle` before `now`.
    pub(super) fn retire_if_idle(&self, link: &Link<S>, now: Instant, idle: Duration) {
        let _ledger = self.lock();
        if link.open() == 0 && now.saturating_duration_since(link.last_used()) >= idle {
            link.start_draining();
        }
    }

    /// Retires all connections.
    pub(super) fn retire_all(&self) {
        let links = self.lock().links.clone();
        for link in &links {
            self.retire(link);
        }
    }

    /// Takes out a connection that ended. One that never answered counts as a failed connect, else a peer
    /// that accepts and hangs up would be connected to without pause.
    pub(super) fn remove(&self, link: &Arc<Link<S>>) {
        let mut ledger = self.lock();
        link.start_draining();
        ledger.links.retain(|other| !Arc::ptr_eq(other, link));
        let ours = matches!(link.fate(), Some(Kind::Retired | Kind::PoolClosed));
        if !link.has_answered() && !ours {
            ledger.note_failure(link.fate().cloned());
        }
    }

    /// A connect failed: whoever can hope for no other connection hears of it now.
    pub(super) fn fail(&self, kind: &Kind, mut opening: Opening<S>) {
        let waiters = {
            let mut ledger = self.lock();
            ledger.note_failure(Some(kind.clone()));
            ledger.opening = false;
            opening.held = false;
            if ledger.links.iter().any(|link| !link.is_draining()) {
                VecDeque::new()
            } else {
                std::mem::take(&mut ledger.waiters)
            }
        };
        for waiter in waiters {
            let _ = waiter.send(Err(TransportError::not_sent(kind.clone())));
        }
    }

    /// A connection answered: the next connect need not wait.
    pub(super) fn note_success(&self) {
        let mut ledger = self.lock();
        ledger.failures = 0;
        ledger.not_before = self.epoch;
        ledger.last_failure = None;
    }

    /// Why a waiter's deadline passed: no connection, or none free.
    pub(super) fn why_none(&self) -> Kind {
        let ledger = self.lock();
        match &ledger.last_failure {
            Some(kind) if ledger.links.iter().all(|link| link.is_draining()) => kind.clone(),
            _ => Kind::Timeout,
        }
    }

    /// Opens nothing more, lets the connections drain and sends the waiters away.
    pub(super) fn close(&self) {
        let (links, waiters) = {
            let mut ledger = self.lock();
            ledger.closed = true;
            (ledger.links.clone(), std::mem::take(&mut ledger.waiters))
        };
        self.closing.cancel();
        self.tasks.close();
        for waiter in waiters {
            let _ = waiter.send(Err(TransportError::not_sent(Kind::PoolClosed)));
        }
        for link in &links {
            self.retire(link);
        }
    }

    /// Drops all connections as they are.
    pub(super) fn kill_all(&self) {
        let links = self.lock().links.clone();
        for link in &links {
            link.kill(Kind::PoolClosed);
        }
    }

    pub(super) fn stats(&self) -> PoolStats {
        let ledger = self.lock();
        let usable = ledger.links.iter().filter(|link| !link.is_draining()).count();
        PoolStats {
            connections: usable,
            draining: ledger.links.len() - usable,
            open_streams: ledger.links.iter().map(|link| link.open()).sum(),
            waiting: ledger.waiters.iter().filter(|waiter| !waiter.is_closed()).count(),
        }
    }
}

#[cfg(test)]
impl<S> Shared<S> {
    pub(super) fn writes(&self) -> u64 {
        self.lock().links.iter().map(|link| link.traffic.writes()).sum()
    }
}

impl<S> Ledger<S> {
    /// Takes a place on the least loaded connection. Also says whether even that one is now beyond half
    /// of its streams.
    fn take_place(&mut self) -> Option<(Arc<Link<S>>, bool)> {
        let mut best: Option<(&Arc<Link<S>>, usize, usize)> = None;
        for link in &self.links {
            let (open, limit) = (link.open(), link.limit());
            if open < limit && !link.is_draining() && best.is_none_or(|(_, least, _)| open < least) {
                best = Some((link, open, limit));
            }
        }
        let (link, open, limit) = best?;
        link.take_place();
        Some((link.clone(), limit > 1 && (open + 1) * 2 > limit))
    }

    /// The connection that is one too many, if one is: a suspect one, else the last.
    fn surplus(&self, most: usize) -> Option<Arc<Link<S>>> {
        let usable = || self.links.iter().filter(|link| !link.is_draining());
        if usable().count() <= most {
            return None;
        }
        usable().find(|link| link.is_suspect()).or_else(|| usable().next_back()).cloned()
    }

    /// Matches waiters and free places. To be delivered without the lock: an undeliverable place is
    /// given back, which takes the lock.
    fn grants(&mut self) -> Vec<(oneshot::Sender<Grant<S>>, Slot<S>)> {
        let mut grants = Vec::new();
        while let Some(waiter) = self.waiters.front() {
            if waiter.is_closed() {
                self.waiters.pop_front();
                continue;
            }
            let Some((link, _)) = self.take_place() else { break };
            let waiter = self.waiters.pop_front().expect("it has a front");
            grants.push((waiter, Slot { link }));
        }
        grants
    }

    fn note_failure(&mut self, kind: Option<Kind>) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = Instant::now() + pause(self.failures);
        self.last_failure = kind;
    }
}

fn deliver<S>(grants: Vec<(oneshot::Sender<Grant<S>>, Slot<S>)>) {
    for (waiter, slot) in grants {
        // A waiter that left meanwhile returns its place by dropping it here.
        let _ = waiter.send(Ok(slot));
    }
}
