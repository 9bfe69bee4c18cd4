//! What happens to a lane, told to its gate in few words.

use std::time::Duration;

use super::stored;
use crate::dispatch::health::{Attribution, Generation, LaneEvent, LaneGate, ProbeTarget};
use crate::domain::{LaneCause, Reason};

/// What the database says about the lane.
pub(super) fn read(gate: &LaneGate, paused: bool, suspended: Option<Reason>) {
    gate.on(LaneEvent::RemoteState { paused, suspension: stored(suspended) });
}

/// Says whether something has to be stored afterwards.
pub(super) fn succeed(gate: &LaneGate, generation: Generation) -> bool {
    has_to_store(gate, LaneEvent::Succeeded(generation))
}

/// Says whether something has to be stored afterwards.
pub(super) fn reject(gate: &LaneGate, generation: Generation, reason: Reason) -> bool {
    has_to_store(gate, LaneEvent::CredentialRejected { generation, reason })
}

fn has_to_store(gate: &LaneGate, event: LaneEvent) -> bool {
    while gate.take_unstored().is_some() {}
    gate.on(event);
    gate.take_unstored().is_some()
}

/// The provider answers about a header that the request itself overrode.
pub(super) fn meet_override(gate: &LaneGate, generation: Generation) {
    gate.on(LaneEvent::Inconclusive(generation));
}

pub(super) fn wait(
    gate: &LaneGate,
    generation: Generation,
    reason: Reason,
    cause: LaneCause,
    retry_after: Option<Duration>,
) {
    gate.on(LaneEvent::MustWait { generation, cause, reason, retry_after });
}

pub(super) fn fail_once(
    gate: &LaneGate,
    generation: Generation,
    target: ProbeTarget,
    reason: Reason,
    retry_after: Option<Duration>,
) -> Attribution {
    gate.on(LaneEvent::ServerError { generation, target, reason, retry_after })
}

pub(super) fn time_out(gate: &LaneGate, generation: Generation) {
    gate.on(LaneEvent::TimedOut(generation));
}
