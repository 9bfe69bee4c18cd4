//! What has become of a device since it was addressed (docs/queue.md#token-load). Asked when the device is loaded, and
//! again when it has waited for long.

use std::sync::Arc;
use std::time::Duration;

use crate::dispatch::disposition::{rejected, unsent};
use crate::dispatch::panics;
use crate::dispatch::rendered::RenderedNotification;
use crate::domain::{App, DeliveryStatus, Job, LaneKey, PushpostReason, Reason};
use crate::provider::Provider;
use crate::queue::recorder::Disposition;
use crate::store::notifications::AddressedUser;
use crate::store::tokens::LoadedDevice;

/// Judges the devices of one lane.
#[derive(Debug)]
pub(in crate::dispatch) struct DeviceJudge {
    /// As logs name the lane.
    pub(in crate::dispatch) lane: String,
    pub(in crate::dispatch) app: Arc<App>,
    pub(in crate::dispatch) key: LaneKey,
    pub(in crate::dispatch) provider: &'static dyn Provider,
}

impl DeviceJudge {
    /// How the device leaves the lane unsent; none: it can be sent. `addressed`: the user that it was addressed
    /// through.
    /// A device or notification that makes this panic is rejected.
    pub(super) fn judge(
        &self,
        job: &Job,
        notification: &RenderedNotification,
        addressed: Option<&AddressedUser>,
        device: Option<&LoadedDevice>,
    ) -> Option<Disposition> {
        let judge = || self.judge_now(job, notification, addressed, device);
        let judged = panics::caught(judge, &self.lane, job.notification);
        judged.unwrap_or_else(|| Some(rejected(PushpostReason::Internal, false)))
    }

    fn judge_now(
        &self,
        job: &Job,
        notification: &RenderedNotification,
        addressed: Option<&AddressedUser>,
        device: Option<&LoadedDevice>,
    ) -> Option<Disposition> {
        let Some(device) = device else { return Some(cancelled(job, PushpostReason::DeviceGone)) };
        let has_left =
            |addressed: &AddressedUser| addressed.is_erased || Some(&addressed.user) != device.user.as_ref();
        if notification.is_by_user() && addressed.is_some_and(has_left) {
            return Some(cancelled(job, PushpostReason::UserChanged));
        }
        if device.quarantined {
            return Some(unsent(DeliveryStatus::TokenDead, PushpostReason::Quarantined));
        }
        if !notification.has_content_for(self.provider) {
            return Some(rejected(PushpostReason::NothingToSend, false));
        }
        let key = LaneKey::of(device.platform, device.environment);
        // Sendable here: an ordinary job in the device's own lane, or an environment probe in another lane. All else
        // moves to the device's own lane.
        if (key == self.key) != job.environment_probe_since.is_some() {
            return None;
        }
        let lane = self.app.lane(key);
        if !lane.configured {
            return Some(rejected(PushpostReason::PlatformNotConfigured, false));
        }
        Some(Disposition::Retry {
            lane: Some(lane.id),
            delay: Duration::ZERO,
            attempted: false,
            unanswered: false,
            reason: None,
        })
    }
}

/// `cancelled` says that no provider took the push; where an attempt is in doubt the status is `unknown`
/// (docs/queue.md#attempts-in-doubt).
pub(super) fn cancelled(job: &Job, reason: PushpostReason) -> Disposition {
    if job.attempts_in_doubt() == 0 {
        return unsent(DeliveryStatus::Cancelled, reason);
    }
    let reason = Some(Reason::from(PushpostReason::NoAnswer));
    Disposition::Final { status: DeliveryStatus::Unknown, attempted: job.in_doubt, reason, provider_id: None }
}
