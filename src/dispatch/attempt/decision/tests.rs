//! What an outcome means for a device, given what came before and the time that is left.

use chrono::{DateTime, TimeDelta};

use super::*;
use crate::dispatch::disposition::expired_before_attempt;
use crate::domain::{Class, DeviceId, FailureDomain, JobId, LaneCause, LaneId, NotificationId, Priority};

const RETRY: RetryPolicy = RetryPolicy {
    initial: Duration::from_secs(10),
    throttled: Duration::from_secs(60),
    max: Duration::from_secs(900),
};

fn job(unanswered: u16) -> Job {
    Job {
        id: JobId(1),
        notification: NotificationId::floor(DateTime::UNIX_EPOCH),
        lane: LaneId(1),
        priority: Priority::Normal,
        class: Class::Direct,
        version: 0,
        attempt: 1,
        unanswered,
        in_doubt: false,
        node_deaths: 0,
        due_at: DateTime::UNIX_EPOCH,
        expires_at: DateTime::UNIX_EPOCH + TimeDelta::hours(1),
        last_reason: None,
        environment_probe_since: None,
        trace: None,
        devices: vec![DeviceId(1)],
        done: None,
    }
}

fn ending(job: &Job, once: bool, left_secs: u64, outcome: Outcome) -> Disposition {
    let now = job.expires_at - TimeDelta::seconds(left_secs.cast_signed());
    DeviceState { job, once, now, retry: RETRY }.disposition(outcome, 0.0)
}

fn busy(min_delay: MinDelay) -> Outcome {
    Outcome::RetryTarget { reason: Reason::new("busy"), min_delay, failure_domain: FailureDomain::Device }
}

fn status(ending: &Disposition) -> Option<DeliveryStatus> {
    match ending {
        Disposition::Final { status, .. } => Some(*status),
        _ => None,
    }
}

fn delay_secs(ending: &Disposition) -> Option<u64> {
    match ending {
        Disposition::Retry { delay, .. } => Some(delay.as_secs()),
        _ => None,
    }
}

#[test]
fn a_retry_waits_at_least_its_minimum_delay() {
    for (min_delay, secs) in [
        (MinDelay::ServerError, 10),
        (MinDelay::Throttled, 60),
        (MinDelay::Exactly(Duration::from_secs(7)), 7),
        (MinDelay::None, 0),
    ] {
        assert_eq!(delay_secs(&ending(&job(0), false, 3600, busy(min_delay))), Some(secs), "{min_delay:?}");
    }
}

#[test]
fn a_retry_that_would_come_too_late_ends_at_once_with_the_last_reason() {
    let ended = ending(&job(0), false, 10, busy(MinDelay::ServerError));
    assert_eq!(status(&ended), Some(DeliveryStatus::Expired));
    assert!(matches!(ended, Disposition::Final { reason: Some(reason), .. } if reason.as_str() == "busy"));
}

#[test]
fn a_device_that_may_have_been_sent_never_ends_as_expired() {
    let ended = ending(&job(1), false, 10, busy(MinDelay::ServerError));
    assert_eq!(status(&ended), Some(DeliveryStatus::Unknown));
    assert_eq!(status(&ending(&job(0), false, 5, Outcome::Unknown)), Some(DeliveryStatus::Unknown));
    assert_eq!(status(&expired_before_attempt(&job(1))), Some(DeliveryStatus::Unknown));
    assert_eq!(status(&expired_before_attempt(&job(0))), Some(DeliveryStatus::Expired));
    let in_doubt = Job { in_doubt: true, ..job(0) };
    let ended = expired_before_attempt(&in_doubt);
    assert!(
        matches!(ended, Disposition::Final { status: DeliveryStatus::Unknown, attempted: true, .. }),
        "{ended:?}"
    );
    assert_eq!(
        status(&ending(&in_doubt, false, 1, busy(MinDelay::ServerError))),
        Some(DeliveryStatus::Unknown)
    );
}

#[test]
fn a_notification_with_ttl_0_is_never_retried() {
    assert_eq!(status(&ending(&job(0), true, 3600, busy(MinDelay::None))), Some(DeliveryStatus::Expired));
    assert_eq!(status(&ending(&job(0), true, 3600, Outcome::Unknown)), Some(DeliveryStatus::Unknown));
}

#[test]
fn five_attempts_without_an_answer_are_enough() {
    assert!(matches!(
        ending(&job(3), false, 3600, Outcome::Unknown),
        Disposition::Retry { unanswered: true, .. }
    ));
    assert_eq!(status(&ending(&job(4), false, 3600, Outcome::Unknown)), Some(DeliveryStatus::Unknown));
}

#[test]
fn a_failure_of_a_stored_key_or_an_override_costs_time_but_no_attempt() {
    for about in [MisconfigurationScope::StoredKey, MisconfigurationScope::Override] {
        let outcome = Outcome::Misconfigured { reason: Reason::new("Forbidden"), about };
        let ended = ending(&job(0), false, 3600, outcome);
        assert!(matches!(ended, Disposition::Retry { lane: None, attempted: false, .. }), "{ended:?}");
    }
}

#[test]
fn a_failure_that_concerns_the_lane_is_not_recorded_for_the_device() {
    let reason = Reason::new("InvalidProviderToken");
    for outcome in [
        Outcome::RetryLane { reason: reason.clone(), cause: LaneCause::Outage, after: None },
        Outcome::Misconfigured { reason: reason.clone(), about: MisconfigurationScope::Credential },
        Outcome::Misconfigured { reason, about: MisconfigurationScope::Topic },
    ] {
        assert_eq!(ending(&job(0), false, 3600, outcome), Disposition::Returned);
    }
}
