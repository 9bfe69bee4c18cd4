//! What an outcome means for a device, given what came before and the time that is left. Pure.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::dispatch::disposition::{answered, expired};
use crate::dispatch::fcm_apns_key;
use crate::domain::{
    DeliveryStatus, Job, MinDelay, MisconfigurationScope, Outcome, PushpostReason, Reason, RetryPolicy,
};
use crate::queue::recorder::Disposition;

/// So many attempts at one device may end without an answer (docs/queue.md#attempts-in-doubt).
const UNANSWERED_MAX: u16 = 5;

/// What a device's disposition depends on besides the outcome.
pub(super) struct DeviceState<'a> {
    pub(super) job: &'a Job,
    /// `ttl` is 0: there is one attempt.
    pub(super) once: bool,
    pub(super) now: DateTime<Utc>,
    pub(super) retry: RetryPolicy,
}

impl DeviceState<'_> {
    /// `draw`: random, in 0..1, for the jitter of a retry.
    pub(super) fn disposition(&self, outcome: Outcome, draw: f64) -> Disposition {
        match outcome {
            Outcome::Accepted { provider_id } => Disposition::Final {
                status: DeliveryStatus::Accepted,
                attempted: true,
                reason: None,
                provider_id,
            },
            Outcome::Rejected { reason } => answered(DeliveryStatus::Rejected, reason),
            Outcome::TokenDead { reason, .. } => answered(DeliveryStatus::TokenDead, reason),
            Outcome::RetryTarget { reason, min_delay, .. } => {
                let min_delay = match min_delay {
                    MinDelay::ServerError => self.retry.initial,
                    MinDelay::Throttled => self.retry.throttled,
                    MinDelay::Exactly(wait) => wait,
                    MinDelay::None => Duration::ZERO,
                };
                self.retry(reason, min_delay, false, draw)
            }
            Outcome::Unknown if self.job.attempts_in_doubt() + 1 >= UNANSWERED_MAX => {
                answered(DeliveryStatus::Unknown, Reason::from(PushpostReason::NoAnswer))
            }
            Outcome::Unknown => {
                self.retry(Reason::from(PushpostReason::NoAnswer), self.retry.initial, true, draw)
            }
            // A stored key concerns only the Apple and web tokens of the lane, and FCM alone can tell which these are. An
            // override concerns only this request. So the lane goes on, and the device's attempt does not count.
            Outcome::Misconfigured {
                reason,
                about: MisconfigurationScope::StoredKey | MisconfigurationScope::Override,
            } => self.retry_uncounted(reason, draw),
            Outcome::RetryLane { .. } | Outcome::Misconfigured { .. } | Outcome::Withdrawn => {
                Disposition::Returned
            }
        }
    }

    /// The device is not to blame, so the attempt does not count. The waits grow with the age of the notification.
    fn retry_uncounted(&self, reason: Reason, draw: f64) -> Disposition {
        let age = (self.now - self.job.notification.at()).to_std().unwrap_or_default();
        match self.retry(reason, fcm_apns_key::retry_delay_min(self.retry, age), false, draw) {
            Disposition::Retry { lane, delay, unanswered, reason, .. } => {
                Disposition::Retry { lane, delay, attempted: false, unanswered, reason }
            }
            other => other,
        }
    }

    /// Another attempt. If it would come too late, or there is only one, the device ends at once.
    fn retry(&self, reason: Reason, min_delay: Duration, unanswered: bool, draw: f64) -> Disposition {
        let delay = self.retry.delay(self.job.attempt, min_delay, draw);
        let left = (self.job.expires_at - self.now).to_std().unwrap_or_default();
        if self.once || delay >= left {
            let doubtful = unanswered || self.job.attempts_in_doubt() > 0;
            return expired(doubtful, Some(reason), true);
        }
        Disposition::Retry { lane: None, delay, attempted: true, unanswered, reason: Some(reason) }
    }
}

#[cfg(test)]
mod tests;
