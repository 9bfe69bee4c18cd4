//! What each kind of course is told as, and what holds for any course.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::domain::{AppLane, LaneId, LaneState};
use crate::provider::built_in_platforms;
use crate::store::deliveries::{LaneStop, RecordedAttempt, WaitingJob};

const FCM: LaneId = LaneId(3);

/// Lanes 1 and 2 are APNs's, 3 is FCM's.
fn app() -> App {
    let platforms = built_in_platforms();
    let lanes = platforms.lanes().zip(1..);
    App {
        id: AppId(1),
        name: "shop".to_owned(),
        lanes: lanes.map(|(key, id)| (key, AppLane { id: LaneId(id), configured: true })).collect(),
        defaults: [].into(),
        topics_max: 1,
        user_tokens: None,
        cleanups: Vec::new(),
    }
}

fn at(millis: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::milliseconds(millis)
}

/// An attempt in the lane of FCM from `began` to `ended`.
fn attempt(number: u16, began: i64, ended: i64, status: DeliveryStatus, reason: &str) -> RecordedAttempt {
    RecordedAttempt {
        attempt: number,
        lane: FCM,
        ready_at: None,
        began_at: Some(at(began)),
        at: at(ended),
        status,
        reason: (!reason.is_empty()).then(|| reason.to_owned()),
        is_shared: false,
    }
}

/// The end of a device that was not tried.
fn untried(ended: i64, status: DeliveryStatus, reason: &str) -> RecordedAttempt {
    RecordedAttempt { began_at: None, ..attempt(1, ended, ended, status, reason) }
}

fn stop(state: LaneState, began: i64, ended: Option<i64>, reason: &str) -> LaneStop {
    let reason = (!reason.is_empty()).then(|| reason.to_owned());
    LaneStop { state, reason, began_at: at(began), ended_at: ended.map(at) }
}

/// A course that was read after 100 s, of a notification that was due at once.
fn course(end: CourseEnd, steps: Vec<RecordedAttempt>, stops: Vec<LaneStop>) -> DeviceCourse {
    DeviceCourse {
        now: at(100_000),
        created_at: at(0),
        due_at: at(0),
        trace_id: None,
        device: Some(DeviceId(1)),
        end,
        steps,
        stops: [(FCM, stops)].into(),
    }
}

fn waits(ready: Option<i64>, attempt: u16) -> CourseEnd {
    CourseEnd::Waits(WaitingJob { lane: FCM, ready_at: ready.map(at), attempt })
}

/// Causes with milliseconds, and the summary.
fn told(course: &DeviceCourse) -> (Vec<(&'static str, i64)>, String) {
    let why = Why::of(course, &app());
    let causes = why.segments.iter().map(|one| (one.cause.as_str(), one.duration().num_milliseconds()));
    (causes.collect(), why.summary)
}

#[test]
fn a_throttled_lane_is_told_as_in_the_example() {
    let steps = vec![attempt(1, 12_400, 12_520, DeliveryStatus::Accepted, "")];
    let stops = vec![stop(LaneState::Throttled, -3_000, Some(12_400), "RESOURCE_EXHAUSTED")];
    let (causes, summary) = told(&course(CourseEnd::Ended, steps, stops));
    assert_eq!(causes, [("lane_throttled", 12_400), ("attempt", 120)]);
    assert_eq!(
        summary,
        "Waited 12.4 s: lane fcm was throttled (RESOURCE_EXHAUSTED). Then accepted at attempt 1."
    );
}

#[test]
fn a_retry_is_told_with_its_pause_and_the_answer_before_it() {
    let again = attempt(1, 4, 250, DeliveryStatus::Pending, "UNAVAILABLE");
    let last = RecordedAttempt {
        ready_at: Some(at(10_250)),
        ..attempt(2, 20_000, 20_100, DeliveryStatus::Rejected, "THE_REASON")
    };
    // The lane is stopped before and after the device is due again: only the latter is what the device waited for.
    let stops = vec![stop(LaneState::Paused, 1_000, Some(18_000), "")];
    let (causes, summary) = told(&course(CourseEnd::Ended, vec![again.clone(), last.clone()], stops.clone()));
    assert_eq!(
        causes,
        [
            ("queue", 4),
            ("attempt", 246),
            ("backoff", 10_000),
            ("lane_paused", 7_750),
            ("queue", 2_000),
            ("attempt", 100)
        ]
    );
    assert_eq!(
        summary,
        "Waited 4 ms for room or a connection in lane fcm. Attempt 1 failed after 246 ms (UNAVAILABLE). Waited 10.0 s after attempt 1 \
         (UNAVAILABLE), before the next one. Waited 7.7 s: lane fcm was paused. Waited 2.0 s for room or a connection in lane fcm. Then \
         rejected at attempt 2 (THE_REASON)."
    );
    // Without the time at which it was due, all but the stop counts as the pause.
    let unknown = RecordedAttempt { ready_at: None, ..last };
    let (causes, _) = told(&course(CourseEnd::Ended, vec![again, unknown], stops));
    assert_eq!(causes[2..5], [("backoff", 750), ("lane_paused", 17_000), ("backoff", 2_000)]);
}

#[test]
fn a_scheduled_notification_is_told_with_the_search_for_its_audience() {
    let found = RecordedAttempt {
        ready_at: Some(at(61_500)),
        is_shared: true,
        ..attempt(1, 61_500, 61_600, DeliveryStatus::Accepted, "")
    };
    let scheduled = DeviceCourse { due_at: at(60_000), ..course(CourseEnd::Ended, vec![found], Vec::new()) };
    let (causes, summary) = told(&scheduled);
    assert_eq!(causes, [("scheduled", 60_000), ("audience", 1_500), ("attempt", 100)]);
    assert_eq!(
        summary,
        "Waited 1 min 0 s until the scheduled time. Waited 1.5 s: the audience was still being found. Then accepted at \
         attempt 1."
    );
    assert_eq!(Why::of(&scheduled, &app()).precision, Precision::Receipt);

    let early = DeviceCourse { device: None, due_at: at(200_000), end: CourseEnd::Searching, ..scheduled };
    let early = DeviceCourse { steps: Vec::new(), ..early };
    assert_eq!(told(&early), (vec![("scheduled", 100_000)], "Waits until the scheduled time.".to_owned()));
    let late = DeviceCourse { due_at: at(60_000), ..early.clone() };
    assert_eq!(told(&late).0, [("scheduled", 60_000), ("audience", 40_000)]);
    let cancelled = CourseEnd::WithoutDevice { at: at(30_000), is_cancelled: true };
    let cancelled = DeviceCourse { end: cancelled, ..early };
    let expected = "Waited 30.0 s until the scheduled time; then cancelled.";
    assert_eq!(told(&cancelled), (vec![("scheduled", 30_000)], expected.to_owned()));
    assert_eq!(Why::of(&cancelled, &app()).status, Some(DeliveryStatus::Cancelled));
}

#[test]
fn a_device_that_waits_is_told_up_to_now_with_what_to_do() {
    let stops = vec![stop(LaneState::Paused, 90_000, None, "")];
    let waiting = course(waits(None, 1), Vec::new(), stops);
    let why = Why::of(&waiting, &app());
    assert_eq!(
        told(&waiting),
        (
            vec![("queue", 90_000), ("lane_paused", 10_000)],
            "Waited 1 min 30 s for room or a connection in lane fcm. Has waited 10.0 s: lane fcm is paused."
                .to_owned()
        )
    );
    assert_eq!((why.status, why.ended_at), (Some(DeliveryStatus::Pending), None));
    let actions: Vec<_> = why.segments.iter().map(|one| one.action.as_deref().unwrap_or_default()).collect();
    assert!(actions[0].starts_with("Add nodes, or send with a higher priority. "), "{actions:?}");
    assert_eq!(actions[1], "Resume the lane: pushpost queue resume fcm");
    // A stop that has just begun is what the device waits for now.
    let stops = vec![stop(LaneState::Paused, 99_000, None, "")];
    assert_eq!(told(&course(waits(None, 1), Vec::new(), stops)).0[1], ("lane_paused", 1_000));
    let again = attempt(1, 1, 2, DeliveryStatus::Pending, "UNAVAILABLE");
    let (causes, summary) = told(&course(waits(Some(500_000), 2), vec![again], Vec::new()));
    assert_eq!(causes[2], ("backoff", 99_998));
    assert!(
        summary.ends_with("Has waited 1 min 39 s after attempt 1 (UNAVAILABLE), before the next one."),
        "{summary}"
    );
}

#[test]
fn an_end_without_an_attempt_is_told_in_the_last_sentence() {
    let expired = vec![untried(60_000, DeliveryStatus::Expired, "ttl")];
    let stops = vec![stop(LaneState::Suspended, 1_000, None, "THIRD_PARTY_AUTH_ERROR")];
    assert_eq!(
        told(&course(CourseEnd::Ended, expired, stops)),
        (
            vec![("queue", 1_000), ("lane_suspended", 59_000)],
            "Waited 1.0 s for room or a connection in lane fcm. Waited 59.0 s: lane fcm was suspended (THIRD_PARTY_AUTH_ERROR); then \
             expired (ttl)."
                .to_owned()
        )
    );
    let at_once = vec![untried(0, DeliveryStatus::Rejected, "bad_token")];
    assert_eq!(
        told(&course(CourseEnd::Ended, at_once, Vec::new())),
        (
            vec![("queue", 0)],
            "Waited 0 ms for room or a connection in lane fcm; then rejected (bad_token).".to_owned()
        )
    );
    let none = CourseEnd::WithoutDevice { at: at(0), is_cancelled: false };
    assert_eq!(told(&course(none, Vec::new(), Vec::new())).0, [("audience", 0)]);
}

#[test]
fn a_move_to_another_lane_is_told_by_the_lanes() {
    let moved = RecordedAttempt { lane: LaneId(1), ..untried(20_000, DeliveryStatus::Pending, "") };
    let last = RecordedAttempt {
        ready_at: Some(at(20_000)),
        ..attempt(1, 30_000, 30_100, DeliveryStatus::Accepted, "")
    };
    let mut moving =
        course(CourseEnd::Ended, vec![moved, last], vec![stop(LaneState::Broken, 0, Some(26_000), "")]);
    moving.stops.insert(LaneId(1), vec![stop(LaneState::Paused, 5_000, Some(25_000), "")]);
    let why = Why::of(&moving, &app());
    let told: Vec<_> = why
        .segments
        .iter()
        .map(|one| (one.cause.as_str(), one.lane.map(|lane| lane.to_string()).unwrap_or_default()))
        .collect();
    let expected = [
        ("queue", "apns-production"),
        ("lane_paused", "apns-production"),
        ("lane_broken", "fcm"),
        ("queue", "fcm"),
        ("attempt", "fcm"),
    ];
    assert_eq!(told, expected.map(|(cause, lane)| (cause, lane.to_owned())));
}

/// The notification's `held` lists short stops too, so `why` names the same ones.
#[test]
fn every_stop_is_told_however_short() {
    let accepted = || vec![attempt(1, 50_000, 50_001, DeliveryStatus::Accepted, "")];
    let states = [LaneState::Throttled, LaneState::Broken];
    let [throttled, broken] = states;
    for (stops, expected) in [
        (
            vec![stop(LaneState::Paused, 1_000, Some(1_900), "")],
            vec!["queue", "lane_paused", "queue", "attempt"],
        ),
        (
            vec![stop(throttled, 1_000, Some(4_000), ""), stop(broken, 4_000, Some(7_000), "")],
            vec!["queue", "lane_throttled", "lane_broken", "queue", "attempt"],
        ),
        // A stop of which only the end concerns the device.
        (vec![stop(broken, -60_000, Some(2_000), "")], vec!["lane_broken", "queue", "attempt"]),
        // Stops that overlap, as no version writes them.
        (
            vec![stop(throttled, 1_000, Some(9_000), ""), stop(broken, 5_000, Some(7_000), "")],
            vec!["queue", "lane_throttled", "queue", "attempt"],
        ),
    ] {
        let (causes, _) = told(&course(CourseEnd::Ended, accepted(), stops.clone()));
        let causes: Vec<_> = causes.into_iter().map(|(cause, _)| cause).collect();
        assert_eq!(causes, expected, "{stops:?}");
    }
}

#[test]
fn attempts_that_were_not_read_are_no_gap() {
    let late = vec![attempt(120, 50_000, 50_100, DeliveryStatus::TokenDead, "UNREGISTERED")];
    let (causes, summary) = told(&course(CourseEnd::Ended, late, Vec::new()));
    assert_eq!(causes, [("backoff", 50_000), ("attempt", 100)]);
    assert_eq!(
        summary,
        "Waited 50.0 s for attempts that are not listed. Then called dead at attempt 120 (UNREGISTERED)."
    );
}

#[test]
fn every_cause_has_a_text() {
    let waits = [WaitCause::Queue, WaitCause::Backoff].map(DelayCause::Wait);
    let states = [LaneState::Paused, LaneState::Suspended, LaneState::Broken, LaneState::Throttled];
    let lanes = states.map(|state| DelayCause::Wait(WaitCause::Lane(state)));
    let others = [DelayCause::Scheduled, DelayCause::Audience, DelayCause::Attempt];
    let mut all: Vec<_> = waits.into_iter().chain(lanes).chain(others).map(DelayCause::as_str).collect();
    let mut listed = DelayCause::ALL.to_vec();
    all.sort_unstable();
    listed.sort_unstable();
    assert_eq!(all, listed);
}

fn time() -> impl Strategy<Value = DateTime<Utc>> {
    // Microseconds, as Postgres stores them; some before the notification was accepted.
    (-20_000_000_i64..200_000_000).prop_map(|micros| DateTime::UNIX_EPOCH + TimeDelta::microseconds(micros))
}

fn lane() -> impl Strategy<Value = LaneId> {
    // Of the last one nothing is configured.
    (1_i32..5).prop_map(LaneId)
}

fn reason() -> impl Strategy<Value = Option<String>> {
    prop_oneof![Just(None), Just(Some("UNAVAILABLE".to_owned())), Just(Some("no_answer".to_owned()))]
}

fn step() -> impl Strategy<Value = RecordedAttempt> {
    let status = prop::sample::select(DeliveryStatus::ALL);
    let times = (proptest::option::of(time()), proptest::option::of(time()), time());
    (1_u16..4, lane(), times, status, reason(), any::<bool>()).prop_map(
        |(attempt, lane, (ready_at, began_at, at), status, reason, is_shared)| RecordedAttempt {
            attempt,
            lane,
            ready_at,
            began_at,
            at,
            status,
            reason,
            is_shared,
        },
    )
}

fn stops() -> impl Strategy<Value = HashMap<LaneId, Vec<LaneStop>>> {
    let state = prop::sample::select(LaneState::ALL);
    let stop = (state, time(), proptest::option::of(time()), reason())
        .prop_map(|(state, began_at, ended_at, reason)| LaneStop { state, reason, began_at, ended_at });
    let of_lane = prop::collection::vec(stop, 0..6).prop_map(|mut stops| {
        stops.sort_by_key(|stop| stop.began_at);
        stops
    });
    prop::collection::hash_map(lane(), of_lane, 0..4)
}

fn any_course() -> impl Strategy<Value = DeviceCourse> {
    let waits = (lane(), proptest::option::of(time()), 1_u16..4)
        .prop_map(|(lane, ready_at, attempt)| CourseEnd::Waits(WaitingJob { lane, ready_at, attempt }));
    let without =
        (time(), any::<bool>()).prop_map(|(at, is_cancelled)| CourseEnd::WithoutDevice { at, is_cancelled });
    let end =
        prop_oneof![4 => Just(CourseEnd::Ended), 2 => waits, 1 => Just(CourseEnd::Searching), 1 => without];
    (time(), time(), time(), end, prop::collection::vec(step(), 0..6), stops()).prop_map(
        |(now, created_at, due_at, end, steps, stops)| DeviceCourse {
            now,
            created_at,
            due_at,
            trace_id: None,
            device: None,
            end,
            steps,
            stops,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever is stored: the times of an erased device, of two nodes with clocks of their own, or of a failover.
    #[test]
    fn segments_follow_each_other_without_a_gap_and_add_up(course in any_course()) {
        let why = Why::of(&course, &app());
        let (first, last) = (why.segments.first().expect("one"), why.segments.last().expect("one"));
        prop_assert_eq!(first.from, why.created_at);
        prop_assert_eq!(last.to, why.created_at + why.total);
        prop_assert!(why.ended_at.is_none_or(|ended_at| ended_at == last.to));
        for two in why.segments.windows(2) {
            prop_assert_eq!(two[0].to, two[1].from);
        }
        let is_short = |one: &Segment| one.duration() == TimeDelta::zero();
        for one in &why.segments {
            prop_assert!(one.from <= one.to);
            prop_assert!(!is_short(one) || one.cause == DelayCause::Attempt || why.segments.len() == 1);
            prop_assert_eq!(one.from.timestamp_subsec_nanos() % 1_000_000, 0);
            let is_told = one.cause != DelayCause::Wait(WaitCause::Queue) || one.reason.is_none();
            prop_assert!(is_told);
        }
        let sum: f64 = why.segments.iter().map(|one| one.duration().as_seconds_f64()).sum();
        prop_assert!((sum - why.total.as_seconds_f64()).abs() < 0.001);
        let tried: Vec<_> = course.steps.iter().filter(|step| step.began_at.is_some()).map(|step| step.attempt).collect();
        let attempts = why.segments.iter().filter(|one| one.cause == DelayCause::Attempt);
        prop_assert_eq!(attempts.filter_map(|one| one.attempt).collect::<Vec<_>>(), tried);
        prop_assert_eq!(why.summary.matches(". ").count() + 1, why.segments.len(), "{}", why.summary);
        prop_assert!(why.summary.ends_with('.'));
    }
}
