//! How a lane's state and the database agree: what a reading changes, and since when a reading can show what this node
//! decided.

use tokio::time::Instant;

use super::{LaneHealth, Recovery, State, Stored};
use crate::dispatch::health::event::{Effects, Log, StoredSuspension, Wake};
use crate::dispatch::health::{SETTLE_TIME, SUSPENDED_PROBE_INTERVAL};

impl LaneHealth {
    /// What nodes and operators decided. A reading may be older than what this node has decided since.
    pub(super) fn on_remote_state(
        &mut self,
        paused: bool,
        suspension: StoredSuspension,
        now: Instant,
    ) -> Effects {
        let is_first = self.state == State::Unknown;
        let pause_changed = is_first || self.is_paused != paused;
        self.is_paused = paused;
        if is_first {
            self.state = State::Running;
        }
        let is_settled = |at: Instant| now.duration_since(at) >= SETTLE_TIME;
        let may_be_older = match self.recovery {
            Some(Recovery::Unstored) => true,
            Some(Recovery::KnownSince(at)) => !is_settled(at),
            None => false,
        };
        let next = match (&mut self.state, suspension) {
            (State::Suspended { stored, .. }, StoredSuspension::Empty) => match *stored {
                Stored::Since(at) if !is_settled(at) => None,
                Stored::Since(_) | Stored::Seen => Some(State::Running),
                Stored::No => None,
            },
            (State::Suspended { stored, .. }, StoredSuspension::OfThisCredential(_)) => {
                *stored = Stored::Seen;
                None
            }
            (_, StoredSuspension::OfThisCredential(reason)) if !may_be_older => {
                Some(State::suspended(reason, now + SUSPENDED_PROBE_INTERVAL, Stored::Seen))
            }
            _ => None,
        };
        if !pause_changed && next.is_none() {
            return Effects::default();
        }
        self.enter(next.unwrap_or_else(|| self.state.clone()), now);
        if pause_changed {
            self.since = now;
        }
        Effects { wake: Wake::ReadAdmission, log: Some(Log::RemoteState), ..Effects::default() }
    }

    pub(super) fn on_decision_stored(&mut self, now: Instant) -> Effects {
        if self.recovery == Some(Recovery::Unstored) {
            self.recovery = Some(Recovery::KnownSince(now));
        }
        match &mut self.state {
            State::Suspended { stored, .. } if *stored == Stored::No => *stored = Stored::Since(now),
            _ => {}
        }
        Effects::default()
    }
}
