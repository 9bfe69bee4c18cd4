//! What a lane sends with: its present sender, and perhaps a candidate that is to take its place.
//!
//! A candidate comes with a new key, topic or endpoint. First it is brought as far as it gets without a device: to an
//! open connection and an access token ([`rotation`]). Then one device at a time tries it ([`candidate`]) while all others go
//! on with the present one. When the provider takes a notification from it, it becomes the present one; what is under
//! way with the old one ends there, and then the old one closes. A candidate that is refused is not tried again until
//! another one comes, except by the probes of a lane that is suspended anyway.

pub(super) mod candidate;
pub(super) mod rotation;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::health::LaneGate;
use crate::domain::Reason;
use crate::provider::{Fingerprint, Sender};

/// First pause before a candidate that could not be tried is tried again; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A lane's senders. Whoever configures the lane offers new ones here.
pub struct LaneCredentials {
    /// The lane's.
    name: String,
    inner: Mutex<Inner>,
    /// A candidate has come or must be reached again, or a sender is to be closed.
    changed: Notify,
}

struct Inner {
    present: Arc<VersionedSender>,
    candidate: Option<Candidate>,
    /// Out of use, and not yet told to close.
    retired: Vec<Arc<VersionedSender>>,
    last_number: u64,
}

/// A sender, and who uses it.
pub(super) struct VersionedSender {
    number: u64,
    sender: Sender,
    users: TaskTracker,
}

struct Candidate {
    numbered: Arc<VersionedSender>,
    /// It must be reached first, and not before then.
    reach_at: Option<Instant>,
    pause: Duration,
    /// A device is trying it.
    trying: bool,
    /// The provider refused it.
    refused: bool,
}

/// A sender in use: it isn't closed before this is dropped.
pub(super) struct InUse {
    numbered: Arc<VersionedSender>,
    _user: TaskTrackerToken,
}

/// The one trial of a candidate that is under way. Dropped, it leaves the candidate to the next device.
struct CandidateTrial<'a> {
    senders: &'a LaneCredentials,
    candidate: InUse,
}

/// What is to be done for a lane's senders.
#[derive(Default)]
struct Work {
    close: Vec<Arc<VersionedSender>>,
    reach: Option<(Arc<VersionedSender>, Instant)>,
}

impl LaneCredentials {
    /// LaneCredentials of the lane `name`, which begins with this one.
    pub fn new(name: String, present: Sender) -> Self {
        let present = Arc::new(VersionedSender::new(0, present));
        let inner = Inner { present, candidate: None, retired: Vec::new(), last_number: 0 };
        Self { name, inner: Mutex::new(inner), changed: Notify::new() }
    }

    /// The configuration says this now: it is tried before it is used. One that is what is in use already withdraws
    /// the candidate there may be.
    pub fn offer(&self, sender: Sender) {
        let fingerprint = sender.fingerprint();
        let mut inner = self.lock();
        if inner.candidate.as_ref().is_some_and(|known| known.numbered.sender.is_same(&sender)) {
            return;
        }
        let withdrawn = inner.candidate.take().map(|old| inner.retired.push(old.numbered));
        if inner.present.sender.is_same(&sender) {
            if withdrawn.is_some() {
                tracing::info!(lane = self.name, "lane {} keeps its present credential after all", self.name);
            }
        } else {
            inner.last_number += 1;
            let numbered = Arc::new(VersionedSender::new(inner.last_number, sender));
            inner.candidate = Some(Candidate {
                numbered,
                reach_at: Some(Instant::now()),
                pause: FIRST_PAUSE,
                trying: false,
                refused: false,
            });
            tracing::info!(
                lane = self.name,
                ?fingerprint,
                "lane {} has a new credential, topic or endpoint to try; until the provider takes it, it goes on as before",
                self.name
            );
        }
        drop(inner);
        self.changed.notify_one();
    }

    /// Names what is in use.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.lock().present.fingerprint()
    }

    /// What to send with.
    pub(super) fn present(&self) -> InUse {
        InUse::of(&self.lock().present)
    }

    /// Closes all, once nobody uses them any more.
    pub(super) async fn shutdown(&self) {
        let mut all = {
            let mut inner = self.lock();
            let mut all = std::mem::take(&mut inner.retired);
            all.extend(inner.candidate.take().map(|candidate| candidate.numbered));
            all.push(Arc::clone(&inner.present));
            all
        };
        for numbered in all.drain(..) {
            numbered.close().await;
        }
    }

    /// The candidate, if it is one device's turn to try it. One that was refused is tried only where the present one
    /// is rejected too.
    fn trial(&self, is_suspended: impl FnOnce() -> bool) -> Option<CandidateTrial<'_>> {
        let mut inner = self.lock();
        let candidate = inner.candidate.as_mut()?;
        if candidate.trying || candidate.reach_at.is_some() || candidate.refused && !is_suspended() {
            return None;
        }
        candidate.trying = true;
        let candidate = InUse::of(&candidate.numbered);
        Some(CandidateTrial { senders: self, candidate })
    }

    /// The candidate can be tried.
    fn reached(&self, numbered: &VersionedSender) -> bool {
        self.with(numbered, |candidate| candidate.reach_at = None).is_some()
    }

    /// The candidate could not be tried, or without a result: again after a pause.
    fn postpone(&self, numbered: &VersionedSender, why: &Reason) {
        let paused = self.with(numbered, |candidate| {
            let pause = candidate.pause;
            candidate.pause = (pause * 2).min(LONGEST_PAUSE);
            candidate.reach_at = Some(Instant::now() + pause);
            pause
        });
        if let Some(pause) = paused {
            tracing::warn!(
                lane = self.name,
                reason = why.as_str(),
                pause_ms = pause.as_millis(),
                "the new credential of lane {} could not be tried; the present one goes on",
                self.name
            );
            self.changed.notify_one();
        }
    }

    /// The provider refused the candidate.
    fn refuse(&self, numbered: &VersionedSender, why: &Reason) {
        let before = self.with(numbered, |candidate| {
            candidate.reach_at = None;
            std::mem::replace(&mut candidate.refused, true)
        });
        if before == Some(false) {
            tracing::error!(
                lane = self.name,
                reason = why.as_str(),
                "the provider refused the new credential, topic or endpoint of lane {}: the present one stays in use. \
                 Correct it; nothing was failed and no token pruned",
                self.name
            );
        }
    }

    /// The candidate takes the present one's place, also at the gate. Answers what was in use before.
    fn promote(&self, numbered: &VersionedSender, gate: &LaneGate) -> Option<Fingerprint> {
        let mut inner = self.lock();
        let candidate = inner.candidate.take_if(|known| known.numbered.number == numbered.number)?;
        let old = std::mem::replace(&mut inner.present, candidate.numbered);
        let before = old.fingerprint();
        inner.retired.push(old);
        // Under the lock, so that users of the new sender have a newer generation than all answers to the old one.
        gate.credential_changed(inner.present.fingerprint());
        drop(inner);
        tracing::info!(
            lane = self.name,
            "lane {} sends with its new credential: the provider took it",
            self.name
        );
        self.changed.notify_one();
        Some(before)
    }

    fn with<T>(&self, numbered: &VersionedSender, change: impl FnOnce(&mut Candidate) -> T) -> Option<T> {
        let mut inner = self.lock();
        inner.candidate.as_mut().filter(|known| known.numbered.number == numbered.number).map(change)
    }

    fn work(&self) -> Work {
        let mut inner = self.lock();
        let close = std::mem::take(&mut inner.retired);
        let reach = inner.candidate.as_ref();
        let reach = reach.and_then(|known| Some((Arc::clone(&known.numbered), known.reach_at?)));
        Work { close, reach }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for LaneCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LaneCredentials({})", self.name)
    }
}

impl VersionedSender {
    fn new(number: u64, sender: Sender) -> Self {
        Self { number, sender, users: TaskTracker::new() }
    }

    fn fingerprint(&self) -> Fingerprint {
        self.sender.fingerprint()
    }

    /// Closing it earlier would turn away who is about to send, as if the provider were out of reach.
    async fn close(&self) {
        self.users.close();
        self.users.wait().await;
        self.sender.shutdown().await;
    }
}

impl InUse {
    fn of(numbered: &Arc<VersionedSender>) -> Self {
        Self { _user: numbered.users.token(), numbered: Arc::clone(numbered) }
    }

    /// Tells it from its lane's other senders.
    pub(super) fn number(&self) -> u64 {
        self.numbered.number
    }

    /// The sender.
    pub(super) fn sender(&self) -> &Sender {
        &self.numbered.sender
    }
}

impl Drop for CandidateTrial<'_> {
    fn drop(&mut self) {
        self.senders.with(&self.candidate.numbered, |candidate| candidate.trying = false);
    }
}

#[cfg(test)]
mod tests;
