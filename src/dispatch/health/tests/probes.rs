//! Probes, and how a suspension is agreed upon with the database.

use super::gate::{gate, seen};
use super::word;
use crate::dispatch::health::{Admission, PAUSE_MIN, SETTLE_TIME, SUSPENDED_PROBE_INTERVAL};
use crate::domain::{LaneCause, LaneState};

#[tokio::test(start_paused = true)]
async fn a_second_probe_has_to_wait_for_the_end_of_the_first() {
    let (gate, _) = gate();
    gate.agree(false, None);
    let (_, before) = gate.phase();
    gate.wait(before, word(), LaneCause::Outage, None);
    assert!(gate.begin_probe(gate.phase().1).is_none(), "the probe is not due yet");
    tokio::time::advance(PAUSE_MIN).await;
    assert!(gate.begin_probe(before).is_none(), "the lane sent in that generation");
    let (admission, generation) = gate.phase();
    assert_eq!(admission, Admission::Probe);
    let probe = gate.begin_probe(generation).expect("the first probe");
    assert_eq!(gate.phase(), (Admission::Wait(None), generation));
    assert!(gate.begin_probe(generation).is_none());
    assert!(gate.is_as_at(generation), "the probe itself is sent");
    assert!(gate.takes_trials(), "the lane could send");
    drop(probe);
    assert_eq!(
        gate.phase().0,
        Admission::Probe,
        "a probe that ends without an answer leaves the next one due"
    );
    let probe = gate.begin_probe(generation).expect("the next probe");
    gate.wait(generation, word(), LaneCause::Outage, None);
    drop(probe);
    assert!(
        matches!(gate.phase().0, Admission::Wait(Some(_))),
        "the answer to the probe holds after its end"
    );
}

#[tokio::test(start_paused = true)]
async fn an_inconclusive_answer_to_a_probe_admits_no_other_probe_before_the_first_has_ended() {
    let (gate, _) = gate();
    gate.agree(false, None);
    gate.suspend(gate.phase().1, word());
    tokio::time::advance(SUSPENDED_PROBE_INTERVAL).await;
    let (_, generation) = gate.phase();
    let probe = gate.begin_probe(generation).expect("the probe is due");
    gate.inconclusive(generation);
    tokio::time::advance(SUSPENDED_PROBE_INTERVAL).await;
    assert!(gate.begin_probe(generation).is_none());
    drop(probe);
    assert!(gate.begin_probe(generation).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_recovery_is_not_taken_back_by_an_older_reading_of_the_database() {
    let (gate, _) = gate();
    gate.agree(false, None);
    gate.suspend(gate.phase().1, word());
    gate.agree(false, Some(word()));
    assert!(gate.healthy(gate.phase().1));
    gate.agree(false, Some(word()));
    assert_eq!(gate.phase().0, Admission::Send, "the reading may be from before the recovery");
    tokio::time::advance(SETTLE_TIME).await;
    gate.agree(false, Some(word()));
    assert_eq!(seen(&gate), (LaneState::Suspended, Some(word())), "another node was rejected since");
}

#[tokio::test(start_paused = true)]
async fn a_failed_probe_of_a_suspended_lane_outweighs_an_older_reading_of_the_database() {
    let (gate, _) = gate();
    gate.agree(false, Some(word()));
    gate.suspend(gate.phase().1, word());
    gate.agree(false, None);
    assert_eq!(seen(&gate).0, LaneState::Suspended, "the database may not have this node's rejection yet");
    gate.agree(false, Some(word()));
    gate.agree(false, None);
    assert_eq!(gate.phase().0, Admission::Send);
}
