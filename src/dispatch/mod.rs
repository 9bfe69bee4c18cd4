//! The lanes: permits, claims, attempts.
//!
//! Each lane runs by itself; what goes wrong in it stays in it. A [`feeder`] takes jobs (handed over, or claimed as far
//! as there is room), loads their tokens and puts the devices into the [`ready`] queue; the [`lane`] takes a permit,
//! then the most urgent device, and spawns one [`attempt`]; how it ended goes to the recorder. The [`gate`] stops and
//! starts the lane, and [`senders`] lets a new credential take the place of the old one. Two tasks serve all lanes:
//! [`standing`] reads what operators and other nodes decided, and [`pruner`] sets dead tokens aside.

mod attempt;
mod feeder;
mod gate;
mod lane;
mod load;
mod pruner;
mod ready;
mod senders;
mod standing;
mod third_party;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::PgPool;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::{App, InstallationKey, LaneId, LaneKey, RetryPolicy, Verdict};
use crate::queue::intake::Intakes;
use crate::queue::membership::Membership;
use crate::queue::recorder::Recorder;

pub use gate::{Gate, State};
pub use senders::Senders;

/// A lane that this node has credentials for.
pub struct LaneSetup {
    /// Whose.
    pub app: Arc<App>,
    /// Which.
    pub key: LaneKey,
    /// How to send.
    pub senders: Arc<Senders>,
}

impl std::fmt::Debug for LaneSetup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LaneSetup({})", self.name())
    }
}

impl LaneSetup {
    /// The lane's row.
    pub fn id(&self) -> LaneId {
        self.app.lane(self.key).id
    }

    /// As logs and metrics name it: `shop/apns-production`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.app.name, self.key)
    }
}

/// What all lanes share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Connections set up for the queue's statements.
    pub pool: PgPool,
    /// This node.
    pub membership: Arc<Membership>,
    /// Where outcomes go.
    pub recorder: Recorder,
    /// Where jobs come from.
    pub intakes: Arc<Intakes>,
    /// `apns-id`s and public ids come from it.
    pub installation: InstallationKey,
    /// When to try again.
    pub retry: RetryPolicy,
    /// Most attempts under way, per lane.
    pub max_in_flight: usize,
    /// How long one attempt may take.
    pub attempt_timeout: Duration,
}

/// Starts every lane and what serves them all, by `spawn`. `stop`: take nothing more, end what is in flight (as
/// `attempts`), give back the rest.
pub fn start(
    shared: &Shared,
    lanes: Vec<LaneSetup>,
    attempts: &TaskTracker,
    stop: &CancellationToken,
    spawn: impl Fn(&'static str, BoxFuture<'static, ()>),
) {
    let mut gates = Vec::new();
    for setup in lanes {
        let Some(intake) = shared.intakes.get(&setup.id()) else { continue };
        let lane = Arc::new(lane::Lane::new(shared.clone(), setup, Arc::clone(intake)));
        gates.push(Arc::clone(&lane.gate));
        spawn("feeder", feeder::run(Arc::clone(&lane), stop.clone()).boxed());
        spawn("senders", senders::attend::run(Arc::clone(&lane), attempts.clone(), stop.clone()).boxed());
        spawn("lane", lane::run(lane, attempts.clone(), stop.clone()).boxed());
    }
    if !gates.is_empty() {
        spawn("standing", standing::run(shared.pool.clone(), gates, stop.clone()).boxed());
    }
}

/// Sets dead tokens aside, until the recorder that says so is gone.
pub async fn prune(pool: PgPool, verdicts: mpsc::Receiver<Vec<Verdict>>) {
    pruner::run(pool, verdicts).await;
}
