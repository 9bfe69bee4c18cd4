//! A token that one of Apple's environments calls bad may belong to the other one (docs/providers.md#apns-hosts-and-tls):
//! it is tried there once before the verdict counts (docs/queue.md#environment-probe).
//!
//! The probe is a job of the other lane. Unless the other environment takes the token, the first verdict stands as of the
//! first attempt. A credential that the other environment refuses says nothing about the other lane.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};

use super::credentials::LaneCredentials;
use super::credentials::send::Reply;
use super::disposition::Conclusion;
use super::health::LaneGate;
use crate::domain::{
    App, Certainty, DeliveryStatus, DeviceId, DeviceToken, Environment, EnvironmentProof, Finding, Job,
    LaneId, LaneKey, Outcome, PushpostReason, Reason, TokenDigest, TokenVerdict,
};
use crate::pruning::{PruningGuard, PruningGuards, TokenSignal};
use crate::queue::recorder::Disposition;

/// What is asked of a lane, and of the lane in the other environment, before a token is tried there.
#[derive(Debug)]
pub(super) struct ProbedLane {
    pub(super) gate: Arc<LaneGate>,
    pub(super) credentials: Arc<LaneCredentials>,
    pub(super) guard: Arc<PruningGuard>,
}

/// The lanes of this node. A reload of the configuration adds lanes; none goes before a restart.
#[derive(Debug, Default)]
pub(super) struct ProbedLanes(Mutex<HashMap<LaneId, Arc<ProbedLane>>>);

impl ProbedLanes {
    pub(super) fn add(&self, lane: Arc<ProbedLane>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(lane.gate.lane(), lane);
    }

    fn get(&self, lane: LaneId) -> Option<Arc<ProbedLane>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&lane).map(Arc::clone)
    }
}

/// The environment probes from and to one lane.
#[derive(Debug)]
pub(super) struct EnvironmentProbes {
    lane: Arc<ProbedLane>,
    key: LaneKey,
    /// The same app's lane in the other environment; none: no token of this provider can be mistaken for one of another
    /// environment.
    other: Option<(LaneId, Environment)>,
    lanes: Arc<ProbedLanes>,
    guards: Arc<PruningGuards>,
}

impl EnvironmentProbes {
    /// `lane` is the app's lane of this key.
    pub(super) fn new(
        lane: Arc<ProbedLane>,
        app: &App,
        key: LaneKey,
        lanes: Arc<ProbedLanes>,
        guards: Arc<PruningGuards>,
    ) -> Self {
        let other = key.in_other_environment();
        let other = other.and_then(|other| Some((app.lane(other).id, other.environment()?)));
        Self { lane, key, other, lanes, guards }
    }

    /// Moves a device to the other lane if its token may belong to the other environment; none: the outcome of the
    /// attempt stands. The other lane has to be another place and has to send, and neither lane's configuration may be in
    /// doubt. A token is not tried twice, and not where there is only one attempt.
    pub(super) fn other_environment(
        &self,
        job: &Job,
        once: bool,
        attempted_at: DateTime<Utc>,
        outcome: &Outcome,
    ) -> Option<Disposition> {
        let Outcome::TokenDead { reason, certainty: Certainty::Doubtful, .. } = outcome else { return None };
        let doubt = self.key.platform().facts().other_environment_reason;
        if doubt != Some(reason.as_str()) || once || job.environment_probe_since.is_some() {
            return None;
        }
        let (id, _) = self.other?;
        let other = self.lanes.get(id)?;
        let (ours, theirs) = (self.lane.credentials.current(), other.credentials.current());
        let is_elsewhere = !theirs.sender().shares_place_with(ours.sender());
        let is_doubted = self.lane.guard.is_engaged() || other.guard.is_engaged();
        (is_elsewhere && !is_doubted && other.gate.accepts_environment_probes())
            .then(|| Disposition::EnvironmentProbe { lane: id, since: attempted_at, reason: reason.clone() })
    }

    /// The probe that this job is; none: the job is an ordinary one.
    pub(super) fn probe(
        &self,
        job: &Job,
        device: DeviceId,
        token: &DeviceToken,
    ) -> Option<EnvironmentProbe<'_>> {
        let since = job.environment_probe_since?;
        let reason = job.last_reason.clone().unwrap_or_else(|| {
            Reason::new(self.key.platform().facts().other_environment_reason.unwrap_or_default())
        });
        Some(EnvironmentProbe { probes: self, device, digest: token.digest(), since, reason })
    }
}

/// A token that is tried in the environment which is not its device's.
pub(super) struct EnvironmentProbe<'a> {
    probes: &'a EnvironmentProbes,
    device: DeviceId,
    digest: TokenDigest,
    /// When the attempt began that got the first verdict.
    since: DateTime<Utc>,
    /// Of the first verdict.
    reason: Reason,
}

impl EnvironmentProbe<'_> {
    /// Marks a refused credential or topic as no concern of the lane, because a credential may serve one environment only.
    pub(super) fn attribute(&self, reply: &mut Reply) {
        reply.concerns_lane &= !matches!(reply.outcome, Outcome::Misconfigured { .. });
    }

    /// What the outcome means for the device. An attempt that may have been sent stays in doubt, and proves nothing.
    pub(super) fn conclude(self, outcome: Outcome) -> Conclusion {
        let Some((first, stated)) = self.probes.other else { return (Disposition::Returned, None) };
        match outcome {
            Outcome::Accepted { .. } => {
                self.probes.lane.guard.count(TokenSignal::MayBeAlive);
                let (device, digest) = (self.device, self.digest);
                let proof = EnvironmentProof {
                    device,
                    digest,
                    stated,
                    proven: self.probes.key.environment().unwrap_or(stated),
                };
                (ended(DeliveryStatus::Accepted, true, None), Some(Finding::EnvironmentConfirmed(proof)))
            }
            Outcome::Unknown => {
                (ended(DeliveryStatus::Unknown, true, Some(Reason::from(PushpostReason::NoAnswer))), None)
            }
            _ => self.keep_first_verdict(first, true),
        }
    }

    /// The probe was not made before the device's time ran out.
    pub(super) fn expire(self) -> Conclusion {
        match self.probes.other {
            Some((first, _)) => self.keep_first_verdict(first, false),
            None => (Disposition::Returned, None),
        }
    }

    /// The first verdict stands, as of the first attempt, and counts in the first lane.
    fn keep_first_verdict(self, first: LaneId, attempted: bool) -> Conclusion {
        self.probes.guards.get_or_add(first, None).count(TokenSignal::DeadAfterAll);
        let verdict = TokenVerdict {
            device: self.device,
            lane: first,
            digest: self.digest,
            since: self.since,
            reason: self.reason.clone(),
            certainty: Certainty::Doubtful,
        };
        (ended(DeliveryStatus::TokenDead, attempted, Some(self.reason)), Some(Finding::Dead(verdict)))
    }
}

fn ended(status: DeliveryStatus, attempted: bool, reason: Option<Reason>) -> Disposition {
    Disposition::Final { status, attempted, reason, provider_id: None }
}
