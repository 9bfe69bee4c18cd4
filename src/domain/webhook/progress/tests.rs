//! Each rule by an example, and properties over a receiver that takes, refuses and is away.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use proptest::prelude::*;

use super::*;
use WebhookOutcome::{Blocked, Delivered, Gone, NotConnected, Refused, TimedOut, TlsFailed};

fn policy() -> WebhookRetryPolicy {
    let retry_after = [5, 30, 120, 300, 900].map(Duration::from_secs).to_vec();
    WebhookRetryPolicy { retry_after, disable_after: Duration::from_secs(5 * 86_400) }
}

fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_000_000, 0).expect("in range")
}

/// The steps after these outcomes, without jitter and with the waits kept.
fn steps(outcomes: &[WebhookOutcome]) -> Vec<NextStep> {
    let (mut progress, mut now) = (WebhookProgress::default(), start());
    let step = |outcome: &WebhookOutcome| {
        let step = progress.after(*outcome, now, None, &policy(), 0.5);
        progress = step.progress;
        now += step.wait;
        step
    };
    outcomes.iter().map(step).collect()
}

fn waits(outcomes: &[WebhookOutcome]) -> Vec<u64> {
    steps(outcomes).iter().map(|step| step.wait.as_secs()).collect()
}

#[test]
fn waits_grow_to_the_last_one_while_a_receiver_is_away() {
    assert_eq!(waits(&[TimedOut; 8]), [5, 30, 120, 300, 900, 900, 900, 900]);
    let all_batches =
        steps(&[NotConnected; 40]).iter().all(|step| step.progress.focus == MessageFocus::Batch);
    assert!(all_batches, "a receiver that is away has refused no event");
}

#[test]
fn a_refused_message_is_cut_to_its_first_event_and_then_the_next_one_is_tried() {
    let steps = steps(&[Refused; 12]);
    let focuses: Vec<_> = steps.iter().map(|step| step.progress.focus).collect();
    use MessageFocus::{Ahead, Batch, First};
    let expected =
        [Batch, Batch, Batch, First, First, First, First, Ahead(1), First, Ahead(2), First, Ahead(3)];
    assert_eq!(focuses, expected);
    let waits: Vec<_> = steps.iter().map(|step| step.wait.as_secs()).collect();
    assert_eq!(
        waits,
        [5, 30, 120, 5, 30, 120, 300, 0, 900, 0, 900, 0],
        "the back-off begins anew with the cut"
    );
}

#[test]
fn a_time_out_between_refusals_keeps_the_message_whole() {
    let steps = steps(&[Refused, Refused, Refused, TimedOut, Refused, Refused, Refused]);
    assert!(steps.iter().all(|step| step.progress.focus == MessageFocus::Batch));
}

#[test]
fn an_event_is_set_aside_only_if_a_later_one_is_taken() {
    let mut outcomes = vec![Refused; 8];
    outcomes.push(Delivered);
    let last = steps(&outcomes).pop().expect("there are steps");
    assert_eq!(last.movement, Movement::PastSetAside { count: 1 });
    assert_eq!(last.change, Some(WebhookChange::Recovered));
    assert_eq!(last.progress, WebhookProgress::default());
}

#[test]
fn the_first_event_that_is_taken_after_all_is_not_set_aside() {
    let mut outcomes = vec![Refused; 9];
    outcomes.push(Delivered);
    let last = steps(&outcomes).pop().expect("there are steps");
    assert_eq!(last.movement, Movement::PastMessage);
}

#[test]
fn without_an_event_ahead_the_first_one_is_sent_again_after_its_wait() {
    let last = steps(&[Refused; 8]).pop().expect("there are steps");
    let (progress, wait) = last.progress.without_event_ahead(&policy(), 0.5);
    assert_eq!((progress.focus, wait.as_secs()), (MessageFocus::First, 900));
    let next = progress.after(Refused, start(), None, &policy(), 0.5);
    assert_eq!(
        next.progress.focus,
        MessageFocus::Ahead(1),
        "the place ahead is tried once there is an event"
    );
}

#[test]
fn the_third_failure_is_told_once_and_so_is_the_recovery() {
    let changes: Vec<_> = steps(&[TimedOut, Refused, Blocked, TlsFailed, Delivered, Delivered])
        .iter()
        .map(|s| s.change)
        .collect();
    let (failing, recovered) = (Some(WebhookChange::Failing), Some(WebhookChange::Recovered));
    assert_eq!(changes, [None, None, failing, None, recovered, None]);
    assert_eq!(
        steps(&[TimedOut, TimedOut, Delivered])[2].change,
        None,
        "two failures were told to no operator"
    );
}

#[test]
fn a_410_disables_at_once() {
    assert_eq!(steps(&[Gone])[0].change, Some(WebhookChange::Disabled));
}

#[test]
fn failing_too_long_disables_counted_from_the_first_failure() {
    let first = WebhookProgress::default().after(TimedOut, start(), None, &policy(), 0.5).progress;
    let day = TimeDelta::days(1);
    let on = |days: i32| first.after(TimedOut, start() + day * days, None, &policy(), 0.5).change;
    assert_eq!(on(4), None);
    assert_eq!(on(5), Some(WebhookChange::Disabled));
    let recovered = first.after(Delivered, start() + day, None, &policy(), 0.5).progress;
    assert_eq!(recovered.after(TimedOut, start() + day * 6, None, &policy(), 0.5).change, None);
}

#[test]
fn a_receiver_may_ask_for_a_longer_wait_and_never_for_a_shorter_one() {
    let wait = |seconds| {
        let asked = Some(Duration::from_secs(seconds));
        WebhookProgress::default().after(Refused, start(), asked, &policy(), 0.5).wait.as_secs()
    };
    assert_eq!([wait(0), wait(60), wait(3_600)], [5, 60, 3_600]);
}

#[test]
fn jitter_is_a_fifth() {
    let wait = |random| WebhookProgress::default().after(Refused, start(), None, &policy(), random).wait;
    assert_eq!([wait(0.0), wait(1.0)], [Duration::from_secs(4), Duration::from_secs(6)]);
}

/// A receiver, and the events that it got.
struct Receiver {
    poison: BTreeSet<usize>,
    got: Vec<usize>,
    set_aside: Vec<usize>,
    cursor: usize,
    events: usize,
    progress: WebhookProgress,
    now: DateTime<Utc>,
}

impl Receiver {
    fn new(events: usize, poison: BTreeSet<usize>) -> Self {
        let (got, set_aside) = (Vec::new(), Vec::new());
        Self { poison, got, set_aside, cursor: 0, events, progress: WebhookProgress::default(), now: start() }
    }

    /// One attempt; `away`: what a receiver that is away looks like.
    fn attempt(&mut self, batch: usize, away: Option<WebhookOutcome>) -> Option<WebhookChange> {
        if let MessageFocus::Ahead(place) = self.progress.focus
            && self.cursor + place as usize >= self.events
        {
            let (progress, wait) = self.progress.without_event_ahead(&policy(), 0.5);
            (self.progress, self.now) = (progress, self.now + wait);
        }
        let message = match self.progress.focus {
            MessageFocus::Batch => self.cursor..(self.cursor + batch).min(self.events),
            MessageFocus::First => self.cursor..self.cursor + 1,
            MessageFocus::Ahead(place) => {
                let at = self.cursor + place as usize;
                at..at + 1
            }
        };
        let is_poisoned = message.clone().any(|event| self.poison.contains(&event));
        let outcome = away.unwrap_or(if is_poisoned { Refused } else { Delivered });
        let step = self.progress.after(outcome, self.now, None, &policy(), 0.5);
        match step.movement {
            Movement::None => {}
            Movement::PastMessage => {
                self.got.extend(message.clone());
                self.cursor = message.end;
            }
            Movement::PastSetAside { count } => {
                self.set_aside.extend(self.cursor..self.cursor + count as usize);
                self.got.extend(message.clone());
                self.cursor = message.end;
            }
        }
        (self.progress, self.now) = (step.progress, self.now + step.wait);
        step.change
    }
}

fn any_outcome() -> impl Strategy<Value = WebhookOutcome> {
    prop_oneof![Just(Refused), Just(TimedOut), Just(NotConnected), Just(TlsFailed), Just(Blocked)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever a receiver does, each event is got or set aside, in order, and none twice or never.
    #[test]
    fn no_event_is_skipped_or_doubled(
        events in 1_usize..60, batch in 1_usize..12,
        poison in proptest::collection::btree_set(0_usize..60, 0..6),
        away in proptest::collection::vec(proptest::option::of(any_outcome()), 0..80),
    ) {
        let mut receiver = Receiver::new(events, poison.clone());
        for away in away {
            if receiver.cursor < receiver.events {
                receiver.attempt(batch, away);
            }
            prop_assert!(receiver.got.is_sorted() && receiver.set_aside.is_sorted());
            let mut all: Vec<_> = receiver.got.iter().chain(&receiver.set_aside).copied().collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..receiver.cursor).collect::<Vec<_>>());
            prop_assert!(receiver.got.iter().all(|event| !receiver.poison.contains(event)));
        }
    }

    /// Behind a receiver that is there, poisoned events are set aside and all others arrive within a bounded number of
    /// attempts, if an event that it takes comes after them.
    #[test]
    fn poisoned_events_do_not_block_the_others(
        events in 1_usize..60, batch in 1_usize..12, poison in proptest::collection::btree_set(0_usize..59, 0..6),
    ) {
        let poison: BTreeSet<_> = poison.into_iter().filter(|event| event + 1 < events).collect();
        let mut receiver = Receiver::new(events, poison.clone());
        let mut attempts = 0;
        while receiver.cursor < receiver.events {
            receiver.attempt(batch, None);
            attempts += 1;
            prop_assert!(attempts < 60 + 30 * (poison.len() + 1) * (poison.len() + 1), "stuck at {}", receiver.cursor);
        }
        prop_assert_eq!(&receiver.set_aside, &poison.into_iter().collect::<Vec<_>>());
    }

    /// While a receiver takes nothing, nothing is set aside, and the waits are neither too long nor without end short.
    #[test]
    fn a_receiver_that_is_down_keeps_its_order(outcomes in proptest::collection::vec(any_outcome(), 1..300)) {
        let mut receiver = Receiver::new(1_000, BTreeSet::new());
        let mut waits = Vec::new();
        for outcome in outcomes {
            let before = receiver.now;
            receiver.attempt(10, Some(outcome));
            waits.push((receiver.now - before).num_seconds());
            prop_assert_eq!(receiver.cursor, 0);
        }
        prop_assert!(waits.iter().all(|wait| *wait <= 900));
        prop_assert!(waits.windows(2).all(|two| two[0] + two[1] > 0), "two attempts without a wait");
    }
}
