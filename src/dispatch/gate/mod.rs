//! Whether a lane sends. Breaker and throttle are this node's own, in memory; pause and suspension are agreed upon in
//! the database (docs/queue.md 13).
//!
//! A lane that stops gives its jobs back as they were: nothing is recorded, no attempt is burnt. It starts again by a
//! probe of one device.

mod inner;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use self::inner::Inner;
use super::quota::Told;
use crate::domain::{DeviceId, LaneCause, LaneId, LaneState, NotificationId, Reason};
use crate::provider::Fingerprint;
use crate::queue::intake::Intake;

/// First pause of a lane that stopped; it doubles with each probe that fails.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// No provider is waited for longer between two probes, whatever it asks for.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);
/// A rejected credential is tried again so often: it may have been the provider's mistake.
const SUSPENDED_PROBE: Duration = Duration::from_secs(60);

/// A change of ours is in the database, and every older reading of it over, after so long.
const SETTLED: Duration = Duration::from_secs(10);

/// So many 5xx in a row, with no better answer between, are an outage.
const OUTAGE: u64 = 10;
/// As many attempts without any answer are one too, if they span this time: a connection that breaks takes a crowd of
/// requests along at one moment.
const SILENCE: Duration = Duration::from_secs(1);

/// How long a provider is waited for that asks for this wait.
pub(super) fn bounded(asked: Duration) -> Duration {
    asked.min(LONGEST_ASKED)
}

/// What a lane may do right now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Send.
    Open,
    /// Send one, and wait for what comes of it.
    Probe,
    /// Nothing, until then.
    Closed(Option<Instant>),
}

/// Counts changes of phase: what began before the last change says nothing about now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Epoch(u64);

/// Whether a failed attempt counts for its device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Blame {
    /// It is the device's own affair: it takes its next turn.
    Device,
    /// The lane is out of order: the device goes back as it was.
    Lane,
}

/// A lane's state, as operators are told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Standing {
    pub(super) state: LaneState,
    /// The provider's word, where it is one's doing.
    pub(super) why: Option<Reason>,
    /// Since when.
    pub(super) since: Instant,
    /// Whether the provider took the credential when it last said something about it, and when that was.
    pub(super) credential: Option<(bool, Instant)>,
}

impl Standing {
    /// The state of a lane that could send, and does not because its project was told to wait: the lane is throttled.
    pub(super) fn with_quota(self, told: Option<Told>) -> Self {
        match told {
            Some(Told { why, since, .. }) if self.state == LaneState::Running => {
                Self { state: LaneState::Throttled, why: Some(why), since, ..self }
            }
            _ => self,
        }
    }
}

/// One lane's gate.
#[derive(Debug)]
pub struct Gate {
    lane: LaneId,
    name: String,
    intake: Arc<Intake>,
    inner: Mutex<Inner>,
    /// Twice the epoch, plus one while the lane is open: what every attempt asks costs no lock.
    fast: AtomicU64,
    /// Failures in a row that may be an outage.
    failures: AtomicU64,
    /// When the provider last took the credential, in milliseconds from `made`; 0: never.
    taken_ms: AtomicU64,
    made: Instant,
}

fn fast(epoch: u64, open: bool) -> u64 {
    (epoch << 1) | u64::from(open)
}

impl Gate {
    /// Closed until the lane's standing has been read for the first time.
    pub(super) fn new(lane: LaneId, name: String, fingerprint: Fingerprint, intake: Arc<Intake>) -> Self {
        Self {
            lane,
            name,
            intake,
            inner: Mutex::new(Inner::new(fingerprint)),
            fast: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            taken_ms: AtomicU64::new(0),
            made: Instant::now(),
        }
    }

    /// The lane.
    pub fn lane(&self) -> LaneId {
        self.lane
    }

    /// The credential that this node holds.
    pub fn fingerprint(&self) -> Fingerprint {
        self.lock().fingerprint
    }

    /// What operators are told.
    pub(super) fn standing(&self) -> Standing {
        let taken = match self.taken_ms.load(Ordering::Relaxed) {
            0 => None,
            ms => Some(self.made + Duration::from_millis(ms)),
        };
        self.lock().standing(taken)
    }

    /// What may be done now.
    pub(super) fn phase(&self) -> (Phase, Epoch) {
        let fast = self.fast.load(Ordering::Acquire);
        if fast & 1 == 1 {
            return (Phase::Open, Epoch(fast >> 1));
        }
        let inner = self.lock();
        (inner.phase(Instant::now()), Epoch(inner.epoch))
    }

    /// Has nothing stopped or started the lane since? Asked for every attempt once more, when it is written.
    pub(super) fn is_as_at(&self, epoch: Epoch) -> bool {
        self.fast.load(Ordering::Acquire) >> 1 == epoch.0
    }

    /// May the other environment's tokens be tried here? While the lane sends, or could: one that waited for nobody else
    /// shows by a trial whether it runs again.
    pub(super) fn takes_trials(&self) -> bool {
        let inner = self.lock();
        match inner.phase(Instant::now()) {
            Phase::Open => true,
            Phase::Probe => inner.state != LaneState::Suspended,
            Phase::Closed(_) => false,
        }
    }

    /// Whom the last probe was for, if it failed.
    pub(super) fn last_probe(&self) -> Option<(NotificationId, DeviceId)> {
        self.lock().last_probe
    }

    /// The provider answered as one that works does. Says whether that ended a suspension.
    pub(super) fn healthy(&self, epoch: Epoch) -> bool {
        self.taken_ms.store(self.millis(), Ordering::Relaxed);
        let open = self.fast.load(Ordering::Acquire) == fast(epoch.0, true);
        if open && self.failures.load(Ordering::Acquire) == 0 {
            return false;
        }
        self.failures.store(0, Ordering::Release);
        let inner = self.lock();
        if inner.epoch != epoch.0 || inner.state == LaneState::Running {
            return false;
        }
        let was_suspended = inner.state == LaneState::Suspended;
        self.run_again(inner);
        was_suspended
    }

    /// The provider answered, but about what the request's own overrides asked for. This shows that the provider works,
    /// and nothing about the lane's credential or topic: a suspended lane waits for its next probe.
    pub(super) fn inconclusive(&self, epoch: Epoch) {
        let mut inner = self.lock();
        if inner.epoch != epoch.0 {
            return;
        }
        self.failures.store(0, Ordering::Release);
        match inner.state {
            LaneState::Running => {}
            LaneState::Suspended => {
                inner.probe_at = Some(Instant::now() + SUSPENDED_PROBE);
                self.apply(inner);
            }
            _ => self.run_again(inner),
        }
    }

    fn run_again(&self, mut inner: MutexGuard<'_, Inner>) {
        tracing::info!(lane = self.name, "lane {} runs again", self.name);
        inner.go(LaneState::Running, None, None);
        inner.pause = FIRST_PAUSE;
        inner.healthy_at = Some(Instant::now());
        self.apply(inner);
    }

    /// The lane as a whole has to wait: for as long as the provider said, else for a growing pause. Where it waits
    /// already, the latest that the provider said holds.
    pub(super) fn wait(&self, epoch: Epoch, why: Reason, cause: LaneCause, after: Option<Duration>) {
        let mut inner = self.lock();
        if inner.epoch != epoch.0 {
            if let (LaneState::Throttled, Some(after)) = (inner.state, after) {
                inner.probe_at = inner.probe_at.max(Some(Instant::now() + bounded(after)));
            }
            return;
        }
        let state = match cause {
            LaneCause::Outage => LaneState::Broken,
            LaneCause::Throttled => LaneState::Throttled,
        };
        self.stop(inner, state, why, after);
    }

    /// A 5xx for `who`. Enough of them in a row are an outage, which burns no attempts: neither of those that found it
    /// out late, even if it is over by then, nor of probes. But who was the probe before, and fails again, may be the cause and takes its turn.
    pub(super) fn failing(
        &self,
        epoch: Epoch,
        who: (NotificationId, DeviceId),
        why: Reason,
        after: Option<Duration>,
    ) -> Blame {
        let mut inner = self.lock();
        if inner.epoch != epoch.0 {
            let device = inner.state == LaneState::Running && inner.outage.is_none_or(|last| epoch.0 > last);
            return if device { Blame::Device } else { Blame::Lane };
        }
        if inner.state == LaneState::Running {
            if self.count_failure(&mut inner) < OUTAGE {
                return Blame::Device;
            }
            self.stop(inner, LaneState::Broken, why, after);
            return Blame::Lane;
        }
        let again = inner.last_probe.replace(who) == Some(who);
        self.stop(inner, LaneState::Broken, why, after);
        if again { Blame::Device } else { Blame::Lane }
    }

    /// No answer. It may have been sent, so it counts for its device in any case.
    pub(super) fn silent(&self, epoch: Epoch) {
        let mut inner = self.lock();
        if inner.epoch != epoch.0 {
            return;
        }
        if inner.state == LaneState::Running {
            let few = self.count_failure(&mut inner) < OUTAGE;
            if few || inner.failing_since.is_none_or(|first| first.elapsed() < SILENCE) {
                return;
            }
        }
        self.stop(inner, LaneState::Broken, Reason::new("no_answer"), None);
    }

    /// How many there have been in a row.
    fn count_failure(&self, inner: &mut Inner) -> u64 {
        let failures = self.failures.fetch_add(1, Ordering::AcqRel) + 1;
        if failures == 1 {
            inner.failing_since = Some(Instant::now());
        }
        failures
    }

    /// A lane whose credential was rejected stays suspended, whatever else goes wrong.
    fn stop(&self, mut inner: MutexGuard<'_, Inner>, state: LaneState, why: Reason, after: Option<Duration>) {
        let (state, why, least) = match (inner.state, inner.why.clone()) {
            (LaneState::Suspended, Some(why)) => (LaneState::Suspended, why, SUSPENDED_PROBE),
            _ => (state, why, Duration::ZERO),
        };
        let pause = after.unwrap_or(inner.pause).clamp(least, LONGEST_ASKED);
        inner.pause = (inner.pause * 2).min(LONGEST_PAUSE);
        if state == LaneState::Broken {
            inner.outage = Some(inner.epoch);
        }
        let (reason, pause_ms) = (why.as_str(), pause.as_millis());
        tracing::warn!(lane = self.name, %state, reason, pause_ms, "lane {} waits", self.name);
        inner.go(state, Some(why), Some(Instant::now() + pause));
        self.apply(inner);
    }

    /// The credential was rejected. Says whether that is news.
    pub(super) fn suspend(&self, epoch: Epoch, why: Reason) -> bool {
        let mut inner = self.lock();
        if inner.epoch != epoch.0 {
            return false;
        }
        let news = inner.state != LaneState::Suspended;
        if news {
            tracing::error!(
                lane = self.name,
                reason = why.as_str(),
                "lane {} is suspended: the provider rejected its credential or configuration. Its jobs wait; nothing is \
                 failed and no token is pruned. Correct the credential, or wait for the next probe",
                self.name
            );
        }
        inner.go(LaneState::Suspended, Some(why), Some(Instant::now() + SUSPENDED_PROBE));
        inner.refused_at = Some(Instant::now());
        self.apply(inner);
        news
    }

    /// Was the credential rejected?
    pub(super) fn is_suspended(&self) -> bool {
        self.lock().state == LaneState::Suspended
    }

    /// There is another credential to try: a lane that is suspended does it at once.
    pub(super) fn candidate_ready(&self) {
        if self.is_suspended() {
            self.try_now();
        }
    }

    /// The provider took another credential, which is in use from now on: whatever stopped the lane is over.
    pub(super) fn credential_changed(&self, fingerprint: Fingerprint) {
        let mut inner = self.lock();
        inner.fingerprint = fingerprint;
        inner.go(LaneState::Running, None, None);
        inner.pause = FIRST_PAUSE;
        inner.healthy_at = Some(Instant::now());
        inner.refused_at = None;
        self.taken_ms.store(self.millis(), Ordering::Relaxed);
        self.apply(inner);
    }

    /// An operator wants it tried now.
    pub(super) fn try_now(&self) {
        let mut inner = self.lock();
        if inner.probe_at.is_some() {
            inner.probe_at = Some(Instant::now());
            inner.pause = FIRST_PAUSE;
        }
        drop(inner);
        self.intake.hint_all();
    }

    /// What the database says: paused by an admin; suspended for this very credential by some node.
    pub(super) fn agree(&self, paused: bool, suspended: Option<Reason>) {
        let mut inner = self.lock();
        let before = (inner.paused, inner.state, inner.why.clone());
        if inner.paused != Some(paused) {
            inner.since = Instant::now();
        }
        inner.paused = Some(paused);
        // Our own word may still be on its way to the database: it isn't taken back by an older reading.
        let stale = inner.healthy_at.is_some_and(|at| at.elapsed() < SETTLED);
        match (inner.state, suspended) {
            (LaneState::Suspended, None) if inner.agreed => inner.go(LaneState::Running, None, None),
            (LaneState::Suspended, None) => {}
            (LaneState::Suspended, Some(_)) => inner.agreed = true,
            (_, Some(_)) if stale => {}
            (_, Some(why)) => {
                inner.go(LaneState::Suspended, Some(why), Some(Instant::now() + SUSPENDED_PROBE));
                inner.agreed = true;
            }
            (_, None) => {}
        }
        let changed = before != (inner.paused, inner.state, inner.why.clone());
        if changed {
            inner.epoch += 1;
            let (state, why) = (inner.state, inner.why.as_ref().map(Reason::as_str));
            tracing::info!(lane = self.name, paused, %state, why, "lane {} is as agreed", self.name);
            self.apply(inner);
        }
    }

    fn apply(&self, inner: MutexGuard<'_, Inner>) {
        let open = inner.phase(Instant::now()) == Phase::Open;
        self.failures.store(0, Ordering::Release);
        self.fast.store(fast(inner.epoch, open), Ordering::Release);
        drop(inner);
        if open {
            self.intake.hint_all();
        }
        self.intake.set_open(open);
        self.wake();
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }

    fn wake(&self) {
        self.intake.nudge();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
