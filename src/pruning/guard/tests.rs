//! When a brake goes on and off, on paused time.

use tokio::time::advance;

use super::history::{FEW, LEAST_ANSWERS, PORTION, WINDOW};
use super::*;
use crate::domain::{DeviceId, DeviceToken, Platform, Reason};

const DOUBTFUL: TokenSignal = TokenSignal::Dead(Certainty::Doubtful);
const CERTAIN: TokenSignal = TokenSignal::Dead(Certainty::Certain);

fn guard() -> PruningGuard {
    PruningGuard::new(LaneId(1), "shop/fcm".to_owned())
}

fn verdict(word: &str, certainty: Certainty) -> TokenVerdict {
    TokenVerdict {
        device: DeviceId(1),
        lane: LaneId(1),
        digest: DeviceToken::parse(Platform::Apns, "aa").expect("hexadecimal").digest(),
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
    guard.sift((0..times).map(|_| verdict(word, Certainty::Doubtful)).collect()).len()
}

fn certain(guard: &PruningGuard, times: u64) -> usize {
    count(guard, CERTAIN, times);
    guard.sift((0..times).map(|_| verdict("Unregistered", Certainty::Certain)).collect()).len()
}

fn said(reason: &str, quiet: bool) -> lanes::StoredPruningGuard {
    lanes::StoredPruningGuard { reason: reason.to_owned(), certain: false, quiet }
}

fn words(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn doubtful_verdicts_apply_while_they_are_few() {
    let guard = guard();
    for _ in 0..FEW {
        assert_eq!(doubtful(&guard, "BadDeviceToken", 1), 1);
    }
    assert!(!guard.is_on());
    assert_eq!(guard.take_errands(), Errands::default());
    assert_eq!(doubtful(&guard, "BadDeviceToken", 1), 0);
    assert!(guard.is_on());
    let errands = guard.take_errands();
    assert_eq!(errands.engaged, Some(("BadDeviceToken".to_owned(), false)));
    assert_eq!(errands.restore, words(&["BadDeviceToken"]));
}

#[tokio::test(start_paused = true)]
async fn of_many_at_once_none_applies() {
    let guard = guard();
    assert_eq!(doubtful(&guard, "SENDER_ID_MISMATCH", FEW + 1), 0);
}

#[tokio::test(start_paused = true)]
async fn one_in_twenty_is_few_in_a_busy_lane() {
    let guard = guard();
    count(&guard, TokenSignal::Other, 1_900);
    assert_eq!(doubtful(&guard, "BadDeviceToken", 100), 100, "100 of 2,000");
    assert_eq!(doubtful(&guard, "BadDeviceToken", 1), 0, "101 of 2,001");
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_ten_minutes_ago_no_longer_counts() {
    let guard = guard();
    assert_eq!(doubtful(&guard, "BadDeviceToken", FEW), 5);
    advance(WINDOW - PORTION).await;
    assert_eq!(doubtful(&guard, "BadDeviceToken", 0), 0);
    advance(PORTION).await;
    assert_eq!(doubtful(&guard, "BadDeviceToken", FEW), 5);
    assert!(!guard.is_on());
}

#[tokio::test(start_paused = true)]
async fn verdicts_that_leave_no_doubt_brake_above_half_of_two_hundred_answers() {
    let guard = guard();
    assert_eq!(certain(&guard, LEAST_ANSWERS - 1), 199, "too few answers to say anything");
    assert_eq!(certain(&guard, 1), 0, "200 of 200");
    assert_eq!(guard.take_errands().engaged, Some(("Unregistered".to_owned(), true)));
    assert_eq!(doubtful(&guard, "BadDeviceToken", 1), 0, "nothing applies");

    let half = self::guard();
    count(&half, TokenSignal::Other, 100);
    assert_eq!(certain(&half, 100), 100, "half is not above half");
}

#[tokio::test(start_paused = true)]
async fn verdicts_that_leave_no_doubt_apply_while_others_are_braked() {
    let guard = guard();
    doubtful(&guard, "BadDeviceToken", 6);
    assert_eq!(certain(&guard, 1), 1);
    count(&guard, TokenSignal::Other, 100);
    assert_eq!(certain(&guard, 200), 0, "until they are too many themselves");
}

#[tokio::test(start_paused = true)]
async fn a_word_that_comes_later_is_restored_once_too() {
    let guard = guard();
    doubtful(&guard, "BadDeviceToken", 6);
    guard.take_errands();
    doubtful(&guard, "DeviceTokenNotForTopic", 1);
    assert_eq!(guard.take_errands().restore, words(&["DeviceTokenNotForTopic"]));
    doubtful(&guard, "DeviceTokenNotForTopic", 1);
    doubtful(&guard, "BadDeviceToken", 1);
    assert_eq!(guard.take_errands(), Errands::default());
}

#[tokio::test(start_paused = true)]
async fn another_node_s_brake_holds_here_and_restores_what_was_set_aside_here() {
    let guard = guard();
    doubtful(&guard, "BadDeviceToken", 1);
    assert!(guard.read(Some(&said("BadDeviceToken", false)), Instant::now()));
    assert!(guard.is_on());
    assert_eq!(guard.take_errands().restore, words(&["BadDeviceToken"]));
    assert_eq!(doubtful(&guard, "BadDeviceToken", 1), 0);
}

#[tokio::test(start_paused = true)]
async fn a_resume_that_is_seen_after_the_brake_was_agreed_counts_afresh() {
    let guard = guard();
    doubtful(&guard, "BadDeviceToken", 50);
    let before = Instant::now();
    assert!(guard.read(None, before), "not agreed yet: it stays on, and is still to be said");
    assert!(guard.is_on());
    guard.take_errands();
    advance(Duration::from_secs(1)).await;
    guard.was_engaged();
    guard.read(None, before);
    assert!(guard.is_on(), "asked before it was said");
    advance(Duration::from_secs(1)).await;
    assert!(!guard.read(None, Instant::now()));
    assert!(!guard.is_on());
    assert_eq!(doubtful(&guard, "BadDeviceToken", FEW), 5);
}

#[tokio::test(start_paused = true)]
async fn it_may_go_off_after_ten_minutes_without_too_much_on_any_node() {
    let guard = guard();
    doubtful(&guard, "BadDeviceToken", 50);
    guard.was_engaged();
    guard.take_errands();
    advance(WINDOW - PORTION).await;
    assert!(
        !guard.read(Some(&said("BadDeviceToken", true)), Instant::now()),
        "too much within ten minutes here"
    );
    advance(PORTION).await;
    assert!(!guard.read(Some(&said("BadDeviceToken", false)), Instant::now()), "too much elsewhere");
    assert!(guard.read(Some(&said("BadDeviceToken", true)), Instant::now()));
    assert!(guard.take_errands().release);
    guard.was_released();
    assert!(!guard.is_on());
}

#[tokio::test(start_paused = true)]
async fn while_there_is_too_much_the_others_are_told_so_now_and_then() {
    let guard = guard();
    doubtful(&guard, "BadDeviceToken", 50);
    guard.take_errands();
    doubtful(&guard, "BadDeviceToken", 1);
    assert!(!guard.take_errands().hold);
    advance(SAY_AGAIN).await;
    doubtful(&guard, "BadDeviceToken", 1);
    let errands = guard.take_errands();
    assert!(errands.hold && errands.engaged.is_none());
    assert!(!errands.release);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_done_is_still_to_be_done() {
    let guard = guard();
    doubtful(&guard, "BadDeviceToken", 6);
    let errands = guard.take_errands();
    doubtful(&guard, "DeviceTokenNotForTopic", 1);
    guard.put_back(errands);
    let errands = guard.take_errands();
    assert_eq!(errands.engaged, Some(("BadDeviceToken".to_owned(), false)));
    assert_eq!(errands.restore, words(&["BadDeviceToken", "DeviceTokenNotForTopic"]));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_no_environment_took_is_one_answer_and_one_verdict() {
    let guard = guard();
    count(&guard, TokenSignal::Other, 1);
    count(&guard, TokenSignal::DeadAfterAll, 1);
    let counts = guard.look(&mut guard.lock());
    assert_eq!(counts, Counts { answers: 1, doubtful: 1, certain: 0 });
}
