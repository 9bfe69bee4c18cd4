//! The lane's state machine. Pure: every moment comes in as an argument, and what follows goes out as
//! [`Effects`](super::event::Effects). Here are the states and what can be asked of them; `transitions` and `remote` move
//! between them.

mod remote;
mod transitions;

use std::time::Duration;

use tokio::time::Instant;

use super::WAIT_MIN;
use super::event::{Admission, Generation, ProbeTarget};
use crate::domain::{LaneState, Reason};

/// Why a lane sends, or does not. An operator's pause is kept beside it: a lane that is broken when an operator pauses it
/// is still broken when the pause ends.
#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    /// The database has not been read yet. The lane may be paused or suspended, so nothing starts.
    Unknown,
    Running,
    /// The provider asked the lane to wait.
    Throttled(Stop),
    /// The provider, or the way to it, is out of order: the circuit breaker is open.
    Broken(Stop),
    /// The provider rejected the credential or the topic.
    Suspended {
        stop: Stop,
        stored: Stored,
    },
}

/// What a lane that has stopped waits for: one probe.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Stop {
    reason: Reason,
    probe_at: Instant,
    /// The generation in which the probe under way started. While it is under way no other probe is admitted.
    probing: Option<Generation>,
}

/// Since when the database can know that this node found the lane to send again. An older reading does not take that
/// back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Recovery {
    /// It is not stored yet that the suspension is over.
    Unstored,
    /// For `SETTLE_TIME` from then on a reading may be older.
    KnownSince(Instant),
}

/// Whether the database has this node's suspension. If it has, the absence of a suspension there means that it is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stored {
    /// Not yet, or not since the last rejection.
    No,
    /// The database took it then. For `SETTLE_TIME` from then on a reading may be older.
    Since(Instant),
    /// The database has been seen to have it.
    Seen,
}

/// Failures without a better answer between them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct FailureRun {
    count: u64,
    first_at: Instant,
}

/// One lane's state, as this node sees it.
#[derive(Clone, Debug)]
pub(super) struct LaneHealth {
    state: State,
    is_paused: bool,
    generation: Generation,
    /// When `state` or `is_paused` last became another one.
    since: Instant,
    failures: Option<FailureRun>,
    /// Attempts that started in this generation or before may have met an outage.
    outage_in: Option<Generation>,
    last_failed_probe: Option<ProbeTarget>,
    /// How long the next stop lasts, unless the provider asks for a time.
    next_wait: Duration,
    /// None: this node has not found yet that the lane sends again.
    recovery: Option<Recovery>,
    /// When the provider last rejected the credential in use.
    rejected_at: Option<Instant>,
}

impl LaneHealth {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: State::Unknown,
            is_paused: false,
            generation: Generation::FIRST,
            since: now,
            failures: None,
            outage_in: None,
            last_failed_probe: None,
            next_wait: WAIT_MIN,
            recovery: None,
            rejected_at: None,
        }
    }

    pub(super) fn generation(&self) -> Generation {
        self.generation
    }

    pub(super) fn admission(&self, now: Instant) -> Admission {
        match &self.state {
            _ if self.is_paused => Admission::Wait(None),
            State::Unknown => Admission::Wait(None),
            State::Running => Admission::Send,
            State::Throttled(stop) | State::Broken(stop) | State::Suspended { stop, .. } => match stop {
                Stop { probing: Some(_), .. } => Admission::Wait(None),
                Stop { probe_at, .. } if *probe_at <= now => Admission::Probe,
                Stop { probe_at, .. } => Admission::Wait(Some(*probe_at)),
            },
        }
    }

    /// May tokens of the other APNs environment be tried here? Such an attempt is a fair probe of a lane that waits, but
    /// not of a credential.
    pub(super) fn accepts_environment_probes(&self, now: Instant) -> bool {
        match &self.state {
            _ if self.is_paused => false,
            State::Unknown | State::Suspended { .. } => false,
            State::Running => true,
            State::Throttled(stop) | State::Broken(stop) => stop.probe_at <= now,
        }
    }

    /// Is a run of failures under way, which the next success ends?
    pub(super) fn has_failures(&self) -> bool {
        self.failures.is_some()
    }

    pub(super) fn is_suspended(&self) -> bool {
        matches!(self.state, State::Suspended { .. })
    }

    pub(super) fn last_failed_probe(&self) -> Option<ProbeTarget> {
        self.last_failed_probe
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }

    pub(super) fn rejected_at(&self) -> Option<Instant> {
        self.rejected_at
    }

    /// The state without the operator's pause, and why.
    pub(super) fn state(&self) -> (LaneState, Option<&Reason>) {
        match &self.state {
            State::Unknown => (LaneState::Unknown, None),
            State::Running => (LaneState::Running, None),
            State::Throttled(stop) => (LaneState::Throttled, Some(&stop.reason)),
            State::Broken(stop) => (LaneState::Broken, Some(&stop.reason)),
            State::Suspended { stop, .. } => (LaneState::Suspended, Some(&stop.reason)),
        }
    }

    pub(super) fn is_paused(&self) -> bool {
        self.is_paused
    }
}

impl State {
    fn suspended(reason: Reason, probe_at: Instant, stored: Stored) -> Self {
        Self::Suspended { stop: Stop::until(probe_at, reason), stored }
    }

    fn stop_mut(&mut self) -> Option<&mut Stop> {
        match self {
            Self::Unknown | Self::Running => None,
            Self::Throttled(stop) | Self::Broken(stop) | Self::Suspended { stop, .. } => Some(stop),
        }
    }
}

impl Stop {
    fn until(probe_at: Instant, reason: Reason) -> Self {
        Self { reason, probe_at, probing: None }
    }
}
