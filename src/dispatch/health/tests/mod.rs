//! The state machine by table and by property, and the holder around it.

mod gate;
mod gate_events;
mod page;
mod probes;
mod properties;
mod table;

use std::time::Duration;

use chrono::DateTime;
use tokio::time::Instant;

use super::event::{Generation, LaneEvent, ProbeTarget, StoredSuspension};
use super::state::LaneHealth;
use super::{OUTAGE_FAILURES, TIMEOUT_SPAN_MIN};
use crate::domain::{DeviceId, LaneCause, NotificationId, Reason};

/// The provider's word in every event of these tests.
fn word() -> Reason {
    Reason::new("InvalidProviderToken")
}

fn target(device: i64) -> ProbeTarget {
    (NotificationId::floor(DateTime::UNIX_EPOCH), DeviceId(device))
}

fn server_error(generation: Generation, device: i64) -> LaneEvent {
    LaneEvent::ServerError { generation, target: target(device), reason: word(), retry_after: None }
}

fn must_wait(generation: Generation, cause: LaneCause, retry_after: Option<Duration>) -> LaneEvent {
    LaneEvent::MustWait { generation, cause, reason: word(), retry_after }
}

fn rejected(generation: Generation) -> LaneEvent {
    LaneEvent::CredentialRejected { generation, reason: word() }
}

fn remote(paused: bool, is_suspended: bool) -> LaneEvent {
    LaneEvent::RemoteState { paused, suspension: stored(is_suspended.then(word)) }
}

/// The row names the credential in use, with this reason, or none.
fn stored(suspended: Option<Reason>) -> StoredSuspension {
    suspended.map_or(StoredSuspension::Empty, StoredSuspension::OfThisCredential)
}

fn another_suspended() -> LaneEvent {
    LaneEvent::RemoteState { paused: false, suspension: StoredSuspension::OfAnotherCredential }
}

/// A lane that sends.
fn running(now: Instant) -> LaneHealth {
    let mut health = LaneHealth::new(now);
    health.on(remote(false, false), now);
    health
}

/// Time-outs that are too many and too far apart for one broken connection.
fn outage_of_time_outs(health: &mut LaneHealth, generation: Generation, now: Instant) -> Instant {
    for _ in 0..OUTAGE_FAILURES {
        health.on(LaneEvent::TimedOut(generation), now);
    }
    let later = now + TIMEOUT_SPAN_MIN;
    health.on(LaneEvent::TimedOut(generation), later);
    later
}
