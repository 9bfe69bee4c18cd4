//! Sends one device: with the current sender, or first with the candidate if it is this device's turn to try it.
//!
//! A trial costs its device nothing: unless the candidate's provider took the notification, or may have taken it, the
//! device is sent with the current sender at once.

use std::time::Duration;

use super::{CandidateTrial, LaneCredentials};
use crate::dispatch::health::LaneGate;
use crate::dispatch::rendered::RenderedNotification;
use crate::domain::{FailureDomain, MinDelay, MisconfigurationScope, Outcome, PushpostReason, Reason};
use crate::provider::Attempt;

/// Time that the candidate's provider has to answer; FCM asks for at least 10 s for one request
/// (docs/providers.md#fcm-retries).
const TRIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// An attempt's outcome, and what it says something about.
#[derive(Debug)]
pub(in crate::dispatch) struct Reply {
    pub(in crate::dispatch) outcome: Outcome,
    /// False: the outcome says nothing about the lane as it is, because it is that of the candidate
    /// credential.
    pub(in crate::dispatch) concerns_lane: bool,
    /// A header of the request chose the topic or the key.
    pub(in crate::dispatch) is_overridden: bool,
}

/// What one device is sent with. Each sender that is tried gets an attempt of its own.
pub(in crate::dispatch) struct Request<'r, Begin> {
    pub(in crate::dispatch) gate: &'r LaneGate,
    pub(in crate::dispatch) notification: &'r RenderedNotification,
    /// Time that the provider has to answer.
    pub(in crate::dispatch) timeout: Duration,
    /// Begins an attempt with this time-out; none: it may not begin any more.
    pub(in crate::dispatch) begin: Begin,
}

impl LaneCredentials {
    /// Sends one device; none: no attempt could begin, and nothing has happened to the device.
    pub(in crate::dispatch) async fn send<'a, Begin>(&self, request: Request<'_, Begin>) -> Option<Reply>
    where
        Begin: Fn(Duration) -> Option<Attempt<'a>>,
    {
        match self.trial(|| request.gate.is_suspended()) {
            None => self.send_with_current(&request).await,
            // Boxed, because a trial is rare and its future is larger than that of any other attempt.
            Some(trial) => Box::pin(self.send_with_candidate(&request, trial)).await,
        }
    }

    async fn send_with_current<'a, Begin>(&self, request: &Request<'_, Begin>) -> Option<Reply>
    where
        Begin: Fn(Duration) -> Option<Attempt<'a>>,
    {
        let attempt = (request.begin)(request.timeout)?;
        let current = self.current();
        let prepared = request.notification.prepared(current.number(), current.sender());
        let outcome = current.sender().send(&prepared, &attempt).await;
        Some(Reply { outcome, concerns_lane: true, is_overridden: prepared.is_overridden() })
    }

    async fn send_with_candidate<'a, Begin>(
        &self,
        request: &Request<'_, Begin>,
        trial: CandidateTrial<'_>,
    ) -> Option<Reply>
    where
        Begin: Fn(Duration) -> Option<Attempt<'a>>,
    {
        let candidate = &trial.candidate;
        let prepared = request.notification.prepared(candidate.number(), candidate.sender());
        let is_overridden = prepared.is_overridden();
        let outcome = candidate.sender().send(&prepared, &(request.begin)(TRIAL_TIMEOUT)?).await;
        let of_candidate = |outcome| Some(Reply { outcome, concerns_lane: false, is_overridden });
        match outcome {
            Outcome::Accepted { .. } => {
                trial.promote(request.gate);
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
                self.send_with_current(request).await
            }
            Outcome::RetryLane { reason, .. }
            | Outcome::RetryTarget { reason, .. }
            | Outcome::Misconfigured { reason, about: MisconfigurationScope::Override } => {
                trial.postpone(&reason);
                self.send_with_current(request).await
            }
            Outcome::TokenDead { reason, .. }
            | Outcome::Rejected { reason }
            | Outcome::Misconfigured { reason, about: MisconfigurationScope::StoredKey } => {
                if request.gate.is_suspended() {
                    // Either the candidate or the device may be to blame: another device is to try the candidate.
                    trial.postpone(&reason);
                    return of_candidate(Outcome::RetryTarget {
                        reason,
                        min_delay: MinDelay::Throttled,
                        failure_domain: FailureDomain::Device,
                    });
                }
                let checked = self.send_with_current(request).await;
                if matches!(checked, Some(Reply { outcome: Outcome::Accepted { .. }, .. })) {
                    match is_overridden {
                        // The request may have asked for what the new key alone does not serve: another device is to
                        // try the candidate.
                        true => trial.postpone(&reason),
                        // A wrong topic or project condemns good devices.
                        false => trial.refuse(&reason),
                    }
                }
                checked
            }
        }
    }
}

impl CandidateTrial<'_> {
    fn promote(&self, gate: &LaneGate) {
        self.credentials.promote(&self.candidate.numbered, gate);
    }

    fn refuse(&self, why: &Reason) {
        self.credentials.refuse(&self.candidate.numbered, why);
    }

    fn postpone(&self, why: &Reason) {
        self.credentials.postpone(&self.candidate.numbered, why);
    }
}
