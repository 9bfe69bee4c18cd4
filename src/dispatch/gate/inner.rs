//! What a gate remembers.

use std::time::Duration;

use tokio::time::Instant;

use super::{FIRST_PAUSE, Phase, Standing};
use crate::domain::{DeviceId, LaneState, NotificationId, Reason};
use crate::provider::Fingerprint;

#[derive(Debug)]
pub(super) struct Inner {
    /// Of the credential in use.
    pub(super) fingerprint: Fingerprint,
    /// Neither `Unknown` nor `Paused`: both are said by `paused`.
    pub(super) state: LaneState,
    pub(super) why: Option<Reason>,
    pub(super) since: Instant,
    /// Whether an admin has the lane paused; none: its standing has not been read yet, and nothing is attempted.
    pub(super) paused: Option<bool>,
    pub(super) epoch: u64,
    /// What began in this epoch or before may have met an outage.
    pub(super) outage: Option<u64>,
    /// When a lane that waits or is suspended sends its next probe.
    pub(super) probe_at: Option<Instant>,
    /// Whom the last probe that failed was for.
    pub(super) last_probe: Option<(NotificationId, DeviceId)>,
    pub(super) pause: Duration,
    /// The database has been seen to say what `state` says of a suspension.
    pub(super) agreed: bool,
    /// When this node last ended a stop of its own finding.
    pub(super) healthy_at: Option<Instant>,
    /// When the present run of failures began.
    pub(super) failing_since: Option<Instant>,
    /// When the provider last rejected the credential.
    pub(super) refused_at: Option<Instant>,
}

impl Inner {
    pub(super) fn new(fingerprint: Fingerprint) -> Self {
        Self {
            fingerprint,
            state: LaneState::Running,
            why: None,
            since: Instant::now(),
            paused: None,
            epoch: 0,
            outage: None,
            probe_at: None,
            last_probe: None,
            pause: FIRST_PAUSE,
            agreed: false,
            healthy_at: None,
            failing_since: None,
            refused_at: None,
        }
    }

    pub(super) fn go(&mut self, state: LaneState, why: Option<Reason>, probe_at: Option<Instant>) {
        if self.state != state {
            self.since = Instant::now();
        }
        if state == LaneState::Running {
            self.last_probe = None;
        }
        self.state = state;
        self.why = why;
        self.probe_at = probe_at;
        self.agreed = false;
        self.epoch += 1;
    }

    pub(super) fn phase(&self, now: Instant) -> Phase {
        if self.paused != Some(false) {
            return Phase::Closed(None);
        }
        match self.state {
            LaneState::Running => Phase::Open,
            LaneState::Unknown | LaneState::Paused => Phase::Closed(None),
            LaneState::Throttled | LaneState::Broken | LaneState::Suspended => match self.probe_at {
                Some(at) if at <= now => Phase::Probe,
                at => Phase::Closed(at),
            },
        }
    }

    /// `taken`: when the provider last took the credential.
    pub(super) fn standing(&self, taken: Option<Instant>) -> Standing {
        let (state, why) = match self.paused {
            None => (LaneState::Unknown, None),
            Some(true) => (LaneState::Paused, None),
            Some(false) => (self.state, self.why.clone()),
        };
        let credential = match (taken, self.refused_at) {
            (Some(taken), Some(refused)) if refused > taken => Some((false, refused)),
            (None, Some(refused)) => Some((false, refused)),
            (taken, _) => taken.map(|at| (true, at)),
        };
        Standing { state, why, since: self.since, credential }
    }
}
