//! The history of a delivery: each attempt, an end without an attempt, and what the device had waited for before. Pure.

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::{DeliveryStatus, DeviceId, LaneState, PushpostReason};
use crate::store::deliveries::{LaneStop, RecordedAttempt, RecordedAttempts};

/// One attempt at one device, or its end without an attempt.
#[derive(Clone, PartialEq, Debug)]
pub struct PastAttempt<'a> {
    /// What its receipt says.
    pub recorded: &'a RecordedAttempt,
    /// What came of it, as the API says it.
    pub outcome: AttemptOutcome,
    /// How long the device had waited: since it was due, or since the attempt before.
    pub waited: TimeDelta,
    /// What most of that time went to.
    pub waited_for: WaitCause,
}

/// What came of an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttemptOutcome {
    /// The device ended with it.
    Final(DeliveryStatus),
    /// The answer, or the fault, allowed another attempt.
    Retry,
    /// It was sent and not answered, and another attempt follows.
    Unknown,
}

/// What a device waited for before an attempt, or before it ended without one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitCause {
    /// Room in the lane, or a node: the lane was running.
    Queue,
    /// The pause between two attempts.
    Backoff,
    /// The lane, which was in this state.
    Lane(LaneState),
}

/// The attempts at a device, in their order, and its end if that was without an attempt.
pub fn of_device(recorded: &RecordedAttempts, device: DeviceId) -> Vec<PastAttempt<'_>> {
    let attempts = recorded.by_device.get(&device).map_or(&[][..], Vec::as_slice);
    let mut before: Option<&RecordedAttempt> = None;
    let mut history = Vec::with_capacity(attempts.len());
    for attempt in attempts.iter().filter(|attempt| !attempt.is_move()) {
        let start = match before {
            Some(before) => Some(before.at),
            // Of a longer history the first attempts were not read.
            None if attempt.attempt > 1 => None,
            None => Some(recorded.due_at),
        };
        let end = attempt.waited_until();
        // Without a start nothing is known of the wait.
        let start = start.unwrap_or(end).min(end);
        let stops = recorded.stops.get(&attempt.lane).map_or(&[][..], Vec::as_slice);
        history.push(PastAttempt {
            recorded: attempt,
            outcome: AttemptOutcome::of(attempt),
            waited: end - start,
            waited_for: cause(stops, start, end, before.is_some()),
        });
        before = Some(attempt);
    }
    history
}

/// What most of the time from `start` to `end` went to.
fn cause(
    stops: &[LaneStop],
    start: DateTime<Utc>,
    end: DateTime<Utc>,
    has_attempt_before: bool,
) -> WaitCause {
    const STATES: [LaneState; 4] =
        [LaneState::Paused, LaneState::Suspended, LaneState::Broken, LaneState::Throttled];
    let stopped = |state| {
        let of_state = stops.iter().filter(|stop| stop.state == state);
        of_state.map(|stop| overlap(stop, start, end)).fold(TimeDelta::zero(), |sum, one| sum + one)
    };
    let rest = STATES.into_iter().fold(end - start, |left, state| left - stopped(state));
    let longest = STATES.into_iter().map(|state| (stopped(state), state)).max_by_key(|(time, _)| *time);
    match longest {
        Some((time, state)) if time > TimeDelta::zero() && time >= rest => WaitCause::Lane(state),
        _ if has_attempt_before => WaitCause::Backoff,
        _ => WaitCause::Queue,
    }
}

fn overlap(stop: &LaneStop, start: DateTime<Utc>, end: DateTime<Utc>) -> TimeDelta {
    let until = stop.ended_at.map_or(end, |ended| ended.min(end));
    (until - stop.began_at.max(start)).max(TimeDelta::zero())
}

impl AttemptOutcome {
    /// Every text of [`Self::as_str`].
    pub const ALL: &[&str] =
        &["retry", "unknown", "accepted", "rejected", "token_dead", "expired", "cancelled"];

    fn of(attempt: &RecordedAttempt) -> Self {
        let no_answer = PushpostReason::NoAnswer.as_str();
        match attempt.status {
            DeliveryStatus::Pending if attempt.reason.as_deref() == Some(no_answer) => Self::Unknown,
            DeliveryStatus::Pending => Self::Retry,
            status => Self::Final(status),
        }
    }

    /// The text in answers: a final status, `retry` or `unknown`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Final(status) => status.as_str(),
            Self::Retry => "retry",
            Self::Unknown => DeliveryStatus::Unknown.as_str(),
        }
    }
}

impl WaitCause {
    /// Every text of [`Self::as_str`].
    pub const ALL: &[&str] =
        &["queue", "backoff", "lane_paused", "lane_suspended", "lane_broken", "lane_throttled"];

    /// The text in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Backoff => "backoff",
            Self::Lane(LaneState::Paused) => PushpostReason::LanePaused.as_str(),
            Self::Lane(LaneState::Suspended) => PushpostReason::LaneSuspended.as_str(),
            Self::Lane(LaneState::Broken) => PushpostReason::LaneBroken.as_str(),
            Self::Lane(LaneState::Throttled) => PushpostReason::LaneThrottled.as_str(),
            Self::Queue | Self::Lane(LaneState::Running | LaneState::Unknown) => "queue",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::LaneId;

    const LANE: LaneId = LaneId(3);
    const DEVICE: DeviceId = DeviceId(1);

    fn at(secs: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(secs)
    }

    fn attempt(number: u16, began: i64, ended: i64, status: DeliveryStatus, reason: &str) -> RecordedAttempt {
        let reason = (!reason.is_empty()).then(|| reason.to_owned());
        RecordedAttempt {
            attempt: number,
            lane: LANE,
            ready_at: None,
            began_at: Some(at(began)),
            at: at(ended),
            status,
            reason,
            is_shared: false,
        }
    }

    fn stop(state: LaneState, began: i64, ended: Option<i64>) -> LaneStop {
        LaneStop { state, reason: None, began_at: at(began), ended_at: ended.map(at) }
    }

    fn history(attempts: Vec<RecordedAttempt>, stops: Vec<LaneStop>) -> Vec<(String, i64, &'static str)> {
        let recorded = RecordedAttempts {
            due_at: at(10),
            by_device: [(DEVICE, attempts)].into(),
            stops: [(LANE, stops)].into(),
        };
        let told = of_device(&recorded, DEVICE);
        told.iter()
            .map(|one| (one.outcome.as_str().to_owned(), one.waited.num_seconds(), one.waited_for.as_str()))
            .collect()
    }

    fn told(lines: &[(&str, i64, &'static str)]) -> Vec<(String, i64, &'static str)> {
        lines.iter().map(|(outcome, waited, cause)| ((*outcome).to_owned(), *waited, *cause)).collect()
    }

    #[test]
    fn each_attempt_says_how_long_the_device_had_waited_and_for_what() {
        let attempts = vec![
            attempt(1, 11, 12, DeliveryStatus::Pending, "UNAVAILABLE"),
            attempt(2, 32, 37, DeliveryStatus::Pending, "no_answer"),
            attempt(3, 137, 138, DeliveryStatus::Accepted, ""),
        ];
        let stops = vec![stop(LaneState::Broken, 12, Some(15)), stop(LaneState::Paused, 40, Some(130))];
        let expected =
            told(&[("retry", 1, "queue"), ("unknown", 20, "backoff"), ("accepted", 100, "lane_paused")]);
        assert_eq!(history(attempts, stops), expected);
    }

    #[test]
    fn an_end_without_an_attempt_is_told_last_with_what_the_device_had_waited_for() {
        let end = |number, ended| RecordedAttempt {
            began_at: None,
            ..attempt(number, ended, ended, DeliveryStatus::Expired, "ttl")
        };
        let paused = || vec![stop(LaneState::Paused, 5, None)];
        assert_eq!(history(vec![end(1, 70)], paused()), told(&[("expired", 60, "lane_paused")]));
        let retried = vec![attempt(1, 11, 12, DeliveryStatus::Pending, "UNAVAILABLE"), end(2, 72)];
        let expected = told(&[("retry", 1, "queue"), ("expired", 60, "backoff")]);
        assert_eq!(history(retried, Vec::new()), expected);
        // It was accepted in advance and cancelled before it was due.
        assert_eq!(history(vec![end(1, 3)], Vec::new()), told(&[("expired", 0, "queue")]));
    }

    #[test]
    fn of_several_stops_the_one_that_took_longest_is_told() {
        let attempts = || vec![attempt(1, 110, 111, DeliveryStatus::Accepted, "")];
        for (stops, expected) in [
            (vec![], "queue"),
            (
                vec![stop(LaneState::Throttled, 0, Some(50)), stop(LaneState::Broken, 50, Some(100))],
                "lane_broken",
            ),
            // Forty of a hundred seconds are less than the sixty in which the lane was running.
            (vec![stop(LaneState::Throttled, 20, Some(60))], "queue"),
            (vec![stop(LaneState::Suspended, 5, None)], "lane_suspended"),
            (vec![stop(LaneState::Paused, 111, Some(200)), stop(LaneState::Paused, 0, Some(10))], "queue"),
        ] {
            assert_eq!(history(attempts(), stops), told(&[("accepted", 100, expected)]));
        }
    }

    #[test]
    fn of_what_was_not_read_no_wait_is_claimed() {
        let late = vec![attempt(7, 500, 501, DeliveryStatus::TokenDead, "UNREGISTERED")];
        assert_eq!(history(late, Vec::new()), told(&[("token_dead", 0, "queue")]));
        // The clocks of two servers may differ after a failover.
        let early = vec![attempt(1, 9, 9, DeliveryStatus::Accepted, "")];
        assert_eq!(history(early, Vec::new()), told(&[("accepted", 0, "queue")]));
        assert_eq!(history(Vec::new(), Vec::new()), []);
    }

    #[test]
    fn every_cause_has_a_text() {
        let states = [LaneState::Paused, LaneState::Suspended, LaneState::Broken, LaneState::Throttled];
        let lanes = states.map(|state| WaitCause::Lane(state).as_str());
        let all: Vec<_> =
            [WaitCause::Queue, WaitCause::Backoff].map(WaitCause::as_str).into_iter().chain(lanes).collect();
        assert_eq!(all, WaitCause::ALL);
    }
}
