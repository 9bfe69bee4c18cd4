//! What stops a lane, and what starts it again.

use chrono::DateTime;

use super::*;

fn gate() -> (Gate, Arc<Intake>) {
    let intake = Arc::new(Intake::new(LaneId(1), 10));
    let gate = Gate::new(LaneId(1), "shop/fcm".to_owned(), Fingerprint([1; 32]), Arc::clone(&intake));
    (gate, intake)
}

fn seen(gate: &Gate) -> (LaneState, Option<Reason>) {
    let standing = gate.standing();
    (standing.state, standing.why)
}

fn word() -> Reason {
    Reason::new("InvalidProviderToken")
}

#[tokio::test(start_paused = true)]
async fn a_lane_is_closed_until_its_standing_is_known() {
    let (gate, _) = gate();
    assert_eq!(gate.phase().0, Phase::Closed(None));
    assert_eq!(seen(&gate), (LaneState::Unknown, None));
    // Not even a new credential opens a lane that an operator may have paused.
    gate.credential_changed(Fingerprint([2; 32]));
    assert_eq!(gate.phase().0, Phase::Closed(None));
    assert!(!gate.takes_trials());
    gate.agree(false, None);
    assert_eq!(gate.phase().0, Phase::Open);
    assert_eq!(seen(&gate), (LaneState::Running, None));
}

#[tokio::test(start_paused = true)]
async fn a_crowd_of_failures_at_once_costs_one_pause() {
    let (gate, _) = gate();
    gate.agree(false, None);
    let (_, epoch) = gate.phase();
    for _ in 0..1000 {
        gate.wait(epoch, word(), LaneCause::Outage, None);
    }
    tokio::time::advance(FIRST_PAUSE).await;
    assert_eq!(gate.phase().0, Phase::Probe);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_succeeds_opens_and_one_that_fails_waits_longer() {
    let (gate, _) = gate();
    gate.agree(false, None);
    gate.wait(gate.phase().1, word(), LaneCause::Outage, None);
    tokio::time::advance(FIRST_PAUSE).await;
    gate.wait(gate.phase().1, word(), LaneCause::Outage, None);
    tokio::time::advance(FIRST_PAUSE).await;
    assert!(matches!(gate.phase().0, Phase::Closed(Some(_))), "the pause has doubled");
    tokio::time::advance(FIRST_PAUSE).await;
    assert_eq!(gate.phase().0, Phase::Probe);
    gate.healthy(gate.phase().1);
    assert_eq!(gate.phase().0, Phase::Open);
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_overrides_ends_no_suspension_and_an_outage_all_the_same() {
    let (gate, _) = gate();
    gate.agree(false, None);
    gate.suspend(gate.phase().1, word());
    tokio::time::advance(SUSPENDED_PROBE).await;
    assert_eq!(gate.phase().0, Phase::Probe);
    gate.inconclusive(gate.phase().1);
    assert_eq!(seen(&gate), (LaneState::Suspended, Some(word())));
    assert!(matches!(gate.phase().0, Phase::Closed(Some(_))), "one probe a minute, whatever it meets");
    tokio::time::advance(SUSPENDED_PROBE).await;
    gate.healthy(gate.phase().1);
    assert_eq!(gate.phase().0, Phase::Open);

    gate.wait(gate.phase().1, word(), LaneCause::Outage, None);
    tokio::time::advance(FIRST_PAUSE).await;
    gate.inconclusive(gate.phase().1);
    assert_eq!(gate.phase().0, Phase::Open);
}

#[tokio::test(start_paused = true)]
async fn an_answer_from_before_the_suspension_does_not_end_it() {
    let (gate, _) = gate();
    gate.agree(false, None);
    let (_, before) = gate.phase();
    assert!(gate.suspend(before, word()));
    assert!(!gate.healthy(before));
    assert_eq!(seen(&gate), (LaneState::Suspended, Some(word())));
}

#[tokio::test(start_paused = true)]
async fn a_suspension_that_others_agreed_upon_ends_with_the_first_reading_that_has_none() {
    let (gate, _) = gate();
    gate.agree(false, Some(word()));
    assert_eq!(seen(&gate), (LaneState::Suspended, Some(word())));
    gate.agree(false, None);
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

fn who(device: i64) -> (NotificationId, DeviceId) {
    (NotificationId::floor(DateTime::UNIX_EPOCH), DeviceId(device))
}

/// So many 5xx in a row, each for another device; what the last one is blamed on.
fn fail(gate: &Gate, times: u64) -> Blame {
    let fail = |i: u64| gate.failing(gate.phase().1, who(i.cast_signed()), Reason::new("503"), None);
    (0..times).map(fail).last().expect("at least one")
}

#[tokio::test(start_paused = true)]
async fn enough_failures_in_a_row_are_an_outage_and_the_late_ones_burn_nothing() {
    let (gate, intake) = gate();
    gate.agree(false, None);
    let (_, before) = gate.phase();
    assert_eq!(fail(&gate, OUTAGE - 1), Blame::Device);
    gate.healthy(before);
    assert_eq!(fail(&gate, OUTAGE - 1), Blame::Device, "a better answer between starts the count anew");
    assert_eq!(fail(&gate, 1), Blame::Lane);
    assert_eq!(seen(&gate), (LaneState::Broken, Some(Reason::new("503"))));
    assert!(intake.reserve(crate::domain::Priority::High, 1).is_none(), "nothing is handed over");
    let late = |epoch| gate.failing(epoch, who(99), Reason::new("503"), None);
    assert_eq!(late(before), Blame::Lane, "sent before the outage");
    gate.healthy(gate.phase().1);
    assert_eq!(seen(&gate).0, LaneState::Running);
    assert_eq!(late(before), Blame::Lane, "the outage is over, but that is what it met");
    let (_, after) = gate.phase();
    gate.wait(after, word(), LaneCause::Throttled, None);
    gate.healthy(gate.phase().1);
    assert_eq!(late(after), Blame::Device, "no outage since it was sent");
}

#[tokio::test(start_paused = true)]
async fn what_has_begun_is_told_when_the_lane_has_stopped_meanwhile() {
    let (gate, _) = gate();
    gate.agree(false, None);
    let (_, begun) = gate.phase();
    assert!(gate.is_as_at(begun));
    gate.agree(false, None);
    assert!(gate.is_as_at(begun), "nothing has changed");
    gate.wait(begun, word(), LaneCause::Throttled, None);
    assert!(!gate.is_as_at(begun));
    tokio::time::advance(FIRST_PAUSE).await;
    let (phase, probe) = gate.phase();
    assert!(phase == Phase::Probe && gate.is_as_at(probe), "the probe is sent");
    gate.agree(true, None);
    assert!(!gate.is_as_at(probe), "an operator's pause stops that too");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_fails_burns_nothing_unless_it_is_the_same_device_again() {
    let (gate, _) = gate();
    gate.agree(false, None);
    fail(&gate, OUTAGE);
    let probe = |device| gate.failing(gate.phase().1, who(device), Reason::new("500"), None);
    assert_eq!(probe(1), Blame::Lane);
    assert_eq!(probe(1), Blame::Device, "it may be the cause: another device is to be the next probe");
    assert_eq!(probe(2), Blame::Lane);
}

#[tokio::test(start_paused = true)]
async fn a_crowd_without_answers_is_no_outage_but_a_second_one_is() {
    let (gate, _) = gate();
    gate.agree(false, None);
    let (_, epoch) = gate.phase();
    (0..1000).for_each(|_| gate.silent(epoch));
    assert_eq!(gate.phase().0, Phase::Open, "one connection broke");
    tokio::time::advance(SILENCE).await;
    gate.silent(epoch);
    assert_eq!(seen(&gate), (LaneState::Broken, Some(Reason::new("no_answer"))));
}

#[tokio::test(start_paused = true)]
async fn a_suspended_lane_stays_so_whatever_else_goes_wrong() {
    let (gate, _) = gate();
    gate.agree(false, None);
    gate.suspend(gate.phase().1, word());
    for fail in [
        |gate: &Gate| {
            gate.failing(gate.phase().1, who(1), Reason::new("503"), None);
        },
        |gate: &Gate| gate.silent(gate.phase().1),
        |gate: &Gate| gate.wait(gate.phase().1, Reason::new("refused"), LaneCause::Outage, None),
    ] {
        fail(&gate);
        assert_eq!(seen(&gate), (LaneState::Suspended, Some(word())));
        assert!(matches!(gate.phase().0, Phase::Closed(Some(at)) if at >= Instant::now() + SUSPENDED_PROBE));
    }
}

#[tokio::test(start_paused = true)]
async fn an_operator_may_have_it_tried_at_once() {
    let (gate, _) = gate();
    gate.agree(false, None);
    gate.wait(gate.phase().1, word(), LaneCause::Throttled, Some(Duration::from_secs(600)));
    gate.try_now();
    assert_eq!(gate.phase().0, Phase::Probe);
}

#[tokio::test(start_paused = true)]
async fn of_a_crowd_that_was_told_to_wait_the_latest_holds() {
    let (gate, _) = gate();
    gate.agree(false, None);
    let (_, epoch) = gate.phase();
    let told = |seconds| {
        gate.wait(epoch, word(), LaneCause::Throttled, Some(Duration::from_secs(seconds)));
    };
    told(6);
    tokio::time::advance(Duration::from_secs(3)).await;
    told(6);
    told(1);
    let until = Instant::now() + Duration::from_secs(6);
    assert_eq!(gate.phase().0, Phase::Closed(Some(until)));
    tokio::time::advance(Duration::from_secs(6)).await;
    let (phase, probe) = gate.phase();
    assert_eq!(phase, Phase::Probe);
    gate.healthy(probe);
    told(6);
    assert_eq!(gate.phase().0, Phase::Open, "it runs again: an old word stops it no more");
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_asks_for_a_day_is_tried_within_the_hour() {
    let (gate, _) = gate();
    gate.agree(false, None);
    gate.wait(gate.phase().1, word(), LaneCause::Throttled, Some(Duration::from_secs(86_400)));
    tokio::time::advance(LONGEST_ASKED).await;
    assert_eq!(gate.phase().0, Phase::Probe);
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_the_credential_is_the_last_word_about_it() {
    let (gate, _) = gate();
    gate.agree(false, None);
    let ok = |gate: &Gate| gate.standing().credential.map(|(ok, _)| ok);
    assert_eq!(ok(&gate), None);
    tokio::time::advance(Duration::from_secs(1)).await;
    gate.healthy(gate.phase().1);
    assert_eq!(ok(&gate), Some(true));
    tokio::time::advance(Duration::from_secs(1)).await;
    gate.suspend(gate.phase().1, word());
    assert_eq!(ok(&gate), Some(false));
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
    let (class, priority) = (crate::domain::Class::Direct, crate::domain::Priority::Normal);
    assert!(intake.take_hint(class, priority, true).is_some());
    gate.credential_changed(Fingerprint([2; 32]));
    assert_eq!((gate.phase().0, gate.fingerprint()), (Phase::Open, Fingerprint([2; 32])));
    assert!(!gate.suspend(before, word()), "an answer to the old one says nothing about the new one");
    assert_eq!(gate.phase().0, Phase::Open);
}
