//! What is done for a lane's senders without a device: candidates are reached, and what was replaced is closed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{VersionedSender, Work};
use crate::dispatch::lane::Lane;
use crate::domain::{Outcome, PushpostReason, Reason};

/// How long it may take to reach a candidate: access token and connection.
const REACH: Duration = Duration::from_secs(20);

/// Runs until told to stop. LaneCredentials close as tasks of `tasks`, since what they are in use for takes its time.
pub(in crate::dispatch) async fn run(lane: Arc<Lane>, tasks: TaskTracker, stop: CancellationToken) {
    let senders = &lane.setup.credentials;
    loop {
        let Work { close, reach: to_reach } = senders.work();
        for numbered in close {
            tasks.spawn(async move { numbered.close().await });
        }
        let reached = async {
            match to_reach {
                Some((candidate, at)) => {
                    sleep_until(at).await;
                    reach(&lane, &candidate).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = senders.changed.notified() => {}
            () = reached => {}
        }
    }
}

async fn reach(lane: &Lane, candidate: &VersionedSender) {
    let senders = &lane.setup.credentials;
    match candidate.sender.reach(Instant::now() + REACH).await {
        Ok(()) => {
            if senders.reached(candidate) {
                lane.gate.candidate_ready();
            }
        }
        Err(Outcome::Misconfigured { reason, .. }) => senders.refuse(candidate, &reason),
        Err(Outcome::RetryLane { reason, .. }) => senders.postpone(candidate, &reason),
        Err(_) => senders.postpone(candidate, &Reason::from(PushpostReason::NoAnswer)),
    }
}
