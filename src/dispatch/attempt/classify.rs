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
        Outcome::Accepted { .. } | Outcome::Rejected { .. } => Some(TokenSignal::Other),
        Outcome::TokenDead { certainty, .. } => Some(TokenSignal::Dead(*certainty)),
        _ => None,
    }
}

/// What is noted about the token. That a token was taken in its own environment is not: it would cost a statement per
/// device.
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

/// How the log names an outcome, and the provider's word for it.
pub(super) fn log_words(outcome: &Outcome) -> (&'static str, Option<&Reason>) {
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
