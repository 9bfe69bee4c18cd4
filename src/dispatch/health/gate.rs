//! A lane's state for all tasks that send through the lane.
//!
//! The state machine stands behind one lock. What every attempt asks is also in one atomic, the snapshot, so that an
//! attempt of a lane that sends takes no lock.
//!
//! Memory order: the snapshot is written only under the lock, after each event, with `Release`, and read with `Acquire`.
//! A reader may get a snapshot from just before an event, as if it had asked that much earlier. That is safe, because an
//! attempt keeps the generation of the snapshot that it read, and asks [`LaneGate::is_as_at`] once more when its request
//! is written. No other memory is published through the snapshot.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::event::{Admission, Attribution, Effects, Event, Generation, Log, Persist, ProbeTarget, Wake};
use super::report::LaneReport;
use super::state::LaneHealth;
use crate::domain::{LaneCause, LaneId, LaneState, Reason};
use crate::provider::Fingerprint;
use crate::queue::lane_intake::LaneIntake;

/// The thread-safe holder of one lane's [`LaneHealth`].
#[derive(Debug)]
pub struct LaneGate {
    lane: LaneId,
    name: String,
    intake: Arc<LaneIntake>,
    held: Mutex<Held>,
    /// What attempts ask of `held`, to be read without the lock: see [`snapshot`].
    snapshot: AtomicU64,
    /// When the provider last accepted the credential, in milliseconds after `made_at`; 0: never. Beside the lock,
    /// because every accepted push writes it; nothing is decided by it, so its order does not matter.
    accepted_ms: AtomicU64,
    made_at: Instant,
}

#[derive(Debug)]
struct Held {
    health: LaneHealth,
    /// Of the credential in use. Changes in one step with the generation.
    fingerprint: Fingerprint,
}

/// Four times the generation, plus 2 in a run of failures, plus 1 while the lane sends.
fn snapshot(generation: Generation, has_failures: bool, sends: bool) -> u64 {
    (generation.0 << 2) | (u64::from(has_failures) << 1) | u64::from(sends)
}

/// The probe of a lane that has stopped. While this is held, the lane admits no other probe.
#[derive(Debug)]
#[must_use]
pub(in crate::dispatch) struct Probe<'a> {
    gate: &'a LaneGate,
    generation: Generation,
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        self.gate.handle(Event::ProbeEnded(self.generation));
    }
}

impl LaneGate {
    /// Admits nothing until [`Self::agree`] is called for the first time.
    pub(in crate::dispatch) fn new(
        lane: LaneId,
        name: String,
        fingerprint: Fingerprint,
        intake: Arc<LaneIntake>,
    ) -> Self {
        let made_at = Instant::now();
        Self {
            lane,
            name,
            intake,
            held: Mutex::new(Held { health: LaneHealth::new(made_at), fingerprint }),
            snapshot: AtomicU64::new(0),
            accepted_ms: AtomicU64::new(0),
            made_at,
        }
    }

    /// The lane's row in the database.
    pub fn lane(&self) -> LaneId {
        self.lane
    }

    /// Fingerprint of the credential in use on this node.
    pub fn fingerprint(&self) -> Fingerprint {
        self.lock().fingerprint
    }

    /// What operators read about the lane.
    pub(in crate::dispatch) fn report(&self) -> LaneReport {
        let accepted = match self.accepted_ms.load(Ordering::Relaxed) {
            0 => None,
            ms => Some(self.made_at + Duration::from_millis(ms)),
        };
        let held = self.lock();
        let health = &held.health;
        let (state, why) = match health.state() {
            _ if health.is_paused() => (LaneState::Paused, None),
            (state, why) => (state, why.cloned()),
        };
        let credential = match (accepted, health.rejected_at()) {
            (Some(accepted), Some(rejected)) if rejected > accepted => Some((false, rejected)),
            (None, Some(rejected)) => Some((false, rejected)),
            (accepted, _) => accepted.map(|at| (true, at)),
        };
        LaneReport { state, why, since: health.since(), credential }
    }

    /// What the lane may do now, and the generation that an attempt keeps.
    pub(in crate::dispatch) fn phase(&self) -> (Admission, Generation) {
        let snapshot = self.snapshot.load(Ordering::Acquire);
        if snapshot & 1 == 1 {
            return (Admission::Send, Generation(snapshot >> 2));
        }
        let held = self.lock();
        (held.health.admission(Instant::now()), held.health.generation())
    }

    /// Is the lane's generation still this one? Each attempt asks this once more when its request is written.
    pub(in crate::dispatch) fn is_as_at(&self, generation: Generation) -> bool {
        self.snapshot.load(Ordering::Acquire) >> 2 == generation.0
    }

    /// Starts the probe that [`Self::phase`] admitted; none: the state has changed since, or a probe is under way.
    pub(in crate::dispatch) fn begin_probe(&self, generation: Generation) -> Option<Probe<'_>> {
        let granted = self.handle(Event::ProbeStarted(generation)).probe_granted;
        granted.then_some(Probe { gate: self, generation })
    }

    /// May tokens of the other APNs environment be tried here?
    pub(in crate::dispatch) fn takes_trials(&self) -> bool {
        self.lock().health.takes_trials(Instant::now())
    }

    /// What the last probe was for, if that probe failed.
    pub(in crate::dispatch) fn last_probe(&self) -> Option<ProbeTarget> {
        self.lock().health.last_failed_probe()
    }

    /// The provider answered as a working provider does. True: the caller has to store the end of a suspension.
    pub(in crate::dispatch) fn healthy(&self, generation: Generation) -> bool {
        self.note_acceptance();
        // Nearly every attempt ends here: the lane sends, and there is no run of failures to end.
        if self.snapshot.load(Ordering::Acquire) == snapshot(generation, false, true) {
            return false;
        }
        self.handle(Event::Succeeded(generation)).persist == Some(Persist::Recovery)
    }

    /// The provider answered about a header that the request itself overrode.
    pub(in crate::dispatch) fn inconclusive(&self, generation: Generation) {
        self.handle(Event::Inconclusive(generation));
    }

    /// The whole lane has to wait: for as long as the provider asks, else for a growing pause.
    pub(in crate::dispatch) fn wait(
        &self,
        generation: Generation,
        reason: Reason,
        cause: LaneCause,
        retry_after: Option<Duration>,
    ) {
        self.handle(Event::MustWait { generation, cause, reason, retry_after });
    }

    /// The provider answered with a fault of its own, mostly a 5xx, or of the connection.
    pub(in crate::dispatch) fn failing(
        &self,
        generation: Generation,
        target: ProbeTarget,
        reason: Reason,
        retry_after: Option<Duration>,
    ) -> Attribution {
        self.handle(Event::ServerError { generation, target, reason, retry_after }).attribution
    }

    /// No answer came in time.
    pub(in crate::dispatch) fn silent(&self, generation: Generation) {
        self.handle(Event::TimedOut(generation));
    }

    /// The provider rejected the credential or the topic. True: the caller has to store the suspension.
    pub(in crate::dispatch) fn suspend(&self, generation: Generation, reason: Reason) -> bool {
        let effects = self.handle(Event::CredentialRejected { generation, reason });
        effects.persist == Some(Persist::Suspension)
    }

    /// Is the credential in use rejected?
    pub(in crate::dispatch) fn is_suspended(&self) -> bool {
        self.lock().health.is_suspended()
    }

    /// Another credential waits for its trial. A suspended lane starts the trial at once.
    pub(in crate::dispatch) fn candidate_ready(&self) {
        if self.is_suspended() {
            self.try_now();
        }
    }

    /// The provider accepted another credential, which is in use from now on.
    pub(in crate::dispatch) fn credential_changed(&self, fingerprint: Fingerprint) {
        self.note_acceptance();
        let mut held = self.lock();
        held.fingerprint = fingerprint;
        self.handle_locked(held, Event::CredentialChanged);
    }

    /// An operator asks for a probe now.
    pub(in crate::dispatch) fn try_now(&self) {
        self.handle(Event::RetryNow);
    }

    /// Takes over what the database says: paused by an operator; suspended by some node for the credential in use.
    pub(in crate::dispatch) fn agree(&self, paused: bool, suspended: Option<Reason>) {
        self.handle(Event::RemoteState { paused, suspended });
    }

    fn handle(&self, event: Event) -> Effects {
        self.handle_locked(self.lock(), event)
    }

    /// Tells the state machine, and carries out its effects except `persist`, which is the caller's.
    fn handle_locked(&self, mut held: MutexGuard<'_, Held>, event: Event) -> Effects {
        let now = Instant::now();
        let effects = held.health.on(event, now);
        let health = &held.health;
        let sends = health.admission(now) == Admission::Send;
        let snapshot = snapshot(health.generation(), health.has_failures(), sends);
        self.snapshot.store(snapshot, Ordering::Release);
        // Both under the lock, so that log lines and wake-ups have the order of the events.
        if let Some(log) = effects.log {
            self.log(log, health);
        }
        match effects.wake {
            Wake::No => {}
            Wake::ReadAdmission => {
                if sends {
                    self.intake.mark_all_waiting();
                }
                self.intake.set_open(sends);
            }
            Wake::LookForJobs => self.intake.mark_all_waiting(),
        }
        effects
    }

    fn log(&self, log: Log, health: &LaneHealth) {
        let lane = self.name.as_str();
        let (state, reason) = health.state();
        let reason = reason.map(Reason::as_str);
        match log {
            Log::Recovered => tracing::info!(lane, "lane sends again"),
            Log::Stopped(pause) => {
                let pause_ms = pause.as_millis();
                tracing::warn!(lane, %state, reason, pause_ms, "lane stops sending until its next probe");
            }
            Log::Suspended => tracing::error!(
                lane,
                reason,
                hint = "correct the credential or configuration, or wait for the next probe; jobs wait, no notification \
                        fails and no token is pruned",
                "lane is suspended because the provider rejects its credential or configuration"
            ),
            Log::RemoteState => {
                let paused = health.is_paused();
                tracing::info!(lane, paused, %state, reason, "lane state updated from the database");
            }
        }
    }

    fn note_acceptance(&self) {
        let ms = u64::try_from(self.made_at.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.accepted_ms.store(ms.max(1), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
