//! What an outcome means for the lane, for the pruning guard, for the token and for the log. Pure.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::dispatch::credentials::send::Reply;
use crate::dispatch::health::{Generation, LaneEvent, ProbeTarget, bounded_retry_after};
use crate::domain::{
    Certainty, DeviceId, DeviceToken, FailureDomain, Finding, Job, LaneCause, MinDelay,
    MisconfigurationScope, Outcome, Reason, TokenVerdict,
};
use crate::pruning::TokenSignal;

/// What the reply says about the lane; none: nothing.
pub(super) fn lane_event(reply: &Reply, generation: Generation, target: ProbeTarget) -> Option<LaneEvent> {
    if !reply.concerns_lane {
        return None;
    }
    Some(match &reply.outcome {
        Outcome::RetryLane { reason, cause, after } => {
            let retry_after = after.map(bounded_retry_after);
            LaneEvent::MustWait { generation, cause: *cause, reason: reason.clone(), retry_after }
        }
        Outcome::RetryTarget {
            reason,
            min_delay,
            failure_domain: FailureDomain::Provider | FailureDomain::Connection,
        } => {
            let retry_after = match min_delay {
                MinDelay::Exactly(wait) => Some(*wait),
                _ => None,
            };
            LaneEvent::ServerError { generation, target, reason: reason.clone(), retry_after }
        }
        Outcome::Misconfigured {
            reason,
            about: MisconfigurationScope::Credential | MisconfigurationScope::Topic,
        } => LaneEvent::CredentialRejected { generation, reason: reason.clone() },
        Outcome::Misconfigured { about: MisconfigurationScope::Override, .. } => {
            LaneEvent::Inconclusive(generation)
        }
        Outcome::Rejected { .. } if reply.is_overridden => LaneEvent::Inconclusive(generation),
        Outcome::Unknown => LaneEvent::TimedOut(generation),
        Outcome::Withdrawn => return None,
        _ => LaneEvent::Succeeded(generation),
    })
}

/// How long the provider wants the lane's whole project to wait, and why.
pub(super) fn project_wait(reply: &Reply) -> Option<(Duration, &Reason)> {
    match &reply.outcome {
        Outcome::RetryLane { reason, cause: LaneCause::Throttled, after: Some(after) }
            if reply.concerns_lane =>
        {
            Some((bounded_retry_after(*after), reason))
        }
        _ => None,
    }
}

/// What the pruning guard counts: answers that say something about a token, or could have. A fault of the provider or of
/// this node says nothing.
pub(super) fn token_signal(outcome: &Outcome) -> Option<TokenSignal> {
    match outcome {
        Outcome::Accepted { .. } | Outcome::Rejected { .. } => Some(TokenSignal::MayBeAlive),
        Outcome::TokenDead { certainty, .. } => Some(TokenSignal::Dead(*certainty)),
        _ => None,
    }
}

/// What is noted about the token. Accepted tokens are not recorded, because that costs a statement per device.
pub(super) fn finding(
    outcome: &Outcome,
    job: &Job,
    device: DeviceId,
    token: &DeviceToken,
    attempted_at: DateTime<Utc>,
) -> Option<Finding> {
    let Outcome::TokenDead { reason, since, certainty } = outcome else { return None };
    Some(Finding::Dead(TokenVerdict {
        device,
        lane: job.lane,
        digest: token.digest(),
        since: since.unwrap_or(attempted_at),
        reason: reason.clone(),
        certainty: *certainty,
    }))
}

/// How the log names an outcome, and the provider's reason.
pub(super) fn log_name(outcome: &Outcome) -> (&'static str, Option<&Reason>) {
    match outcome {
        Outcome::Accepted { .. } => ("accepted", None),
        Outcome::RetryTarget { reason, .. } => ("retry", Some(reason)),
        Outcome::RetryLane { reason, .. } => ("lane_retry", Some(reason)),
        Outcome::TokenDead { reason, certainty: Certainty::Certain, .. } => ("token_dead", Some(reason)),
        Outcome::TokenDead { reason, .. } => ("token_doubtful", Some(reason)),
        Outcome::Rejected { reason } => ("rejected", Some(reason)),
        Outcome::Misconfigured { reason, .. } => ("misconfigured", Some(reason)),
        Outcome::Unknown => ("unknown", None),
        Outcome::Withdrawn => ("withdrawn", None),
    }
}

/// Is an attempt with this outcome logged at `debug` only? A wrong Apple key at Firebase is reported once for all devices
/// ([`super::super::fcm_apns_key`]).
pub(super) fn is_quiet(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Accepted { .. } | Outcome::Misconfigured { about: MisconfigurationScope::StoredKey, .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::NotificationId;

    /// The one in which these attempts started.
    const GENERATION: Generation = Generation::FIRST;

    fn target() -> ProbeTarget {
        (NotificationId::floor(DateTime::UNIX_EPOCH), DeviceId(1))
    }

    fn event(outcome: Outcome, is_overridden: bool) -> Option<LaneEvent> {
        let reply = Reply { outcome, concerns_lane: true, is_overridden };
        lane_event(&reply, GENERATION, target())
    }

    fn reason() -> Reason {
        Reason::new("Word")
    }

    fn retry(failure_domain: FailureDomain) -> Outcome {
        let min_delay = MinDelay::Exactly(Duration::from_secs(7));
        Outcome::RetryTarget { reason: reason(), min_delay, failure_domain }
    }

    #[test]
    fn each_outcome_is_an_event_of_the_lane() {
        let (generation, reason) = (GENERATION, reason());
        let misconfigured = |about| Outcome::Misconfigured { reason: self::reason(), about };
        let succeeded = Some(LaneEvent::Succeeded(generation));
        let inconclusive = Some(LaneEvent::Inconclusive(generation));
        let rejected = Some(LaneEvent::CredentialRejected { generation, reason: reason.clone() });
        let retry_after = Some(Duration::from_secs(7));
        let server_error = Some(LaneEvent::ServerError {
            generation,
            target: target(),
            reason: reason.clone(),
            retry_after,
        });
        let dead = Outcome::TokenDead { reason: reason.clone(), since: None, certainty: Certainty::Certain };
        for (outcome, expected) in [
            (Outcome::Accepted { provider_id: None }, succeeded.clone()),
            (Outcome::Rejected { reason: reason.clone() }, succeeded.clone()),
            (dead, succeeded.clone()),
            (retry(FailureDomain::Device), succeeded.clone()),
            (retry(FailureDomain::Connection), server_error.clone()),
            (retry(FailureDomain::Provider), server_error),
            (misconfigured(MisconfigurationScope::Credential), rejected.clone()),
            (misconfigured(MisconfigurationScope::Topic), rejected),
            (misconfigured(MisconfigurationScope::Override), inconclusive.clone()),
            (misconfigured(MisconfigurationScope::StoredKey), succeeded),
            (Outcome::Unknown, Some(LaneEvent::TimedOut(generation))),
            (Outcome::Withdrawn, None),
        ] {
            assert_eq!(event(outcome.clone(), false), expected, "{outcome:?}");
        }
        assert_eq!(event(Outcome::Rejected { reason }, true), inconclusive, "the request overrode a header");
    }

    #[test]
    fn an_outcome_that_does_not_concern_the_lane_is_no_event() {
        let outcome = Outcome::RetryLane {
            reason: reason(),
            cause: LaneCause::Throttled,
            after: Some(Duration::from_secs(86_400)),
        };
        let mut reply = Reply { outcome, concerns_lane: true, is_overridden: false };
        let an_hour = Duration::from_secs(3_600);
        assert_eq!(project_wait(&reply), Some((an_hour, &reason())));
        let expected = LaneEvent::MustWait {
            generation: GENERATION,
            cause: LaneCause::Throttled,
            reason: reason(),
            retry_after: Some(an_hour),
        };
        assert_eq!(lane_event(&reply, GENERATION, target()), Some(expected));
        reply.concerns_lane = false;
        assert_eq!((project_wait(&reply), lane_event(&reply, GENERATION, target())), (None, None));
    }
}
