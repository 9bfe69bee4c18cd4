//! When a guard is engaged and released, on paused time.

use tokio::time::advance;

use super::history::{CERTAIN_ANSWERS_MIN, DOUBTFUL_FEW, HISTORY_SPAN, PORTION_SPAN};
use super::*;
use crate::domain::{DeviceId, DeviceToken, Reason};
use crate::provider::apns;

const DOUBTFUL: TokenSignal = TokenSignal::Dead(Certainty::Doubtful);
const CERTAIN: TokenSignal = TokenSignal::Dead(Certainty::Certain);

fn guard() -> PruningGuard {
    PruningGuard::new(LaneId(1), "shop/fcm".to_owned())
}

fn verdict(word: &str, certainty: Certainty) -> TokenVerdict {
    TokenVerdict {
        device: DeviceId(1),
        lane: LaneId(1),
        digest: DeviceToken::parse(apns::PLATFORM, "aa").expect("hexadecimal").digest(),
        since: chrono::DateTime::UNIX_EPOCH,
        reason: Reason::new(word),
        certainty,
    }
}

fn count(guard: &PruningGuard, said: TokenSignal, times: u64) {
    (0..times).for_each(|_| guard.count(said));
}

/// So many doubtful verdicts come from attempts and then to be applied; answers how many are.
fn doubtful(guard: &PruningGuard, word: &str, times: u64) -> usize {
    count(guard, DOUBTFUL, times);
    guard.filter((0..times).map(|_| verdict(word, Certainty::Doubtful)).collect()).len()
}

fn certain(guard: &PruningGuard, times: u64) -> usize {
    count(guard, CERTAIN, times);
    guard.filter((0..times).map(|_| verdict("Unregistered", Certainty::Certain)).collect()).len()
}

fn said(reason: &str, quiet: bool) -> lanes::StoredPruningGuard {
    lanes::StoredPruningGuard { reason: reason.to_owned(), certain: false, quiet }
}

fn reasons(reasons: &[&str]) -> BTreeSet<String> {
    reasons.iter().map(|reason| (*reason).to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn doubtful_verdicts_apply_while_they_are_few() {
    let guard = guard();
    for _ in 0..DOUBTFUL_FEW {
        assert_eq!(doubtful(&guard, "BadDeviceToken", 1), 1);
    }
    assert!(!guard.is_engaged());
    assert_eq!(guard.take_actions(), PendingActions::default());
    assert_eq!(doubtful(&guard, "BadDeviceToken", 1), 0);
    assert!(guard.is_engaged());
    let actions = guard.take_actions();
    assert_eq!(actions.engage, Some(("BadDeviceToken".to_owned(), false)));
    assert_eq!(actions.restore, reasons(&["BadDeviceToken"]));
}

#[tokio::test(start_paused = true)]
async fn none_of_many_doubtful_verdicts_at_once_applies() {
    let guard = guard();
    assert_eq!(doubtful(&guard, "SENDER_ID_MISMATCH", DOUBTFUL_FEW + 1), 0);
}

#[tokio::test(start_paused = true)]
async fn one_doubtful_verdict_in_twenty_answers_applies() {
    let guard = guard();
    count(&guard, TokenSignal::MayBeAlive, 1_900);
    assert_eq!(doubtful(&guard, "BadDeviceToken", 100), 100, "100 of 2,000");
    assert_eq!(doubtful(&guard, "BadDeviceToken", 1), 0, "101 of 2,001");
}

#[tokio::test(start_paused = true)]
async fn answers_count_for_ten_minutes() {
    let guard = guard();
    assert_eq!(doubtful(&guard, "BadDeviceToken", DOUBTFUL_FEW), 5);
    advance(HISTORY_SPAN - PORTION_SPAN).await;
    assert_eq!(doubtful(&guard, "BadDeviceToken", 0), 0);
    advance(PORTION_SPAN).await;
    assert_eq!(doubtful(&guard, "BadDeviceToken", DOUBTFUL_FEW), 5);
    assert!(!guard.is_engaged());
}

#[tokio::test(start_paused = true)]
async fn certain_verdicts_engage_the_guard_above_half_of_two_hundred_answers() {
    let guard = guard();
    assert_eq!(certain(&guard, CERTAIN_ANSWERS_MIN - 1), 199, "too few answers to say anything");
    assert_eq!(certain(&guard, 1), 0, "200 of 200");
    assert_eq!(guard.take_actions().engage, Some(("Unregistered".to_owned(), true)));
    assert_eq!(doubtful(&guard, "BadDeviceToken", 1), 0, "nothing applies");

    let half = self::guard();
    count(&half, TokenSignal::MayBeAlive, 100);
    assert_eq!(certain(&half, 100), 100, "half is not above half");
}

#[tokio::test(start_paused = true)]
async fn certain_verdicts_apply_while_doubtful_ones_are_held_back() {
    let guard = guard();
    doubtful(&guard, "BadDeviceToken", 6);
    assert_eq!(certain(&guard, 1), 1);
    count(&guard, TokenSignal::MayBeAlive, 100);
    assert_eq!(certain(&guard, 200), 0, "until they are too many themselves");
}

#[tokio::test(start_paused = true)]
async fn a_later_reason_is_restored_once_too() {
    let guard = guard();
    doubtful(&guard, "BadDeviceToken", 6);
    guard.take_actions();
    doubtful(&guard, "DeviceTokenNotForTopic", 1);
    assert_eq!(guard.take_actions().restore, reasons(&["DeviceTokenNotForTopic"]));
    doubtful(&guard, "DeviceTokenNotForTopic", 1);
    doubtful(&guard, "BadDeviceToken", 1);
    assert_eq!(guard.take_actions(), PendingActions::default());
}

#[tokio::test(start_paused = true)]
async fn a_guard_engaged_by_another_node_holds_here_and_restores_devices_quarantined_here() {
    let guard = guard();
    doubtful(&guard, "BadDeviceToken", 1);
    assert!(guard.read(Some(&said("BadDeviceToken", false)), Instant::now()));
    assert!(guard.is_engaged());
    assert_eq!(guard.take_actions().restore, reasons(&["BadDeviceToken"]));
    assert_eq!(doubtful(&guard, "BadDeviceToken", 1), 0);
}

#[tokio::test(start_paused = true)]
async fn a_release_read_after_the_guard_was_stored_starts_a_new_count() {
    let guard = guard();
    doubtful(&guard, "BadDeviceToken", 50);
    let before = Instant::now();
    assert!(guard.read(None, before), "not agreed yet: it stays on, and is still to be said");
    assert!(guard.is_engaged());
    guard.take_actions();
    advance(Duration::from_secs(1)).await;
    guard.mark_stored();
    guard.read(None, before);
    assert!(guard.is_engaged(), "asked before it was said");
    advance(Duration::from_secs(1)).await;
    assert!(!guard.read(None, Instant::now()));
    assert!(!guard.is_engaged());
    assert_eq!(doubtful(&guard, "BadDeviceToken", DOUBTFUL_FEW), 5);
}

#[tokio::test(start_paused = true)]
async fn the_guard_is_released_after_ten_minutes_without_too_many_verdicts_on_any_node() {
    let guard = guard();
    doubtful(&guard, "BadDeviceToken", 50);
    guard.mark_stored();
    guard.take_actions();
    advance(HISTORY_SPAN - PORTION_SPAN).await;
    assert!(
        !guard.read(Some(&said("BadDeviceToken", true)), Instant::now()),
        "too much within ten minutes here"
    );
    advance(PORTION_SPAN).await;
    assert!(!guard.read(Some(&said("BadDeviceToken", false)), Instant::now()), "too much elsewhere");
    assert!(guard.read(Some(&said("BadDeviceToken", true)), Instant::now()));
    assert!(guard.take_actions().release);
    guard.mark_released();
    assert!(!guard.is_engaged());
}

#[tokio::test(start_paused = true)]
async fn too_many_verdicts_are_confirmed_to_other_nodes_at_intervals() {
    let guard = guard();
    doubtful(&guard, "BadDeviceToken", 50);
    guard.take_actions();
    doubtful(&guard, "BadDeviceToken", 1);
    assert!(!guard.take_actions().confirm);
    advance(CONFIRM_INTERVAL).await;
    doubtful(&guard, "BadDeviceToken", 1);
    let actions = guard.take_actions();
    assert!(actions.confirm && actions.engage.is_none());
    assert!(!actions.release);
}

#[tokio::test(start_paused = true)]
async fn actions_that_failed_stay_pending() {
    let guard = guard();
    doubtful(&guard, "BadDeviceToken", 6);
    let actions = guard.take_actions();
    doubtful(&guard, "DeviceTokenNotForTopic", 1);
    guard.put_back(actions);
    let actions = guard.take_actions();
    assert_eq!(actions.engage, Some(("BadDeviceToken".to_owned(), false)));
    assert_eq!(actions.restore, reasons(&["BadDeviceToken", "DeviceTokenNotForTopic"]));
}

#[tokio::test(start_paused = true)]
async fn a_token_refused_by_both_environments_counts_as_one_answer_and_one_verdict() {
    let guard = guard();
    count(&guard, TokenSignal::MayBeAlive, 1);
    count(&guard, TokenSignal::DeadAfterAll, 1);
    let counts = guard.collect(&mut guard.lock());
    assert_eq!(counts, Counts { answers: 1, doubtful: 1, certain: 0 });
}
