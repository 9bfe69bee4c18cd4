//! When a brake goes on and off, on paused time.

use tokio::time::advance;

use super::window::{FEW, LEAST_ANSWERS, PORTION, WINDOW};
use super::*;
use crate::domain::{DeviceId, DeviceToken, Platform, Reason};

const DOUBTFUL: Said = Said::Dead(Certainty::Doubtful);
const CERTAIN: Said = Said::Dead(Certainty::Certain);

fn brake() -> Brake {
    Brake::new(LaneId(1), "shop/fcm".to_owned())
}

fn verdict(word: &str, certainty: Certainty) -> Verdict {
    Verdict {
        device: DeviceId(1),
        lane: LaneId(1),
        digest: DeviceToken::parse(Platform::Apns, "aa").expect("hexadecimal").digest(),
        since: chrono::DateTime::UNIX_EPOCH,
        reason: Reason::new(word),
        certainty,
    }
}

fn count(brake: &Brake, said: Said, times: u64) {
    (0..times).for_each(|_| brake.count(said));
}

/// So many doubtful verdicts come from attempts and then to be applied; answers how many are.
fn doubtful(brake: &Brake, word: &str, times: u64) -> usize {
    count(brake, DOUBTFUL, times);
    brake.sift((0..times).map(|_| verdict(word, Certainty::Doubtful)).collect()).len()
}

fn certain(brake: &Brake, times: u64) -> usize {
    count(brake, CERTAIN, times);
    brake.sift((0..times).map(|_| verdict("Unregistered", Certainty::Certain)).collect()).len()
}

fn said(reason: &str, quiet: bool) -> lanes::Brake {
    lanes::Brake { reason: reason.to_owned(), certain: false, quiet }
}

fn words(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn doubtful_verdicts_apply_while_they_are_few() {
    let brake = brake();
    for _ in 0..FEW {
        assert_eq!(doubtful(&brake, "BadDeviceToken", 1), 1);
    }
    assert!(!brake.is_on());
    assert_eq!(brake.take_errands(), Errands::default());
    assert_eq!(doubtful(&brake, "BadDeviceToken", 1), 0);
    assert!(brake.is_on());
    let errands = brake.take_errands();
    assert_eq!(errands.put_on, Some(("BadDeviceToken".to_owned(), false)));
    assert_eq!(errands.restore, words(&["BadDeviceToken"]));
}

#[tokio::test(start_paused = true)]
async fn of_many_at_once_none_applies() {
    let brake = brake();
    assert_eq!(doubtful(&brake, "SENDER_ID_MISMATCH", FEW + 1), 0);
}

#[tokio::test(start_paused = true)]
async fn one_in_twenty_is_few_in_a_busy_lane() {
    let brake = brake();
    count(&brake, Said::Other, 1_900);
    assert_eq!(doubtful(&brake, "BadDeviceToken", 100), 100, "100 of 2,000");
    assert_eq!(doubtful(&brake, "BadDeviceToken", 1), 0, "101 of 2,001");
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_ten_minutes_ago_no_longer_counts() {
    let brake = brake();
    assert_eq!(doubtful(&brake, "BadDeviceToken", FEW), 5);
    advance(WINDOW - PORTION).await;
    assert_eq!(doubtful(&brake, "BadDeviceToken", 0), 0);
    advance(PORTION).await;
    assert_eq!(doubtful(&brake, "BadDeviceToken", FEW), 5);
    assert!(!brake.is_on());
}

#[tokio::test(start_paused = true)]
async fn verdicts_that_leave_no_doubt_brake_above_half_of_two_hundred_answers() {
    let brake = brake();
    assert_eq!(certain(&brake, LEAST_ANSWERS - 1), 199, "too few answers to say anything");
    assert_eq!(certain(&brake, 1), 0, "200 of 200");
    assert_eq!(brake.take_errands().put_on, Some(("Unregistered".to_owned(), true)));
    assert_eq!(doubtful(&brake, "BadDeviceToken", 1), 0, "nothing applies");

    let half = self::brake();
    count(&half, Said::Other, 100);
    assert_eq!(certain(&half, 100), 100, "half is not above half");
}

#[tokio::test(start_paused = true)]
async fn verdicts_that_leave_no_doubt_apply_while_others_are_braked() {
    let brake = brake();
    doubtful(&brake, "BadDeviceToken", 6);
    assert_eq!(certain(&brake, 1), 1);
    count(&brake, Said::Other, 100);
    assert_eq!(certain(&brake, 200), 0, "until they are too many themselves");
}

#[tokio::test(start_paused = true)]
async fn a_word_that_comes_later_is_restored_once_too() {
    let brake = brake();
    doubtful(&brake, "BadDeviceToken", 6);
    brake.take_errands();
    doubtful(&brake, "DeviceTokenNotForTopic", 1);
    assert_eq!(brake.take_errands().restore, words(&["DeviceTokenNotForTopic"]));
    doubtful(&brake, "DeviceTokenNotForTopic", 1);
    doubtful(&brake, "BadDeviceToken", 1);
    assert_eq!(brake.take_errands(), Errands::default());
}

#[tokio::test(start_paused = true)]
async fn another_node_s_brake_holds_here_and_restores_what_was_set_aside_here() {
    let brake = brake();
    doubtful(&brake, "BadDeviceToken", 1);
    assert!(brake.agree(Some(&said("BadDeviceToken", false)), Instant::now()));
    assert!(brake.is_on());
    assert_eq!(brake.take_errands().restore, words(&["BadDeviceToken"]));
    assert_eq!(doubtful(&brake, "BadDeviceToken", 1), 0);
}

#[tokio::test(start_paused = true)]
async fn a_resume_that_is_seen_after_the_brake_was_agreed_counts_afresh() {
    let brake = brake();
    doubtful(&brake, "BadDeviceToken", 50);
    let before = Instant::now();
    assert!(brake.agree(None, before), "not agreed yet: it stays on, and is still to be said");
    assert!(brake.is_on());
    brake.take_errands();
    advance(Duration::from_secs(1)).await;
    brake.was_put_on();
    brake.agree(None, before);
    assert!(brake.is_on(), "asked before it was said");
    advance(Duration::from_secs(1)).await;
    assert!(!brake.agree(None, Instant::now()));
    assert!(!brake.is_on());
    assert_eq!(doubtful(&brake, "BadDeviceToken", FEW), 5);
}

#[tokio::test(start_paused = true)]
async fn it_may_go_off_after_ten_minutes_without_too_much_on_any_node() {
    let brake = brake();
    doubtful(&brake, "BadDeviceToken", 50);
    brake.was_put_on();
    brake.take_errands();
    advance(WINDOW - PORTION).await;
    assert!(
        !brake.agree(Some(&said("BadDeviceToken", true)), Instant::now()),
        "too much within ten minutes here"
    );
    advance(PORTION).await;
    assert!(!brake.agree(Some(&said("BadDeviceToken", false)), Instant::now()), "too much elsewhere");
    assert!(brake.agree(Some(&said("BadDeviceToken", true)), Instant::now()));
    assert!(brake.take_errands().release);
    brake.was_taken_off();
    assert!(!brake.is_on());
}

#[tokio::test(start_paused = true)]
async fn while_there_is_too_much_the_others_are_told_so_now_and_then() {
    let brake = brake();
    doubtful(&brake, "BadDeviceToken", 50);
    brake.take_errands();
    doubtful(&brake, "BadDeviceToken", 1);
    assert!(!brake.take_errands().hold);
    advance(SAY_AGAIN).await;
    doubtful(&brake, "BadDeviceToken", 1);
    let errands = brake.take_errands();
    assert!(errands.hold && errands.put_on.is_none());
    assert!(!errands.release);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_done_is_still_to_be_done() {
    let brake = brake();
    doubtful(&brake, "BadDeviceToken", 6);
    let errands = brake.take_errands();
    doubtful(&brake, "DeviceTokenNotForTopic", 1);
    brake.put_back(errands);
    let errands = brake.take_errands();
    assert_eq!(errands.put_on, Some(("BadDeviceToken".to_owned(), false)));
    assert_eq!(errands.restore, words(&["BadDeviceToken", "DeviceTokenNotForTopic"]));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_no_environment_took_is_one_answer_and_one_verdict() {
    let brake = brake();
    count(&brake, Said::Other, 1);
    count(&brake, Said::DeadAfterAll, 1);
    let counts = brake.look(&mut brake.lock());
    assert_eq!(counts, Counts { answers: 1, doubtful: 1, certain: 0 });
}
