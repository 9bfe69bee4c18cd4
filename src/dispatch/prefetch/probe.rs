//! What the prefetcher does for a lane that has stopped, once the probe is due: it tries one device, or, while nothing
//! waits for the lane, reaches the provider without a device.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::{Next, Prefetcher, ranges};
use crate::dispatch::credentials::LaneCredentials;
use crate::dispatch::health::{Generation, LaneEvent};
use crate::domain::{LaneCause, Outcome, PushpostReason, Reason};
use crate::queue::lane_intake::LeasedJob;
use crate::store;

/// A check of a stopped lane without a device. It goes on while the prefetcher looks for jobs, so that it delays none.
pub(super) struct ReachCheck {
    generation: Generation,
    ended: BoxFuture<'static, LaneEvent>,
}

impl ReachCheck {
    fn begin(credentials: Arc<LaneCredentials>, generation: Generation, now: DateTime<Utc>) -> Self {
        let ended = async move { lane_event(credentials.reach_current(now).await, generation) }.boxed();
        Self { generation, ended }
    }

    /// Does the check say something about the lane in this generation?
    pub(super) fn is_of(&self, generation: Generation) -> bool {
        self.generation == generation
    }
}

impl fmt::Debug for ReachCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReachCheck({:?})", self.generation)
    }
}

/// Waits for the end of the check, takes it away, and returns what it says about the lane. Without a check, this never
/// returns.
pub(super) async fn ended(check: &mut Option<ReachCheck>) -> LaneEvent {
    let Some(under_way) = check else { return std::future::pending().await };
    let event = (&mut under_way.ended).await;
    *check = None;
    event
}

fn lane_event(reached: Result<(), Outcome>, generation: Generation) -> LaneEvent {
    match reached {
        Ok(()) => LaneEvent::Reached(generation),
        Err(Outcome::Misconfigured { reason, .. }) => LaneEvent::CredentialRejected { generation, reason },
        Err(Outcome::RetryLane { reason, cause, after: retry_after }) => {
            LaneEvent::MustWait { generation, cause, reason, retry_after }
        }
        Err(_) => {
            let (cause, reason) = (LaneCause::Outage, Reason::from(PushpostReason::NoAnswer));
            LaneEvent::MustWait { generation, cause, reason, retry_after: None }
        }
    }
}

impl Prefetcher {
    /// Claims one job and makes the probe with one of its devices. If there is none, the provider is reached without a
    /// device, so that an idle lane does not stay out of order when its provider works again.
    pub(super) async fn probe(&mut self, generation: Generation) -> Result<Next, store::Error> {
        if !self.may_claim() {
            return Ok(Next::Pause);
        }
        self.claimer.restart();
        let node = self.node_lease.id();
        for (priority, class) in ranges() {
            // Only where something is known to wait: a lane that stays suspended issues no claims of its own.
            if self.intake.begin_claim(class, priority, true).is_none() {
                continue;
            }
            let jobs = self.claimer.claim(class, priority, 1, node).await?;
            if jobs.is_empty() {
                continue;
            }
            self.intake.mark_waiting(class, priority);
            for job in jobs {
                self.isolate(LeasedJob::new(job, node, None)).await?;
            }
            return Ok(Next::ChangeOr(Instant::now()));
        }
        // Nothing to probe with: the intake tells when there is. A rejected credential is tried with a device only.
        if self.check.is_none() && !self.gate.is_suspended() {
            self.limit.shrink();
            let now = self.node_lease.clock().now();
            self.check = Some(ReachCheck::begin(Arc::clone(&self.credentials), generation, now));
        }
        Ok(Next::Change)
    }
}
