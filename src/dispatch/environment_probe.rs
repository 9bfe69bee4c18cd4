//! A token that one of Apple's environments calls bad may belong to the other (docs/providers.md#apns-hosts-and-tls):
//! it is tried there, once, before anything is held against it (docs/queue.md#environment-probe).
//!
//! The trial is a job of the other lane. Unless that takes the token, the first verdict stands as of the first attempt,
//! and nothing that happens in a trial is held against the lane that it was made in but what concerns the way there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use chrono::{DateTime, Utc};

use crate::dispatch::lane::Lane;
use crate::domain::{
    Certainty, DeliveryStatus, DeviceId, DeviceToken, Environment, EnvironmentProof, Finding, Job, LaneId,
    LaneKey, Outcome, PushpostReason, Reason, TokenDigest, TokenVerdict,
};
use crate::pruning::TokenSignal;
use crate::queue::recorder::Disposition;

/// The verdict that may mean the environment (docs/providers.md#apns-reasons).
const BAD_TOKEN: &str = "BadDeviceToken";

/// The lanes of this node, so that one can look at another.
#[derive(Debug, Default)]
pub(super) struct ProbePeers {
    lanes: Mutex<HashMap<LaneId, Weak<Lane>>>,
}

impl ProbePeers {
    pub(super) fn add(&self, lane: &Arc<Lane>) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.insert(lane.setup.id(), Arc::downgrade(lane));
    }

    fn get(&self, lane: LaneId) -> Option<Arc<Lane>> {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.get(&lane)?.upgrade()
    }
}

/// The same app's lane in the other environment.
fn other_lane(lane: &Lane) -> Option<(LaneId, Environment)> {
    let other = lane.setup.key.environment()?.other();
    Some((lane.setup.app.lane(LaneKey::Apns(other)).id, other))
}

/// Where a token is tried that `outcome` of an attempt begun at `since` calls bad; none: the verdict stands. Only in a lane that is another place, that
/// sends, and where nobody doubts the configuration of either; not twice, and not where there is to be one attempt.
pub(super) fn other_environment(
    lane: &Lane,
    job: &Job,
    once: bool,
    since: DateTime<Utc>,
    outcome: &Outcome,
) -> Option<Disposition> {
    let Outcome::TokenDead { reason, certainty: Certainty::Doubtful, .. } = outcome else { return None };
    if reason.as_str() != BAD_TOKEN || once || job.environment_probe_since.is_some() {
        return None;
    }
    let (id, _) = other_lane(lane)?;
    let other = lane.peers.get(id)?;
    let (ours, theirs) = (lane.setup.credentials.present(), other.setup.credentials.present());
    let apart = !theirs.sender().shares_place_with(ours.sender());
    let doubted = lane.guard.is_on() || other.guard.is_on();
    (apart && !doubted && other.gate.takes_trials()).then(|| Disposition::EnvironmentProbe {
        lane: id,
        since,
        reason: reason.clone(),
    })
}

/// A token in a trial.
pub(super) struct EnvironmentProbe<'a> {
    /// The lane that it is tried in.
    lane: &'a Lane,
    device: DeviceId,
    digest: TokenDigest,
    /// When the attempt began that drew the first verdict.
    since: DateTime<Utc>,
    /// The first verdict's word.
    word: Reason,
}

impl<'a> EnvironmentProbe<'a> {
    /// A trial, if the job is one.
    pub(super) fn of(lane: &'a Lane, job: &Job, device: DeviceId, token: &DeviceToken) -> Option<Self> {
        let since = job.environment_probe_since?;
        let word = job.last_reason.clone().unwrap_or_else(|| Reason::new(BAD_TOKEN));
        Some(Self { lane, device, digest: token.digest(), since, word })
    }

    /// What it came to. An attempt that may have been sent stays in doubt, and proves nothing.
    pub(super) fn end(self, outcome: Outcome) -> (Disposition, Option<Finding>) {
        let Some((first, stated)) = other_lane(self.lane) else { return (Disposition::Returned, None) };
        match outcome {
            Outcome::Accepted { .. } => {
                self.lane.guard.count(TokenSignal::Other);
                let proof = EnvironmentProof {
                    device: self.device,
                    digest: self.digest,
                    stated,
                    proven: stated.other(),
                };
                (ended(DeliveryStatus::Accepted, true, None), Some(Finding::EnvironmentConfirmed(proof)))
            }
            Outcome::Unknown => {
                (ended(DeliveryStatus::Unknown, true, Some(Reason::from(PushpostReason::NoAnswer))), None)
            }
            _ => self.stands(first, true),
        }
    }

    /// It was not made in time.
    pub(super) fn inconclusive(self) -> (Disposition, Option<Finding>) {
        match other_lane(self.lane) {
            Some((first, _)) => self.stands(first, false),
            None => (Disposition::Returned, None),
        }
    }

    /// The first verdict stands, as of the first attempt.
    fn stands(self, first: LaneId, attempted: bool) -> (Disposition, Option<Finding>) {
        self.lane.shared.pruning_guards.of(first, None).count(TokenSignal::DeadAfterAll);
        let verdict = TokenVerdict {
            device: self.device,
            lane: first,
            digest: self.digest,
            since: self.since,
            reason: self.word.clone(),
            certainty: Certainty::Doubtful,
        };
        (ended(DeliveryStatus::TokenDead, attempted, Some(self.word)), Some(Finding::Dead(verdict)))
    }
}

fn ended(status: DeliveryStatus, attempted: bool, reason: Option<Reason>) -> Disposition {
    Disposition::Final { status, attempted, reason, provider_id: None }
}
