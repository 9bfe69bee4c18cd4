//! Whether a lane sends. Breaker and throttle are this node's own, in memory; pause and suspension are agreed upon in
//! the database (docs/queue.md 13).
//!
//! A lane that stops gives its jobs back as they were: nothing is recorded, no attempt is burnt. It starts again by a
//! probe of one device.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::{LaneId, Reason};
use crate::provider::Fingerprint;
use crate::queue::intake::Intake;

/// First pause of a lane that stopped; it doubles with each probe that fails.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A rejected credential is tried again so often: it may have been the provider's mistake.
const SUSPENDED_PROBE: Duration = Duration::from_secs(60);

/// A change of ours is in the database, and every older reading of it over, after so long.
const SETTLED: Duration = Duration::from_secs(10);

/// Why a lane does, or does not, send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// It sends.
    Running,
    /// The provider asked for a pause, or is out of order.
    Waiting {
        /// Provider's word.
        why: Reason,
    },
    /// The credential was rejected.
    Suspended {
        /// Provider's word.
        why: Reason,
    },
    /// An admin stopped it.
    Paused,
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

/// One lane's gate.
#[derive(Debug)]
pub struct Gate {
    lane: LaneId,
    name: String,
    intake: Arc<Intake>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    fingerprint: Fingerprint,
    state: State,
    paused: bool,
    epoch: u64,
    /// When a lane that waits or is suspended sends its next probe.
    probe_at: Option<Instant>,
    /// The probe is out.
    probing: bool,
    pause: Duration,
    /// The database has been seen to say what `state` says of a suspension.
    agreed: bool,
    /// When this node last found the credential working.
    healthy_at: Option<Instant>,
}

impl Gate {
    /// Closed until the lane's standing has been read for the first time.
    pub(super) fn new(lane: LaneId, name: String, fingerprint: Fingerprint, intake: Arc<Intake>) -> Self {
        let inner = Inner {
            fingerprint,
            state: State::Paused,
            paused: true,
            epoch: 0,
            probe_at: None,
            probing: false,
            pause: FIRST_PAUSE,
            agreed: false,
            healthy_at: None,
        };
        Self { lane, name, intake, inner: Mutex::new(inner) }
    }

    /// The lane.
    pub fn lane(&self) -> LaneId {
        self.lane
    }

    /// The credential that this node holds.
    pub fn fingerprint(&self) -> Fingerprint {
        self.lock().fingerprint
    }

    /// Whether and why.
    pub fn state(&self) -> State {
        let inner = self.lock();
        if inner.paused { State::Paused } else { inner.state.clone() }
    }

    /// What may be done now.
    pub(super) fn phase(&self) -> (Phase, Epoch) {
        let inner = self.lock();
        (inner.phase(Instant::now()), Epoch(inner.epoch))
    }

    /// The one attempt of a probe goes out. False: somebody else's is under way.
    pub(super) fn start_probe(&self) -> bool {
        !std::mem::replace(&mut self.lock().probing, true)
    }

    /// The probe's attempt ended without an answer that says anything.
    pub(super) fn end_probe(&self) {
        self.lock().probing = false;
        self.wake();
    }

    /// The provider answered as one that works does.
    pub(super) fn healthy(&self, epoch: Epoch) -> bool {
        let mut inner = self.lock();
        if inner.epoch != epoch.0 || inner.state == State::Running {
            return false;
        }
        let was_suspended = matches!(inner.state, State::Suspended { .. });
        tracing::info!(lane = self.name, "lane {} runs again", self.name);
        inner.go(State::Running, None);
        inner.pause = FIRST_PAUSE;
        inner.healthy_at = Some(Instant::now());
        drop(inner);
        self.apply();
        was_suspended
    }

    /// The lane as a whole has to wait: for as long as the provider said, else for a growing pause.
    pub(super) fn wait(&self, epoch: Epoch, why: Reason, after: Option<Duration>) {
        let mut inner = self.lock();
        if inner.epoch != epoch.0 {
            return;
        }
        let pause = after.unwrap_or(inner.pause);
        inner.pause = (inner.pause * 2).min(LONGEST_PAUSE);
        tracing::warn!(
            lane = self.name,
            reason = why.as_str(),
            pause_ms = pause.as_millis(),
            "lane {} waits",
            self.name
        );
        inner.go(State::Waiting { why }, Some(Instant::now() + pause));
        drop(inner);
        self.apply();
    }

    /// The credential was rejected. Says whether that is news.
    pub(super) fn suspend(&self, epoch: Epoch, why: Reason) -> bool {
        let mut inner = self.lock();
        if inner.epoch != epoch.0 {
            return false;
        }
        let news = !matches!(inner.state, State::Suspended { .. });
        if news {
            tracing::error!(
                lane = self.name,
                reason = why.as_str(),
                "lane {} is suspended: the provider rejected its credential or configuration. Its jobs wait; nothing is \
                 failed and no token is pruned. Correct the credential, or wait for the next probe",
                self.name
            );
        }
        inner.go(State::Suspended { why }, Some(Instant::now() + SUSPENDED_PROBE));
        drop(inner);
        self.apply();
        news
    }

    /// Was the credential rejected?
    pub(super) fn is_suspended(&self) -> bool {
        matches!(self.lock().state, State::Suspended { .. })
    }

    /// There is another credential to try: a lane that is suspended does it at once.
    pub(super) fn candidate_ready(&self) {
        let mut inner = self.lock();
        if matches!(inner.state, State::Suspended { .. }) {
            inner.probe_at = Some(Instant::now());
            drop(inner);
            self.intake.hint_all();
        }
    }

    /// The provider took another credential, which is in use from now on: whatever stopped the lane is over.
    pub(super) fn credential_changed(&self, fingerprint: Fingerprint) {
        let mut inner = self.lock();
        inner.fingerprint = fingerprint;
        inner.go(State::Running, None);
        inner.pause = FIRST_PAUSE;
        inner.healthy_at = Some(Instant::now());
        drop(inner);
        self.apply();
    }

    /// What the database says: paused by an admin; suspended for this very credential by some node.
    pub(super) fn agree(&self, paused: bool, suspended: Option<Reason>) {
        let mut inner = self.lock();
        let first = inner.epoch == 0;
        let before = (inner.paused, inner.state.clone());
        inner.paused = paused;
        // Our own word may still be on its way to the database: it isn't taken back by an older reading.
        let stale = inner.healthy_at.is_some_and(|at| at.elapsed() < SETTLED);
        match (&inner.state, suspended) {
            (State::Suspended { .. }, None) if inner.agreed => inner.go(State::Running, None),
            (State::Suspended { .. }, None) => {}
            (State::Suspended { .. }, Some(_)) => inner.agreed = true,
            (_, Some(_)) if stale => {}
            (_, Some(why)) => {
                inner.go(State::Suspended { why }, Some(Instant::now() + SUSPENDED_PROBE));
                inner.agreed = true;
            }
            (State::Paused, None) => inner.go(State::Running, None),
            (_, None) => {}
        }
        let changed = first || before != (inner.paused, inner.state.clone());
        if changed {
            inner.epoch += 1;
        }
        let (paused, state) = (inner.paused, inner.state.clone());
        drop(inner);
        if changed {
            tracing::info!(lane = self.name, paused, ?state, "lane {} is as agreed", self.name);
            self.apply();
        }
    }

    fn apply(&self) {
        let open = self.phase().0 == Phase::Open;
        if open {
            self.intake.hint_all();
        }
        self.intake.set_open(open);
        self.wake();
    }

    fn wake(&self) {
        self.intake.nudge();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn go(&mut self, state: State, probe_at: Option<Instant>) {
        self.state = state;
        self.probe_at = probe_at;
        self.probing = false;
        self.agreed = false;
        self.epoch += 1;
    }

    fn phase(&self, now: Instant) -> Phase {
        if self.paused {
            return Phase::Closed(None);
        }
        match self.state {
            State::Running => Phase::Open,
            State::Paused => Phase::Closed(None),
            State::Waiting { .. } | State::Suspended { .. } => match self.probe_at {
                Some(at) if at <= now => Phase::Probe,
                at => Phase::Closed(at),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> (Gate, Arc<Intake>) {
        let intake = Arc::new(Intake::new(LaneId(1), 10));
        let gate = Gate::new(LaneId(1), "shop/fcm".to_owned(), Fingerprint([1; 32]), Arc::clone(&intake));
        (gate, intake)
    }

    fn word() -> Reason {
        Reason::new("InvalidProviderToken")
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_is_closed_until_its_standing_is_known() {
        let (gate, _) = gate();
        assert_eq!(gate.phase().0, Phase::Closed(None));
        gate.agree(false, None);
        assert_eq!(gate.phase().0, Phase::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_of_failures_at_once_costs_one_pause() {
        let (gate, _) = gate();
        gate.agree(false, None);
        let (_, epoch) = gate.phase();
        for _ in 0..1000 {
            gate.wait(epoch, word(), None);
        }
        tokio::time::advance(FIRST_PAUSE).await;
        assert_eq!(gate.phase().0, Phase::Probe);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_succeeds_opens_and_one_that_fails_waits_longer() {
        let (gate, _) = gate();
        gate.agree(false, None);
        gate.wait(gate.phase().1, word(), None);
        tokio::time::advance(FIRST_PAUSE).await;
        assert!(gate.start_probe());
        assert!(!gate.start_probe(), "a probe is one device");
        gate.wait(gate.phase().1, word(), None);
        tokio::time::advance(FIRST_PAUSE).await;
        assert!(matches!(gate.phase().0, Phase::Closed(Some(_))), "the pause has doubled");
        tokio::time::advance(FIRST_PAUSE).await;
        assert_eq!(gate.phase().0, Phase::Probe);
        gate.healthy(gate.phase().1);
        assert_eq!(gate.phase().0, Phase::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_from_before_the_suspension_does_not_end_it() {
        let (gate, _) = gate();
        gate.agree(false, None);
        let (_, before) = gate.phase();
        assert!(gate.suspend(before, word()));
        assert!(!gate.healthy(before));
        assert_eq!(gate.state(), State::Suspended { why: word() });
    }

    #[tokio::test(start_paused = true)]
    async fn a_suspension_that_others_agreed_upon_ends_with_the_first_reading_that_has_none() {
        let (gate, _) = gate();
        gate.agree(false, Some(word()));
        assert_eq!(gate.state(), State::Suspended { why: word() });
        gate.agree(false, None);
        assert_eq!(gate.phase().0, Phase::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn a_suspended_lane_tries_another_credential_at_once_and_runs_with_it() {
        let (gate, intake) = gate();
        gate.agree(false, None);
        gate.candidate_ready();
        assert_eq!(gate.phase().0, Phase::Open, "nothing to try it for");
        gate.suspend(gate.phase().1, word());
        assert!(matches!(gate.phase().0, Phase::Closed(Some(_))));
        gate.candidate_ready();
        let (phase, before) = gate.phase();
        assert_eq!(phase, Phase::Probe);
        assert!(intake.take_hint(crate::domain::Class::Direct, crate::domain::Priority::Normal));
        gate.credential_changed(Fingerprint([2; 32]));
        assert_eq!((gate.phase().0, gate.fingerprint()), (Phase::Open, Fingerprint([2; 32])));
        assert!(!gate.suspend(before, word()), "an answer to the old one says nothing about the new one");
        assert_eq!(gate.phase().0, Phase::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_by_an_admin_outlasts_everything_else() {
        let (gate, _) = gate();
        gate.agree(true, None);
        gate.healthy(gate.phase().1);
        assert_eq!(gate.phase().0, Phase::Closed(None));
        gate.agree(false, None);
        assert_eq!(gate.phase().0, Phase::Open);
    }
}
