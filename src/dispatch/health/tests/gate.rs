//! The state machine behind its lock: what stops a lane, what starts it again, and what the prefetcher learns.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::gate_events::{fail_once, meet_override, read, reject, succeed, time_out, wait};
use super::{target, word};
use crate::dispatch::health::suspension::SuspensionDecision;
use crate::dispatch::health::{
    Admission, Attribution, LaneEvent, LaneGate, OUTAGE_FAILURES, RETRY_AFTER_MAX, SUSPENDED_PROBE_INTERVAL,
    TIMEOUT_SPAN_MIN, WAIT_MIN,
};
use crate::domain::{LaneCause, LaneId, LaneState, PushpostReason, Reason};
use crate::provider::{Fingerprint, fcm};
use crate::queue::lane_intake::LaneIntake;

pub(super) fn gate() -> (LaneGate, Arc<LaneIntake>) {
    let intake = Arc::new(LaneIntake::new(LaneId(1), 10));
    let gate =
        LaneGate::new(LaneId(1), fcm::LANE, "shop/fcm".to_owned(), Fingerprint([1; 32]), Arc::clone(&intake));
    (gate, intake)
}

pub(super) fn seen(gate: &LaneGate) -> (LaneState, Option<Reason>) {
    let standing = gate.report();
    (standing.state, standing.why)
}

#[tokio::test(start_paused = true)]
async fn a_lane_admits_nothing_until_its_state_is_known() {
    let (gate, _) = gate();
    assert_eq!(gate.admission().0, Admission::Wait(None));
    assert_eq!(seen(&gate), (LaneState::Unknown, None));
    // Not even a new credential opens a lane that an operator may have paused.
    gate.credential_changed(Fingerprint([2; 32]));
    assert_eq!(gate.admission().0, Admission::Wait(None));
    assert!(!gate.accepts_environment_probes());
    read(&gate, false, None);
    assert_eq!(gate.admission().0, Admission::Send);
    assert_eq!(seen(&gate), (LaneState::Running, None));
}

#[tokio::test(start_paused = true)]
async fn many_failures_at_once_cost_one_pause() {
    let (gate, _) = gate();
    read(&gate, false, None);
    let (_, generation) = gate.admission();
    for _ in 0..1000 {
        wait(&gate, generation, word(), LaneCause::Outage, None);
    }
    tokio::time::advance(WAIT_MIN).await;
    assert_eq!(gate.admission().0, Admission::Probe);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_succeeds_opens_and_one_that_fails_waits_longer() {
    let (gate, _) = gate();
    read(&gate, false, None);
    wait(&gate, gate.admission().1, word(), LaneCause::Outage, None);
    tokio::time::advance(WAIT_MIN).await;
    wait(&gate, gate.admission().1, word(), LaneCause::Outage, None);
    tokio::time::advance(WAIT_MIN).await;
    assert!(matches!(gate.admission().0, Admission::Wait(Some(_))), "the pause has doubled");
    tokio::time::advance(WAIT_MIN).await;
    assert_eq!(gate.admission().0, Admission::Probe);
    succeed(&gate, gate.admission().1);
    assert_eq!(gate.admission().0, Admission::Send);
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_overrides_ends_an_outage_but_no_suspension() {
    let (gate, _) = gate();
    read(&gate, false, None);
    reject(&gate, gate.admission().1, word());
    tokio::time::advance(SUSPENDED_PROBE_INTERVAL).await;
    assert_eq!(gate.admission().0, Admission::Probe);
    meet_override(&gate, gate.admission().1);
    assert_eq!(seen(&gate), (LaneState::Suspended, Some(word())));
    assert!(matches!(gate.admission().0, Admission::Wait(Some(_))), "one probe a minute, whatever it meets");
    tokio::time::advance(SUSPENDED_PROBE_INTERVAL).await;
    succeed(&gate, gate.admission().1);
    assert_eq!(gate.admission().0, Admission::Send);

    wait(&gate, gate.admission().1, word(), LaneCause::Outage, None);
    tokio::time::advance(WAIT_MIN).await;
    meet_override(&gate, gate.admission().1);
    assert_eq!(gate.admission().0, Admission::Send);
}

#[tokio::test(start_paused = true)]
async fn an_answer_from_before_the_suspension_does_not_end_it() {
    let (gate, _) = gate();
    read(&gate, false, None);
    let (_, before) = gate.admission();
    assert!(reject(&gate, before, word()));
    assert!(!succeed(&gate, before));
    assert_eq!(seen(&gate), (LaneState::Suspended, Some(word())));
}

#[tokio::test(start_paused = true)]
async fn a_stored_suspension_ends_with_the_first_reading_that_has_none() {
    let (gate, _) = gate();
    read(&gate, false, Some(word()));
    assert_eq!(seen(&gate), (LaneState::Suspended, Some(word())));
    read(&gate, false, None);
    assert_eq!(gate.admission().0, Admission::Send);
}

#[tokio::test(start_paused = true)]
async fn a_pause_by_an_operator_outlasts_every_other_event() {
    let (gate, _) = gate();
    read(&gate, true, None);
    succeed(&gate, gate.admission().1);
    assert_eq!(gate.admission().0, Admission::Wait(None));
    read(&gate, false, None);
    assert_eq!(gate.admission().0, Admission::Send);
}

/// So many 5xx in a row, each for another device; what the last one is blamed on.
fn fail(gate: &LaneGate, times: u64) -> Attribution {
    let fail =
        |i: u64| fail_once(gate, gate.admission().1, target(i.cast_signed()), Reason::new("503"), None);
    (0..times).map(fail).last().expect("at least one")
}

#[tokio::test(start_paused = true)]
async fn ten_failures_in_a_row_are_an_outage_and_late_ones_cost_no_attempt() {
    let (gate, intake) = gate();
    read(&gate, false, None);
    let (_, before) = gate.admission();
    assert_eq!(fail(&gate, OUTAGE_FAILURES - 1), Attribution::Device);
    succeed(&gate, before);
    assert_eq!(
        fail(&gate, OUTAGE_FAILURES - 1),
        Attribution::Device,
        "a better answer between starts the count anew"
    );
    assert_eq!(fail(&gate, 1), Attribution::Lane);
    assert_eq!(seen(&gate), (LaneState::Broken, Some(Reason::new("503"))));
    assert!(intake.reserve(crate::domain::Priority::High, 1).is_none(), "nothing is handed over");
    let late = |generation| fail_once(&gate, generation, target(99), Reason::new("503"), None);
    assert_eq!(late(before), Attribution::Lane, "sent before the outage");
    succeed(&gate, gate.admission().1);
    assert_eq!(seen(&gate).0, LaneState::Running);
    assert_eq!(late(before), Attribution::Lane, "the outage is over, but that is what it met");
    let (_, after) = gate.admission();
    wait(&gate, after, word(), LaneCause::Throttled, None);
    succeed(&gate, gate.admission().1);
    assert_eq!(late(after), Attribution::Device, "no outage since it was sent");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_learns_that_the_lane_has_stopped_since_the_attempt_started() {
    let (gate, _) = gate();
    read(&gate, false, None);
    let (_, begun) = gate.admission();
    assert!(gate.is_current(begun));
    read(&gate, false, None);
    assert!(gate.is_current(begun), "nothing has changed");
    wait(&gate, begun, word(), LaneCause::Throttled, None);
    assert!(!gate.is_current(begun));
    tokio::time::advance(WAIT_MIN).await;
    let (admission, probe) = gate.admission();
    assert!(admission == Admission::Probe && gate.is_current(probe), "the probe is sent");
    read(&gate, true, None);
    assert!(!gate.is_current(probe), "an operator's pause stops that too");
}

#[tokio::test(start_paused = true)]
async fn a_failed_probe_costs_no_attempt_unless_it_is_the_same_device_again() {
    let (gate, _) = gate();
    read(&gate, false, None);
    fail(&gate, OUTAGE_FAILURES);
    let probe = |device| fail_once(&gate, gate.admission().1, target(device), Reason::new("500"), None);
    assert_eq!(probe(1), Attribution::Lane);
    assert_eq!(probe(1), Attribution::Device, "it may be the cause: another device is to be the next probe");
    assert_eq!(probe(2), Attribution::Lane);
}

#[tokio::test(start_paused = true)]
async fn time_outs_at_one_moment_are_no_outage_but_time_outs_over_a_second_are() {
    let (gate, _) = gate();
    read(&gate, false, None);
    let (_, generation) = gate.admission();
    (0..1000).for_each(|_| time_out(&gate, generation));
    assert_eq!(gate.admission().0, Admission::Send, "one connection broke");
    tokio::time::advance(TIMEOUT_SPAN_MIN).await;
    time_out(&gate, generation);
    assert_eq!(seen(&gate), (LaneState::Broken, Some(Reason::from(PushpostReason::NoAnswer))));
}

#[tokio::test(start_paused = true)]
async fn a_suspended_lane_stays_so_whatever_else_goes_wrong() {
    let (gate, _) = gate();
    read(&gate, false, None);
    reject(&gate, gate.admission().1, word());
    for fail in [
        |gate: &LaneGate| {
            fail_once(gate, gate.admission().1, target(1), Reason::new("503"), None);
        },
        |gate: &LaneGate| time_out(gate, gate.admission().1),
        |gate: &LaneGate| wait(gate, gate.admission().1, Reason::new("refused"), LaneCause::Outage, None),
    ] {
        fail(&gate);
        assert_eq!(seen(&gate), (LaneState::Suspended, Some(word())));
        assert!(
            matches!(gate.admission().0, Admission::Wait(Some(at)) if at >= Instant::now() + SUSPENDED_PROBE_INTERVAL)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_operator_s_retry_makes_the_probe_due_at_once() {
    let (gate, _) = gate();
    read(&gate, false, None);
    wait(&gate, gate.admission().1, word(), LaneCause::Throttled, Some(Duration::from_secs(600)));
    gate.on(LaneEvent::RetryNow);
    assert_eq!(gate.admission().0, Admission::Probe);
}

#[tokio::test(start_paused = true)]
async fn of_many_attempts_told_to_wait_the_latest_moment_holds() {
    let (gate, _) = gate();
    read(&gate, false, None);
    let (_, generation) = gate.admission();
    let told = |seconds| {
        wait(&gate, generation, word(), LaneCause::Throttled, Some(Duration::from_secs(seconds)));
    };
    told(6);
    tokio::time::advance(Duration::from_secs(3)).await;
    told(6);
    told(1);
    let until = Instant::now() + Duration::from_secs(6);
    assert_eq!(gate.admission().0, Admission::Wait(Some(until)));
    tokio::time::advance(Duration::from_secs(6)).await;
    let (admission, probe) = gate.admission();
    assert_eq!(admission, Admission::Probe);
    succeed(&gate, probe);
    told(6);
    assert_eq!(
        gate.admission().0,
        Admission::Send,
        "the lane sends again, and an old answer does not stop it"
    );
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_asks_for_a_day_is_tried_within_the_hour() {
    let (gate, _) = gate();
    read(&gate, false, None);
    wait(&gate, gate.admission().1, word(), LaneCause::Throttled, Some(Duration::from_secs(86_400)));
    tokio::time::advance(RETRY_AFTER_MAX).await;
    assert_eq!(gate.admission().0, Admission::Probe);
}

#[tokio::test(start_paused = true)]
async fn the_report_has_what_the_provider_last_said_about_the_credential() {
    let (gate, _) = gate();
    read(&gate, false, None);
    let ok = |gate: &LaneGate| gate.report().credential.map(|(ok, _)| ok);
    assert_eq!(ok(&gate), None);
    tokio::time::advance(Duration::from_secs(1)).await;
    succeed(&gate, gate.admission().1);
    assert_eq!(ok(&gate), Some(true));
    tokio::time::advance(Duration::from_secs(1)).await;
    reject(&gate, gate.admission().1, word());
    assert_eq!(ok(&gate), Some(false));
}

#[tokio::test(start_paused = true)]
async fn a_suspended_lane_tries_another_credential_at_once_and_runs_with_it() {
    let (gate, intake) = gate();
    read(&gate, false, None);
    gate.candidate_ready();
    assert_eq!(gate.admission().0, Admission::Send, "nothing to try it for");
    reject(&gate, gate.admission().1, word());
    assert!(matches!(gate.admission().0, Admission::Wait(Some(_))));
    gate.candidate_ready();
    let (admission, before) = gate.admission();
    assert_eq!(admission, Admission::Probe);
    let (class, priority) = (crate::domain::Class::Direct, crate::domain::Priority::Normal);
    assert!(intake.begin_claim(class, priority, true).is_some());
    gate.credential_changed(Fingerprint([2; 32]));
    assert_eq!((gate.admission().0, gate.fingerprint()), (Admission::Send, Fingerprint([2; 32])));
    assert!(!reject(&gate, before, word()), "an answer to the old one says nothing about the new one");
    assert_eq!(gate.admission().0, Admission::Send);
}

#[tokio::test(start_paused = true)]
async fn the_latest_decision_about_a_credential_is_stored() {
    let (gate, _) = gate();
    read(&gate, false, None);
    let (fingerprint, other) = (gate.fingerprint(), Fingerprint([2; 32]));
    assert_eq!(gate.take_unstored(), None);
    gate.on(LaneEvent::CredentialRejected { generation: gate.admission().1, reason: word() });
    let rejected = SuspensionDecision { fingerprint, rejected: Some(word()) };
    assert_eq!(gate.take_unstored(), Some(rejected));
    assert_eq!(gate.take_unstored(), None, "the caller stores it");
    gate.put_back_unstored(fingerprint);
    tokio::time::advance(SUSPENDED_PROBE_INTERVAL).await;
    gate.on(LaneEvent::Succeeded(gate.admission().1));
    let accepted = |fingerprint| SuspensionDecision { fingerprint, rejected: None };
    assert_eq!(gate.take_unstored(), Some(accepted(fingerprint)), "the rejection was not stored in time");
    assert_eq!(gate.take_unstored(), None);

    gate.on(LaneEvent::CredentialRejected { generation: gate.admission().1, reason: word() });
    gate.credential_changed(other);
    let decisions: Vec<_> = std::iter::from_fn(|| gate.take_unstored()).collect();
    assert_eq!(decisions.len(), 2);
    assert!([fingerprint, other].into_iter().all(|one| decisions.contains(&accepted(one))));
}

#[tokio::test(start_paused = true)]
async fn the_task_that_stores_suspensions_is_woken_by_decisions_alone() {
    let (gate, _) = gate();
    let is_woken = || gate.suspension_decided().now_or_never().is_some();
    read(&gate, false, None);
    gate.on(LaneEvent::Succeeded(gate.admission().1));
    assert!(!is_woken());
    gate.on(LaneEvent::CredentialRejected { generation: gate.admission().1, reason: word() });
    assert!(is_woken());
    gate.put_back_unstored(gate.fingerprint());
    assert!(!is_woken(), "the task waits by itself before it tries again");
}
