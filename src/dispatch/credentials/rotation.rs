//! What is done for a lane's senders without a device: candidates are reached, and senders out of use are closed. The
//! current sender is reached for a lane that has stopped and has nothing to send.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{LaneCredentials, NumberedSender, Work};
use crate::dispatch::health::LaneGate;
use crate::domain::{Outcome, PushpostReason, Reason};
use crate::queue::node_lease::NodeLease;

/// Time to reach a provider: an access token and a connection take a few round trips each.
const REACH_TIMEOUT: Duration = Duration::from_secs(20);

/// Runs until told to stop. Senders close as tasks of `tasks`, because each waits for the attempts that use it.
pub(in crate::dispatch) async fn run(
    credentials: Arc<LaneCredentials>,
    gate: Arc<LaneGate>,
    node_lease: Arc<NodeLease>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    loop {
        let Work { close, reach: to_reach } = credentials.take_work();
        for sender in close {
            tasks.spawn(async move { sender.close().await });
        }
        let reached = async {
            match to_reach {
                Some((candidate, at)) => {
                    sleep_until(at).await;
                    reach(&credentials, &gate, &node_lease, &candidate).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = credentials.changed.notified() => {}
            () = reached => {}
        }
    }
}

impl LaneCredentials {
    /// Reaches the provider with the current sender, within 20 s. `now` is Postgres's time.
    ///
    /// # Errors
    /// The outcome that an attempt would have.
    pub(in crate::dispatch) async fn reach_current(&self, now: DateTime<Utc>) -> Result<(), Outcome> {
        let current = self.current();
        current.sender().reach(now, Instant::now() + REACH_TIMEOUT).await
    }
}

async fn reach(
    credentials: &LaneCredentials,
    gate: &LaneGate,
    node_lease: &NodeLease,
    candidate: &NumberedSender,
) {
    match candidate.sender.reach(node_lease.clock().now(), Instant::now() + REACH_TIMEOUT).await {
        Ok(()) => {
            if credentials.mark_reached(candidate) {
                gate.candidate_ready();
            }
        }
        Err(Outcome::Misconfigured { reason, .. }) => credentials.refuse(candidate, &reason),
        Err(Outcome::RetryLane { reason, .. }) => credentials.postpone(candidate, &reason),
        Err(_) => credentials.postpone(candidate, &Reason::from(PushpostReason::NoAnswer)),
    }
}
