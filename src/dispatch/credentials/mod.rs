//! What a lane sends with: its current sender, and perhaps a candidate that is to take its place
//! (docs/queue.md#credential-rotation).
//!
//! A candidate comes with a new key, topic or endpoint. First it is reached without a device: it opens a connection and
//! gets an access token ([`rotation`]). Then one device at a time tries it ([`send`]) while all other devices go with the
//! current sender. When the provider takes a notification from the candidate, the candidate becomes the current sender.
//! The old sender closes when its last attempt has ended. A candidate that is refused is not tried again until another
//! one comes, except by the probes of a lane that is suspended anyway.

pub(super) mod rotation;
pub(super) mod send;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::health::LaneGate;
use super::limits::quota::{LaneQuota, Quota};
use super::rendered::SenderNumber;
use crate::domain::{CredentialResult, Reason};
use crate::provider::{Fingerprint, Sender, SenderMetrics};

/// First pause before a candidate that could not be tried is tried again; it doubles each time.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// A candidate that works again is found within a minute.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Bytes of a fingerprint in a log line: as in the `credential.id` of the API.
const SHOWN_BYTES: usize = 8;

/// A lane's senders. A reload of the configuration offers new ones here.
pub struct LaneCredentials {
    /// As logs name the lane.
    name: String,
    inner: Mutex<Inner>,
    /// That of the project of the current sender.
    quota: Arc<LaneQuota>,
    /// A candidate has come or must be reached again, or a sender is to be closed.
    changed: Notify,
    /// What the senders count in. Empty until the lane starts.
    metrics: OnceLock<Arc<SenderMetrics>>,
    /// Candidates that were taken or refused, and that the event log was not told of yet.
    untold: Mutex<Vec<CredentialTrial>>,
}

/// What became of a candidate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct CredentialTrial {
    /// Of the candidate.
    pub(super) fingerprint: Fingerprint,
    /// Whether the provider took it.
    pub(super) result: CredentialResult,
    /// Why the provider refused it.
    pub(super) reason: Option<Reason>,
}

struct Inner {
    current: Arc<NumberedSender>,
    candidate: Option<Candidate>,
    /// Out of use, and not yet told to close.
    retired: Vec<Arc<NumberedSender>>,
    last_number: SenderNumber,
}

/// A sender, with the attempts that use it.
struct NumberedSender {
    number: SenderNumber,
    sender: Sender,
    /// Of the project that the sender sends through, shared with the project's other lanes. None: the provider has none.
    quota: Option<Arc<Quota>>,
    users: TaskTracker,
}

struct Candidate {
    numbered: Arc<NumberedSender>,
    /// Some: it must be reached first, at this time.
    reach_at: Option<Instant>,
    pause: Duration,
    /// A device is trying it: no other device may.
    is_on_trial: bool,
    /// By the provider.
    is_refused: bool,
}

/// A sender in use: it isn't closed before this is dropped.
pub(super) struct SenderInUse {
    numbered: Arc<NumberedSender>,
    _user: TaskTrackerToken,
}

/// The one trial of a candidate that is under way. Dropped, it leaves the candidate to the next device.
struct CandidateTrial<'a> {
    credentials: &'a LaneCredentials,
    candidate: SenderInUse,
}

/// What [`rotation`] has to do.
#[derive(Default)]
struct Work {
    close: Vec<Arc<NumberedSender>>,
    reach: Option<(Arc<NumberedSender>, Instant)>,
}

impl LaneCredentials {
    /// LaneCredentials of the lane `name`, which begins with this one.
    /// `quota` is that of its project, shared with the project's other lanes; none: the provider has none.
    pub fn new(name: String, current: Sender, quota: Option<Arc<Quota>>) -> Self {
        let lane_quota = Arc::new(LaneQuota::new(quota.clone()));
        let current = Arc::new(NumberedSender::new(SenderNumber(0), current, quota));
        let inner = Inner { current, candidate: None, retired: Vec::new(), last_number: SenderNumber(0) };
        let (changed, metrics, untold) = (Notify::new(), OnceLock::new(), Mutex::default());
        Self { name, inner: Mutex::new(inner), quota: lane_quota, changed, metrics, untold }
    }

    /// Has the present sender and later ones count what they do. Called once, before the first attempt.
    pub(super) fn count_in(&self, metrics: Arc<SenderMetrics>) {
        self.current().sender().count_in(&metrics);
        let _ = self.metrics.set(metrics);
    }

    /// The quota of the lane: that of the project of the current sender.
    pub(super) fn quota(&self) -> &Arc<LaneQuota> {
        &self.quota
    }

    /// Makes a sender from the present configuration the candidate. If it is what is in use already, the candidate that
    /// there may be is withdrawn.
    pub fn offer(&self, sender: Sender, quota: Option<Arc<Quota>>) {
        let fingerprint = hex::encode(&sender.fingerprint().0[..SHOWN_BYTES]);
        let mut inner = self.lock();
        if inner.candidate.as_ref().is_some_and(|known| known.numbered.sender.is_same(&sender)) {
            return;
        }
        let withdrawn = inner.candidate.take().map(|old| inner.retired.push(old.numbered));
        if inner.current.sender.is_same(&sender) {
            if withdrawn.is_some() {
                tracing::info!(
                    lane = self.name,
                    "candidate withdrawn: the configuration has the credential in use again"
                );
            }
        } else {
            if let Some(metrics) = self.metrics.get() {
                sender.count_in(metrics);
            }
            inner.last_number.0 += 1;
            let numbered = Arc::new(NumberedSender::new(inner.last_number, sender, quota));
            inner.candidate = Some(Candidate {
                numbered,
                reach_at: Some(Instant::now()),
                pause: PAUSE_MIN,
                is_on_trial: false,
                is_refused: false,
            });
            tracing::info!(
                lane = self.name,
                fingerprint,
                detail =
                    "the current one stays in use until the provider takes a notification from the new one",
                "lane has a new credential, topic or endpoint to try"
            );
        }
        drop(inner);
        self.changed.notify_one();
    }

    /// Of the sender in use.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.lock().current.fingerprint()
    }

    /// The sender to use for one attempt.
    pub(super) fn current(&self) -> SenderInUse {
        SenderInUse::of(&self.lock().current)
    }

    /// Closes all senders, each when its last attempt has ended.
    pub(super) async fn shutdown(&self) {
        let mut all = {
            let mut inner = self.lock();
            let mut all = std::mem::take(&mut inner.retired);
            all.extend(inner.candidate.take().map(|candidate| candidate.numbered));
            all.push(Arc::clone(&inner.current));
            all
        };
        for numbered in all.drain(..) {
            numbered.close().await;
        }
    }

    /// The candidate, if it is the caller's turn to try it. A refused candidate is tried only where the current sender is
    /// rejected too.
    fn trial(&self, is_suspended: impl FnOnce() -> bool) -> Option<CandidateTrial<'_>> {
        let mut inner = self.lock();
        let candidate = inner.candidate.as_mut()?;
        if candidate.is_on_trial || candidate.reach_at.is_some() || candidate.is_refused && !is_suspended() {
            return None;
        }
        candidate.is_on_trial = true;
        let candidate = SenderInUse::of(&candidate.numbered);
        Some(CandidateTrial { credentials: self, candidate })
    }

    /// From now on the candidate can be tried. False: it is the candidate no more.
    fn mark_reached(&self, numbered: &NumberedSender) -> bool {
        self.with(numbered, |candidate| candidate.reach_at = None).is_some()
    }

    /// The candidate could not be reached, or its trial had no result: it is tried again after a pause.
    fn postpone(&self, numbered: &NumberedSender, why: &Reason) {
        let paused = self.with(numbered, |candidate| {
            let pause = candidate.pause;
            candidate.pause = (pause * 2).min(PAUSE_MAX);
            candidate.reach_at = Some(Instant::now() + pause);
            pause
        });
        if let Some(pause) = paused {
            tracing::warn!(
                lane = self.name,
                reason = why.as_str(),
                pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                detail = "the current one stays in use",
                "new credential could not be tried"
            );
            self.changed.notify_one();
        }
    }

    /// The provider refused the candidate.
    fn refuse(&self, numbered: &NumberedSender, why: &Reason) {
        let before = self.with(numbered, |candidate| {
            candidate.reach_at = None;
            std::mem::replace(&mut candidate.is_refused, true)
        });
        if before == Some(false) {
            let (fingerprint, reason) = (numbered.fingerprint(), Some(why.clone()));
            self.untold().push(CredentialTrial { fingerprint, result: CredentialResult::Refused, reason });
            tracing::error!(
                lane = self.name,
                reason = why.as_str(),
                detail = "the current one stays in use; no notification failed and no token was pruned",
                hint = "correct the configuration",
                "provider refuses the new credential, topic or endpoint"
            );
        }
    }

    /// The candidate becomes the current sender, also at the gate. False: it is the candidate no more.
    fn promote(&self, numbered: &NumberedSender, gate: &LaneGate) -> bool {
        let mut inner = self.lock();
        let Some(candidate) = inner.candidate.take_if(|known| known.numbered.number == numbered.number)
        else {
            return false;
        };
        let old = std::mem::replace(&mut inner.current, candidate.numbered);
        inner.retired.push(old);
        // Under the lock, so that attempts with the new sender have a later generation than all answers to the old one.
        let fingerprint = inner.current.fingerprint();
        gate.credential_changed(fingerprint);
        self.quota.replace(inner.current.quota.clone());
        drop(inner);
        let taken = CredentialTrial { fingerprint, result: CredentialResult::Taken, reason: None };
        self.untold().push(taken);
        tracing::info!(lane = self.name, "lane sends with its new credential, which the provider took");
        self.changed.notify_one();
        true
    }

    fn with<T>(&self, numbered: &NumberedSender, change: impl FnOnce(&mut Candidate) -> T) -> Option<T> {
        let mut inner = self.lock();
        inner.candidate.as_mut().filter(|known| known.numbered.number == numbered.number).map(change)
    }

    fn take_work(&self) -> Work {
        let mut inner = self.lock();
        let close = std::mem::take(&mut inner.retired);
        let reach = inner.candidate.as_ref();
        let reach = reach.and_then(|known| Some((Arc::clone(&known.numbered), known.reach_at?)));
        Work { close, reach }
    }

    /// Takes what the event log is to be told.
    pub(super) fn take_untold(&self) -> Vec<CredentialTrial> {
        std::mem::take(&mut *self.untold())
    }

    /// Puts back what the event log could not be told.
    pub(super) fn put_back_untold(&self, trials: Vec<CredentialTrial>) {
        self.untold().splice(0..0, trials);
    }

    fn untold(&self) -> MutexGuard<'_, Vec<CredentialTrial>> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
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

impl NumberedSender {
    fn new(number: SenderNumber, sender: Sender, quota: Option<Arc<Quota>>) -> Self {
        Self { number, sender, quota, users: TaskTracker::new() }
    }

    fn fingerprint(&self) -> Fingerprint {
        self.sender.fingerprint()
    }

    /// Waits for the attempts that use it. Closed earlier, it would turn them away as if the provider were out of reach.
    async fn close(&self) {
        self.users.close();
        self.users.wait().await;
        self.sender.shutdown().await;
    }
}

impl SenderInUse {
    fn of(numbered: &Arc<NumberedSender>) -> Self {
        Self { _user: numbered.users.token(), numbered: Arc::clone(numbered) }
    }

    /// Tells it from the lane's other senders.
    fn number(&self) -> SenderNumber {
        self.numbered.number
    }

    pub(super) fn sender(&self) -> &Sender {
        &self.numbered.sender
    }
}

impl Drop for CandidateTrial<'_> {
    fn drop(&mut self) {
        self.credentials.with(&self.candidate.numbered, |candidate| candidate.is_on_trial = false);
    }
}

#[cfg(test)]
mod tests;
