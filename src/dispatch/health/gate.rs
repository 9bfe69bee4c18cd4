//! A lane's state for all tasks that send through the lane.
//!
//! The state machine stands behind one lock. What every attempt asks is also in one atomic, the snapshot, so that an
//! attempt of a lane that sends takes no lock.
//!
//! Memory order: the snapshot is written only under the lock, after each event, with `Release`, and read with `Acquire`.
//! A reader may get a snapshot from just before an event, as if it had asked that much earlier. That is safe, because an
//! attempt keeps the generation of the snapshot that it read, and asks [`LaneGate::is_current`] once more when its request
//! is written. No other memory is published through the snapshot.

use std::sync::atomic::{AtomicI16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::event::{Admission, Attribution, Effects, Generation, LaneEvent, ProbeTarget, Wake};
use super::log_lines;
use super::report::HealthReport;
use super::state::LaneHealth;
use super::suspension::SuspensionDecision;
use crate::domain::{LaneId, LaneKey, LaneState, Reason};
use crate::provider::Fingerprint;
use crate::queue::lane_intake::LaneIntake;

/// The thread-safe holder of one lane's [`LaneHealth`].
#[derive(Debug)]
pub(in crate::dispatch) struct LaneGate {
    lane: LaneId,
    key: LaneKey,
    name: String,
    intake: Arc<LaneIntake>,
    state: Mutex<GateState>,
    /// What attempts ask of `state`, to be read without the lock: see [`snapshot`].
    snapshot: AtomicU64,
    /// When the provider last accepted the credential, in milliseconds after `made_at`; 0: never. Beside the lock,
    /// because every accepted push writes it; nothing is decided by it, so its order does not matter.
    accepted_ms: AtomicU64,
    /// When the provider last rejected it, likewise: 0: never. Written under the lock, and read by metrics alone.
    rejected_ms: AtomicU64,
    /// The number of the state that operators read. Written under the lock, and read by metrics alone.
    state_code: AtomicI16,
    made_at: Instant,
    /// `unstored` is not empty.
    suspension_decided: Notify,
}

#[derive(Debug)]
struct GateState {
    health: LaneHealth,
    /// Of the credential in use. Changes in one step with the generation.
    fingerprint: Fingerprint,
    /// Credentials about which the database may not have this node's latest decision.
    unstored: Vec<Fingerprint>,
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
        self.gate.handle(LaneEvent::ProbeEnded(self.generation));
    }
}

impl LaneGate {
    /// Admits nothing before the first [`LaneEvent::RemoteState`].
    pub(in crate::dispatch) fn new(
        lane: LaneId,
        key: LaneKey,
        name: String,
        fingerprint: Fingerprint,
        intake: Arc<LaneIntake>,
    ) -> Self {
        let made_at = Instant::now();
        Self {
            lane,
            key,
            name,
            intake,
            state: Mutex::new(GateState {
                health: LaneHealth::new(made_at),
                fingerprint,
                unstored: Vec::new(),
            }),
            snapshot: AtomicU64::new(0),
            accepted_ms: AtomicU64::new(0),
            rejected_ms: AtomicU64::new(0),
            state_code: AtomicI16::new(LaneState::Unknown.code()),
            made_at,
            suspension_decided: Notify::new(),
        }
    }

    /// The lane's row in the database.
    pub(in crate::dispatch) fn lane(&self) -> LaneId {
        self.lane
    }

    /// As logs name the lane: `shop/apns-production`.
    pub(in crate::dispatch) fn name(&self) -> &str {
        &self.name
    }

    /// Fingerprint of the credential in use on this node.
    pub(in crate::dispatch) fn fingerprint(&self) -> Fingerprint {
        self.lock().fingerprint
    }

    /// What operators read about the lane.
    pub(in crate::dispatch) fn report(&self) -> HealthReport {
        let accepted = match self.accepted_ms.load(Ordering::Relaxed) {
            0 => None,
            ms => Some(self.made_at + Duration::from_millis(ms)),
        };
        let state = self.lock();
        let health = &state.health;
        let (state, why) = shown_state(health);
        let why = why.cloned();
        let credential = match (accepted, health.rejected_at()) {
            (Some(accepted), Some(rejected)) if rejected > accepted => Some((false, rejected)),
            (None, Some(rejected)) => Some((false, rejected)),
            (accepted, _) => accepted.map(|at| (true, at)),
        };
        HealthReport { state, why, since: health.since(), credential }
    }

    /// The state that operators read, as of the last event. Takes no lock.
    pub(in crate::dispatch) fn state(&self) -> LaneState {
        LaneState::from_code(self.state_code.load(Ordering::Relaxed)).unwrap_or(LaneState::Unknown)
    }

    /// Did the provider accept the credential when it last answered about the credential? None: this node has no answer about
    /// the credential yet. Takes no lock.
    pub(in crate::dispatch) fn is_credential_ok(&self) -> Option<bool> {
        let accepted = self.accepted_ms.load(Ordering::Relaxed);
        let rejected = self.rejected_ms.load(Ordering::Relaxed);
        (accepted > 0 || rejected > 0).then_some(accepted >= rejected)
    }

    /// What the lane may do now, and the generation that an attempt keeps.
    pub(in crate::dispatch) fn admission(&self) -> (Admission, Generation) {
        let snapshot = self.snapshot.load(Ordering::Acquire);
        if snapshot & 1 == 1 {
            return (Admission::Send, Generation(snapshot >> 2));
        }
        let state = self.lock();
        (state.health.admission(Instant::now()), state.health.generation())
    }

    /// Is the lane's generation still this one? Each attempt asks this once more when its request is written.
    pub(in crate::dispatch) fn is_current(&self, generation: Generation) -> bool {
        self.snapshot.load(Ordering::Acquire) >> 2 == generation.0
    }

    /// Starts the probe that [`Self::admission`] admitted; none: the state has changed since, or a probe is under way.
    pub(in crate::dispatch) fn begin_probe(&self, generation: Generation) -> Option<Probe<'_>> {
        let granted = self.handle(LaneEvent::ProbeStarted(generation)).probe_granted;
        granted.then_some(Probe { gate: self, generation })
    }

    /// May tokens of the other APNs environment be tried here?
    pub(in crate::dispatch) fn accepts_environment_probes(&self) -> bool {
        self.lock().health.accepts_environment_probes(Instant::now())
    }

    /// What the last probe was for, if that probe failed.
    pub(in crate::dispatch) fn last_failed_probe(&self) -> Option<ProbeTarget> {
        self.lock().health.last_failed_probe()
    }

    /// Takes in what happened to the lane. The answer is meaningful after a [`LaneEvent::ServerError`].
    pub(in crate::dispatch) fn on(&self, event: LaneEvent) -> Attribution {
        if let LaneEvent::Succeeded(generation) = event {
            self.note_acceptance();
            // Nearly every attempt ends here: the lane sends, and there is no run of failures to end.
            if self.snapshot.load(Ordering::Acquire) == snapshot(generation, false, true) {
                return Attribution::Device;
            }
        }
        self.handle(event).attribution
    }

    /// Is the credential in use rejected?
    pub(in crate::dispatch) fn is_suspended(&self) -> bool {
        self.lock().health.is_suspended()
    }

    /// Another credential waits for its trial. A suspended lane starts the trial at once.
    pub(in crate::dispatch) fn candidate_ready(&self) {
        if self.is_suspended() {
            self.on(LaneEvent::RetryNow);
        }
    }

    /// The provider accepted another credential, which is in use from now on. Suspensions for both credentials end, also
    /// on other nodes: they have the new one, or find out again.
    pub(in crate::dispatch) fn credential_changed(&self, fingerprint: Fingerprint) {
        self.note_acceptance();
        let mut state = self.lock();
        let before = std::mem::replace(&mut state.fingerprint, fingerprint);
        self.mark_unstored(&mut state, before);
        self.mark_unstored(&mut state, fingerprint);
        self.handle_locked(state, LaneEvent::CredentialChanged);
    }

    /// Returns when there is something for [`Self::take_unstored`]. Only one task may wait.
    pub(in crate::dispatch) async fn suspension_decided(&self) {
        self.suspension_decided.notified().await;
    }

    /// What the database may not know yet, as this node sees it now. The caller stores it before it takes the next one, and
    /// says with [`Self::mark_stored`] or [`Self::put_back_unstored`] what came of it.
    pub(in crate::dispatch) fn take_unstored(&self) -> Option<SuspensionDecision> {
        let mut state = self.lock();
        let fingerprint = state.unstored.pop()?;
        let health = &state.health;
        let is_rejected = fingerprint == state.fingerprint && health.is_suspended();
        let rejected = if is_rejected { health.state().1.cloned() } else { None };
        Some(SuspensionDecision { fingerprint, rejected })
    }

    /// The database took the decision about this credential.
    pub(in crate::dispatch) fn mark_stored(&self, fingerprint: Fingerprint) {
        let state = self.lock();
        if state.fingerprint == fingerprint && !state.unstored.contains(&fingerprint) {
            self.handle_locked(state, LaneEvent::DecisionStored);
        }
    }

    /// The database did not take the decision about this credential. Wakes no task: the caller tries again by itself.
    pub(in crate::dispatch) fn put_back_unstored(&self, fingerprint: Fingerprint) {
        let mut state = self.lock();
        if !state.unstored.contains(&fingerprint) {
            state.unstored.push(fingerprint);
        }
    }

    fn mark_unstored(&self, state: &mut GateState, fingerprint: Fingerprint) {
        if !state.unstored.contains(&fingerprint) {
            state.unstored.push(fingerprint);
        }
        self.suspension_decided.notify_one();
    }

    fn handle(&self, event: LaneEvent) -> Effects {
        self.handle_locked(self.lock(), event)
    }

    /// Tells the state machine, and carries out its effects. What has to be stored is left to the lane's task for it
    /// ([`super::suspension`]).
    fn handle_locked(&self, mut state: MutexGuard<'_, GateState>, event: LaneEvent) -> Effects {
        let now = Instant::now();
        let effects = state.health.on(event, now);
        if effects.persist.is_some() {
            let fingerprint = state.fingerprint;
            self.mark_unstored(&mut state, fingerprint);
        }
        let health = &state.health;
        let sends = health.admission(now) == Admission::Send;
        let snapshot = snapshot(health.generation(), health.has_failures(), sends);
        self.snapshot.store(snapshot, Ordering::Release);
        self.state_code.store(shown_state(health).0.code(), Ordering::Relaxed);
        self.rejected_ms.store(health.rejected_at().map_or(0, |at| self.millis(at)), Ordering::Relaxed);
        // Both under the lock, so that log lines and wake-ups have the order of the events.
        if let Some(log) = effects.log {
            log_lines::write(log, &self.name, self.key, health);
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

    fn note_acceptance(&self) {
        self.accepted_ms.store(self.millis(Instant::now()), Ordering::Relaxed);
    }

    /// Milliseconds from `made_at` to a moment: at least 1.
    fn millis(&self, at: Instant) -> u64 {
        let millis = at.saturating_duration_since(self.made_at).as_millis();
        u64::try_from(millis).unwrap_or(u64::MAX).max(1)
    }

    fn lock(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state that operators read, and the provider's word if the provider is the cause: a pause hides what is beneath it.
fn shown_state(health: &LaneHealth) -> (LaneState, Option<&Reason>) {
    if health.is_paused() { (LaneState::Paused, None) } else { health.state() }
}
