//! How devices leave a lane: dispositions that several of its parts give.

use crate::domain::{DeliveryStatus, Finding, PushpostReason, Reason};
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
