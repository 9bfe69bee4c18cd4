//! Every event in every state: the state after it, and what the lane may do then.

use std::time::Duration;

use tokio::time::Instant;

use super::{another_suspended, must_wait, outage_of_time_outs, rejected, remote, running, server_error};
use crate::dispatch::health::event::{Admission, Attribution, Generation, LaneEvent, Persist};
use crate::dispatch::health::state::LaneHealth;
use crate::dispatch::health::{OUTAGE_FAILURES, RETRY_AFTER_MAX};
use crate::domain::{LaneCause, LaneState};

/// The states. Of the three kinds of stop only a broken lane is shown with its probe under way; the others do the same.
pub(super) const STATES: [&str; 7] =
    ["unknown", "running", "throttled", "broken", "broken (probing)", "suspended", "suspended (stored)"];

/// What each event makes of each state, in the order of [`STATES`]: the state after it, and in brackets the admission
/// unless it is the usual one. `running` sends and every other state waits. `-`: state, admission and generation stay.
pub(super) const TABLE: &[(&str, [&str; 7])] = &[
    ("`Succeeded`", ["-", "-", "running", "running", "running", "running", "running"]),
    ("`Inconclusive`", ["-", "-", "running", "running", "running", "-", "-"]),
    ("`ServerError`, once", ["-", "-", "broken", "broken", "broken", "suspended", "suspended"]),
    ("`ServerError`, 10 in a row", ["-", "broken", "broken", "broken", "broken", "suspended", "suspended"]),
    ("`TimedOut`, once", ["-", "-", "broken", "broken", "broken", "suspended", "suspended"]),
    (
        "`TimedOut`, 10 in a row over 1 s or more",
        ["-", "broken", "broken", "broken", "broken", "suspended", "suspended"],
    ),
    (
        "`MustWait`, throttled",
        ["-", "throttled", "throttled", "throttled", "throttled", "suspended", "suspended"],
    ),
    ("`MustWait`, outage", ["-", "broken", "broken", "broken", "broken", "suspended", "suspended"]),
    (
        "`CredentialRejected`",
        ["-", "suspended", "suspended", "suspended", "suspended", "suspended", "suspended"],
    ),
    ("`Reached`, before the probe is due", ["-", "-", "-", "-", "-", "-", "-"]),
    ("`Reached`, once due", ["-", "-", "running", "running", "-", "suspended (probe)", "suspended (probe)"]),
    ("any of these, of an earlier generation", ["-", "-", "-", "-", "-", "-", "-"]),
    ("`CredentialChanged`", ["unknown", "running", "running", "running", "running", "running", "running"]),
    ("`RemoteState`, no suspension", ["running", "-", "-", "-", "-", "-", "running"]),
    ("`RemoteState`, suspended", ["suspended", "suspended", "suspended", "suspended", "suspended", "-", "-"]),
    ("`RemoteState`, another credential suspended", ["running", "-", "-", "-", "-", "-", "-"]),
    ("`DecisionStored`", ["-", "-", "-", "-", "-", "-", "-"]),
    (
        "`RetryNow`",
        ["-", "-", "throttled (probe)", "broken (probe)", "-", "suspended (probe)", "suspended (probe)"],
    ),
    (
        "an hour passes",
        ["-", "-", "throttled (probe)", "broken (probe)", "-", "suspended (probe)", "suspended (probe)"],
    ),
    (
        "`ProbeStarted`, once due",
        [
            "-",
            "-",
            "throttled (probing)",
            "broken (probing)",
            "-",
            "suspended (probing)",
            "suspended (probing)",
        ],
    ),
    ("`ProbeEnded`", ["-", "-", "-", "-", "broken (probe)", "-", "-"]),
];

/// A lane in one of [`STATES`], which it reached just now.
pub(super) fn lane_in(state: &str, now: Instant) -> LaneHealth {
    let mut lane = running(now);
    let generation = lane.generation();
    match state {
        "unknown" => return LaneHealth::new(now),
        "running" => {}
        "throttled" => {
            lane.on(must_wait(generation, LaneCause::Throttled, None), now);
        }
        "broken" => {
            lane.on(must_wait(generation, LaneCause::Outage, None), now);
        }
        "broken (probing)" => {
            lane.on(must_wait(generation, LaneCause::Outage, Some(Duration::ZERO)), now);
            let probe = lane.on(LaneEvent::ProbeStarted(lane.generation()), now);
            assert!(probe.probe_granted);
        }
        "suspended" => {
            lane.on(rejected(generation), now);
        }
        "suspended (stored)" => {
            lane.on(remote(false, true), now);
        }
        other => panic!("{other} is no state"),
    }
    lane
}

/// Every event that an attempt causes, or a check without a device.
fn of_attempt(generation: Generation) -> Vec<LaneEvent> {
    vec![
        LaneEvent::Succeeded(generation),
        LaneEvent::Inconclusive(generation),
        LaneEvent::Reached(generation),
        server_error(generation, 1),
        LaneEvent::TimedOut(generation),
        must_wait(generation, LaneCause::Throttled, None),
        must_wait(generation, LaneCause::Outage, None),
        rejected(generation),
    ]
}

/// Lets the event of a row happen. Returns when it is over.
fn happen(lane: &mut LaneHealth, row: &str, now: Instant) -> Instant {
    let generation = lane.generation();
    let mut on = |event| {
        lane.on(event, now);
    };
    match row {
        "`Succeeded`" => on(LaneEvent::Succeeded(generation)),
        "`Inconclusive`" => on(LaneEvent::Inconclusive(generation)),
        "`ServerError`, once" => on(server_error(generation, 1)),
        "`ServerError`, 10 in a row" => (0..10).for_each(|device| on(server_error(generation, device))),
        "`TimedOut`, once" => on(LaneEvent::TimedOut(generation)),
        "`TimedOut`, 10 in a row over 1 s or more" => return outage_of_time_outs(lane, generation, now),
        "`MustWait`, throttled" => on(must_wait(generation, LaneCause::Throttled, None)),
        "`MustWait`, outage" => on(must_wait(generation, LaneCause::Outage, None)),
        "`CredentialRejected`" => on(rejected(generation)),
        "`Reached`, before the probe is due" => on(LaneEvent::Reached(generation)),
        "`Reached`, once due" => {
            let due = now + RETRY_AFTER_MAX;
            lane.on(LaneEvent::Reached(generation), due);
            return due;
        }
        "any of these, of an earlier generation" => {
            let earlier = Generation(generation.0.wrapping_sub(1));
            of_attempt(earlier).into_iter().for_each(on);
        }
        "`CredentialChanged`" => on(LaneEvent::CredentialChanged),
        "`RemoteState`, no suspension" => on(remote(false, false)),
        "`RemoteState`, suspended" => on(remote(false, true)),
        "`RemoteState`, another credential suspended" => on(another_suspended()),
        "`DecisionStored`" => on(LaneEvent::DecisionStored),
        "`RetryNow`" => on(LaneEvent::RetryNow),
        "an hour passes" => return now + RETRY_AFTER_MAX,
        "`ProbeStarted`, once due" => {
            let due = now + RETRY_AFTER_MAX;
            lane.on(LaneEvent::ProbeStarted(generation), due);
            return due;
        }
        "`ProbeEnded`" => on(LaneEvent::ProbeEnded(generation)),
        other => panic!("{other} is no row"),
    }
    now
}

/// The state in a word, with the admission unless it is the usual one.
fn shown(lane: &LaneHealth, now: Instant) -> String {
    let (state, _) = lane.state();
    match (state, lane.admission(now)) {
        (LaneState::Running, Admission::Send) => state.to_string(),
        (LaneState::Running, _) | (_, Admission::Send) => format!("{state} ({:?})", lane.admission(now)),
        (_, Admission::Probe) => format!("{state} (probe)"),
        (LaneState::Unknown, _) | (_, Admission::Wait(Some(_))) => state.to_string(),
        (_, Admission::Wait(None)) => format!("{state} (probing)"),
    }
}

#[test]
fn every_event_in_every_state_does_what_the_table_says() {
    let now = Instant::now();
    let mut wrong = Vec::new();
    for (row, cells) in TABLE {
        for (state, expected) in STATES.iter().zip(cells) {
            let mut lane = lane_in(state, now);
            let (before, generation) = (shown(&lane, now), lane.generation());
            let end = happen(&mut lane, row, now);
            let after = shown(&lane, end);
            let is_still = after == before && lane.generation() == generation;
            let actual = if is_still { "-" } else { after.as_str() };
            if actual != *expected {
                wrong.push(format!("{row} in {state}: {actual}, not {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_paused_lane_admits_nothing_and_keeps_its_state_beneath() {
    let now = Instant::now();
    for (row, _) in TABLE.iter().filter(|(row, _)| !row.contains("RemoteState")) {
        for state in STATES.iter().filter(|state| **state != "unknown") {
            let (mut paused, mut other) = (lane_in(state, now), lane_in(state, now));
            let stored = *state == "suspended (stored)";
            paused.on(remote(true, stored), now);
            other.on(remote(false, stored), now);
            let end = happen(&mut paused, row, now);
            happen(&mut other, row, now);
            assert_eq!(paused.admission(end), Admission::Wait(None), "{row} in {state}");
            assert_eq!(paused.state(), other.state(), "{row} in {state}");
        }
    }
}

#[test]
fn what_other_nodes_have_to_learn_is_each_rejection_and_the_end_of_a_suspension() {
    let now = Instant::now();
    for state in STATES {
        for event in of_attempt(lane_in(state, now).generation()) {
            let mut lane = lane_in(state, now);
            let expected = match (&event, state) {
                (LaneEvent::CredentialRejected { .. }, state) if state != "unknown" => {
                    Some(Persist::Suspension)
                }
                (LaneEvent::Succeeded(_), "suspended" | "suspended (stored)") => Some(Persist::Recovery),
                _ => None,
            };
            assert_eq!(lane.on(event.clone(), now).persist, expected, "{event:?} in {state}");
        }
    }
}

#[test]
fn a_server_error_counts_for_the_lane_once_the_lane_has_stopped() {
    let now = Instant::now();
    for state in STATES {
        let mut lane = lane_in(state, now);
        let expected =
            if matches!(state, "unknown" | "running") { Attribution::Device } else { Attribution::Lane };
        let effects = lane.on(server_error(lane.generation(), 1), now);
        assert_eq!(effects.attribution, expected, "{state}");
    }
    let mut lane = running(now);
    let counts = |lane: &mut LaneHealth| lane.on(server_error(lane.generation(), 1), now).attribution;
    let counted: Vec<_> = (0..OUTAGE_FAILURES).map(|_| counts(&mut lane)).collect();
    let late = usize::try_from(OUTAGE_FAILURES).expect("a small number") - 1;
    assert!(counted[..late].iter().all(|one| *one == Attribution::Device), "{counted:?}");
    assert_eq!(counted[late], Attribution::Lane);
}
