//! Probes, and how a suspension is agreed upon with the database.

use std::time::Duration;

use tokio::time::Instant;

use super::gate::{gate, seen};
use super::gate_events::{fail_once, meet_override, read, reject, succeed, wait};
use super::{another_suspended, target, word};
use crate::dispatch::health::{
    Admission, Attribution, LaneEvent, LaneGate, SETTLE_TIME, SUSPENDED_PROBE_INTERVAL, WAIT_MIN,
};
use crate::domain::{LaneCause, LaneState, Reason};

#[tokio::test(start_paused = true)]
async fn a_second_probe_has_to_wait_for_the_end_of_the_first() {
    let (gate, _) = gate();
    read(&gate, false, None);
    let (_, before) = gate.admission();
    wait(&gate, before, word(), LaneCause::Outage, None);
    assert!(gate.begin_probe(gate.admission().1).is_none(), "the probe is not due yet");
    tokio::time::advance(WAIT_MIN).await;
    assert!(gate.begin_probe(before).is_none(), "the lane sent in that generation");
    let (admission, generation) = gate.admission();
    assert_eq!(admission, Admission::Probe);
    let probe = gate.begin_probe(generation).expect("the first probe");
    assert_eq!(gate.admission(), (Admission::Wait(None), generation));
    assert!(gate.begin_probe(generation).is_none());
    assert!(gate.is_current(generation), "the probe itself is sent");
    assert!(gate.accepts_environment_probes(), "the lane could send");
    drop(probe);
    assert_eq!(
        gate.admission().0,
        Admission::Probe,
        "a probe that ends without an answer leaves the next one due"
    );
    let probe = gate.begin_probe(generation).expect("the next probe");
    wait(&gate, generation, word(), LaneCause::Outage, None);
    drop(probe);
    assert!(
        matches!(gate.admission().0, Admission::Wait(Some(_))),
        "the answer to the probe holds after its end"
    );
}

#[tokio::test(start_paused = true)]
async fn an_inconclusive_answer_to_a_probe_admits_no_other_probe_before_the_first_has_ended() {
    let (gate, _) = gate();
    read(&gate, false, None);
    reject(&gate, gate.admission().1, word());
    tokio::time::advance(SUSPENDED_PROBE_INTERVAL).await;
    let (_, generation) = gate.admission();
    let probe = gate.begin_probe(generation).expect("the probe is due");
    meet_override(&gate, generation);
    tokio::time::advance(SUSPENDED_PROBE_INTERVAL).await;
    assert!(gate.begin_probe(generation).is_none());
    drop(probe);
    assert!(gate.begin_probe(generation).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_recovery_is_not_taken_back_by_an_older_reading_of_the_database() {
    let (gate, _) = gate();
    read(&gate, false, None);
    reject(&gate, gate.admission().1, word());
    read(&gate, false, Some(word()));
    assert!(succeed(&gate, gate.admission().1));
    read(&gate, false, Some(word()));
    assert_eq!(gate.admission().0, Admission::Send, "the reading may be from before the recovery");
    tokio::time::advance(SETTLE_TIME * 10).await;
    read(&gate, false, Some(word()));
    assert_eq!(gate.admission().0, Admission::Send, "the recovery could not be stored yet");
    gate.put_back_unstored(gate.fingerprint());
    gate.mark_stored(gate.fingerprint());
    read(&gate, false, Some(word()));
    assert_eq!(gate.admission().0, Admission::Send, "there is a later decision, which is not stored yet");
    assert!(gate.take_unstored().is_some());
    gate.mark_stored(gate.fingerprint());
    read(&gate, false, Some(word()));
    assert_eq!(gate.admission().0, Admission::Send, "the reading may be from before it was stored");
    tokio::time::advance(SETTLE_TIME).await;
    read(&gate, false, Some(word()));
    assert_eq!(seen(&gate), (LaneState::Suspended, Some(word())), "another node was rejected since");
}

#[tokio::test(start_paused = true)]
async fn a_failed_probe_of_a_suspended_lane_outweighs_an_older_reading_of_the_database() {
    let (gate, _) = gate();
    read(&gate, false, Some(word()));
    reject(&gate, gate.admission().1, word());
    read(&gate, false, None);
    assert_eq!(seen(&gate).0, LaneState::Suspended, "the database may not have this node's rejection yet");
    read(&gate, false, Some(word()));
    read(&gate, false, None);
    assert_eq!(gate.admission().0, Admission::Send);
}

#[tokio::test(start_paused = true)]
async fn a_rejection_after_an_operator_s_resume_is_stored_again() {
    let (gate, _) = gate();
    read(&gate, false, None);
    assert!(reject(&gate, gate.admission().1, word()));
    // Before the next reading an operator resumes the lane: the row is empty, and never named the credential.
    read(&gate, false, None);
    gate.on(LaneEvent::RetryNow);
    assert!(reject(&gate, gate.admission().1, word()), "the row is empty");
    assert_eq!(seen(&gate).0, LaneState::Suspended);
}

#[tokio::test(start_paused = true)]
async fn a_stored_suspension_that_no_reading_has_shown_ends_once_no_reading_can_be_older() {
    let (gate, _) = gate();
    read(&gate, false, None);
    assert!(reject(&gate, gate.admission().1, word()));
    gate.mark_stored(gate.fingerprint());
    read(&gate, false, None);
    assert_eq!(seen(&gate).0, LaneState::Suspended, "the reading may be from before it was stored");
    tokio::time::advance(SETTLE_TIME).await;
    read(&gate, false, None);
    assert_eq!(gate.admission().0, Admission::Send, "an operator resumed the lane");
}

#[tokio::test(start_paused = true)]
async fn an_outage_met_by_a_probe_keeps_what_is_known_about_the_database() {
    let (gate, _) = gate();
    read(&gate, false, Some(word()));
    tokio::time::advance(SUSPENDED_PROBE_INTERVAL).await;
    wait(&gate, gate.admission().1, Reason::new("503"), LaneCause::Outage, None);
    assert_eq!(seen(&gate).0, LaneState::Suspended);
    read(&gate, false, None);
    assert_eq!(gate.admission().0, Admission::Send, "an operator resumed the lane");
}

#[tokio::test(start_paused = true)]
async fn another_rejected_credential_in_the_row_ends_no_suspension() {
    let (gate, _) = gate();
    read(&gate, false, Some(word()));
    gate.on(another_suspended());
    assert_eq!(
        seen(&gate),
        (LaneState::Suspended, Some(word())),
        "another node has another rejected credential"
    );
    read(&gate, false, None);
    assert_eq!(gate.admission().0, Admission::Send);
    gate.on(another_suspended());
    assert_eq!(gate.admission().0, Admission::Send, "this node's credential is not rejected");
}

/// The lane stops once more. Returns for how long.
fn break_again(gate: &LaneGate) -> Duration {
    assert_eq!(
        fail_once(gate, gate.admission().1, target(1), Reason::new("503"), None),
        Attribution::Lane,
        "the failure counts for the lane"
    );
    match gate.admission().0 {
        Admission::Wait(Some(until)) => until - Instant::now(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_was_only_reached_breaks_with_one_failure_and_waits_longer() {
    let (gate, _) = gate();
    read(&gate, false, None);
    wait(&gate, gate.admission().1, word(), LaneCause::Outage, None);
    gate.on(LaneEvent::Reached(gate.admission().1));
    assert_eq!(seen(&gate).0, LaneState::Broken, "the pause is not over");
    for pause in [2, 4] {
        tokio::time::advance(Duration::from_secs(pause)).await;
        gate.on(LaneEvent::Reached(gate.admission().1));
        assert_eq!(seen(&gate).0, LaneState::Running);
        assert_eq!(break_again(&gate), WAIT_MIN * u32::try_from(pause).expect("a small number"));
    }
    tokio::time::advance(Duration::from_secs(4)).await;
    gate.on(LaneEvent::Reached(gate.admission().1));
    succeed(&gate, gate.admission().1);
    let (_, generation) = gate.admission();
    fail_once(&gate, generation, target(1), Reason::new("503"), None);
    assert_eq!(gate.admission(), (Admission::Send, generation), "the provider worked");
    wait(&gate, generation, word(), LaneCause::Outage, None);
    assert_eq!(gate.admission().0, Admission::Wait(Some(Instant::now() + WAIT_MIN)));
}
