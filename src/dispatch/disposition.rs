//! How devices leave a lane: dispositions that several of its parts give.

use crate::domain::{DeliveryStatus, Finding, Job, PushpostReason, Reason};
use crate::queue::recorder::Disposition;

/// How an attempt ended for its device, and what it showed about the token.
pub(super) type Conclusion = (Disposition, Option<Finding>);

/// Rejected for a reason of Pushpost's own.
pub(super) fn rejected(reason: PushpostReason, attempted: bool) -> Disposition {
    let reason = Some(reason.into());
    Disposition::Final { status: DeliveryStatus::Rejected, attempted, reason, provider_id: None }
}

/// Ended before any attempt.
pub(super) fn unsent(status: DeliveryStatus, reason: PushpostReason) -> Disposition {
    Disposition::Final { status, attempted: false, reason: Some(reason.into()), provider_id: None }
}

/// Ended by an attempt: the provider's answer gave this reason.
pub(super) fn answered(status: DeliveryStatus, reason: Reason) -> Disposition {
    Disposition::Final { status, attempted: true, reason: Some(reason), provider_id: None }
}

/// For a device that expired before the present attempt began. A node that died may have made that attempt.
pub(super) fn expired_before_attempt(job: &Job) -> Disposition {
    expired(job.attempts_in_doubt() > 0, job.last_reason.clone(), job.in_doubt)
}

/// `expired` says that no attempt is in doubt; otherwise the status is `unknown` (docs/queue.md#attempts-in-doubt).
pub(super) fn expired(doubtful: bool, last_reason: Option<Reason>, attempted: bool) -> Disposition {
    let (status, reason) = if doubtful {
        (DeliveryStatus::Unknown, Reason::from(PushpostReason::NoAnswer))
    } else {
        (DeliveryStatus::Expired, last_reason.unwrap_or_else(|| Reason::from(PushpostReason::Ttl)))
    };
    Disposition::Final { status, attempted, reason: Some(reason), provider_id: None }
}
