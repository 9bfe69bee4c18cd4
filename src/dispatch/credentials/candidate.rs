//! Sending one device: with the present sender, or first with the candidate if it is this device's turn to try it.
//!
//! A trial costs its device nothing: unless the candidate's provider took the notification, or may have taken it, the
//! device is sent with the present sender at once.

use std::time::Duration;

use super::CandidateTrial;
use crate::dispatch::attempt;
use crate::dispatch::lane::Lane;
use crate::dispatch::prefetch::load::RenderedNotification;
use crate::domain::{FailureDomain, MinDelay, MisconfigurationScope, Outcome, PushpostReason, Reason};
use crate::provider::Attempt;

/// How long the candidate's provider may take; FCM asks for at least 10 s for one request
/// (docs/providers.md#fcm-retries).
const TRIAL: Duration = Duration::from_secs(10);

/// What was heard, and of whom.
pub(in crate::dispatch) struct Reply {
    /// What the attempt came to.
    pub(in crate::dispatch) outcome: Outcome,
    /// False: of the candidate, which says nothing about the lane as it is.
    pub(in crate::dispatch) of_current: bool,
    /// A header of the request's own took part in the topic or the key.
    pub(in crate::dispatch) overridden: bool,
}

/// One attempt at one device. `begin` makes it anew for each sender, with so much time; none: it may not begin any more.
/// Then nothing has happened to the device.
pub(in crate::dispatch) async fn send<'a>(
    lane: &Lane,
    plan: &RenderedNotification,
    begin: impl Fn(Duration) -> Option<Attempt<'a>>,
) -> Option<Reply> {
    match lane.setup.credentials.trial(|| lane.gate.is_suspended()) {
        None => by_present(lane, plan, &begin).await,
        // Rare, and larger than all that is kept of other attempts.
        Some(trial) => Box::pin(try_out(lane, plan, &begin, trial)).await,
    }
}

async fn by_present<'a>(
    lane: &Lane,
    plan: &RenderedNotification,
    begin: &impl Fn(Duration) -> Option<Attempt<'a>>,
) -> Option<Reply> {
    let attempt = begin(lane.shared.attempt_timeout)?;
    let present = lane.setup.credentials.present();
    let prepared = plan.prepared(&present);
    let outcome = present.sender().send(&prepared, &attempt).await;
    Some(Reply { outcome, of_current: true, overridden: prepared.is_overridden() })
}

async fn try_out<'a>(
    lane: &Lane,
    plan: &RenderedNotification,
    begin: &impl Fn(Duration) -> Option<Attempt<'a>>,
    trial: CandidateTrial<'_>,
) -> Option<Reply> {
    let present = async || by_present(lane, plan, begin).await;
    let prepared = plan.prepared(&trial.candidate);
    let overridden = prepared.is_overridden();
    let outcome = trial.candidate.sender().send(&prepared, &begin(TRIAL)?).await;
    let of_candidate = |outcome| Some(Reply { outcome, of_current: false, overridden });
    match outcome {
        Outcome::Accepted { .. } => {
            take_over(lane, &trial).await;
            of_candidate(outcome)
        }
        Outcome::Withdrawn => of_candidate(outcome),
        Outcome::Unknown => {
            trial.postpone(&Reason::from(PushpostReason::NoAnswer));
            of_candidate(outcome)
        }
        Outcome::Misconfigured {
            reason,
            about: MisconfigurationScope::Credential | MisconfigurationScope::Topic,
        } => {
            trial.refuse(&reason);
            present().await
        }
        Outcome::RetryLane { reason, .. }
        | Outcome::RetryTarget { reason, .. }
        | Outcome::Misconfigured { reason, about: MisconfigurationScope::Override } => {
            trial.postpone(&reason);
            present().await
        }
        Outcome::TokenDead { reason, .. }
        | Outcome::Rejected { reason }
        | Outcome::Misconfigured { reason, about: MisconfigurationScope::StoredKey } => {
            if lane.gate.is_suspended() {
                // Nobody can say which of the two is to blame: another device is to try it.
                trial.postpone(&reason);
                let outcome = Outcome::RetryTarget {
                    reason,
                    min_delay: MinDelay::Throttled,
                    failure_domain: FailureDomain::Device,
                };
                return of_candidate(outcome);
            }
            let checked = present().await;
            if matches!(checked, Some(Reply { outcome: Outcome::Accepted { .. }, .. })) {
                match overridden {
                    // The request may have asked for what the new key alone does not serve: another device is to try it.
                    true => trial.postpone(&reason),
                    // A wrong topic or project condemns good devices.
                    false => trial.refuse(&reason),
                }
            }
            checked
        }
    }
}

/// A suspension for what was in use before ends, on other nodes too: they have the new one, or find out again.
async fn take_over(lane: &Lane, trial: &CandidateTrial<'_>) {
    let new = &trial.candidate.numbered;
    if let Some(before) = trial.senders.promote(new, &lane.gate) {
        attempt::agree(lane, before, None).await;
        attempt::agree(lane, new.fingerprint(), None).await;
    }
}

impl CandidateTrial<'_> {
    fn refuse(&self, why: &Reason) {
        self.senders.refuse(&self.candidate.numbered, why);
    }

    fn postpone(&self, why: &Reason) {
        self.senders.postpone(&self.candidate.numbered, why);
    }
}
