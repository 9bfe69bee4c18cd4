//! The node's heartbeat: one beat each fifth of the node time-out, one tick a second over all lanes, and every ten
//! seconds a comparison of what the table says this node holds with what is in its hands. On a pool of its own, so that
//! API load can't take it away; 1.5 statements a second when idle (docs/queue.md#idle-load).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::lane_intake::LaneIntakes;
use super::leases::Leases;
use super::node_lease::NodeLease;
use crate::domain::{JobId, LaneId};
use crate::store;
use crate::store::{Session, SessionPool};

const TICK: Duration = Duration::from_secs(1);
const RECONCILE: Duration = Duration::from_secs(10);
/// A round that takes longer is given up together with its connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the heartbeat works on.
#[derive(Debug)]
pub struct Heartbeat {
    /// A pool of its own.
    pub pool: SessionPool,
    /// This node.
    pub node_lease: Arc<NodeLease>,
    /// What it holds.
    pub leases: Arc<Leases>,
    /// Whom it wakes.
    pub intakes: Arc<LaneIntakes>,
    /// Is notified when an audience is to be found.
    pub fan_outs: Arc<Notify>,
    /// For wake-ups within a tick.
    pub tasks: TaskTracker,
}

impl Heartbeat {
    /// Runs until told to stop. Postgres's absence is logged once and outlasted.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut round = Round {
            next_beat: Instant::now(),
            next_compare: Instant::now() + RECONCILE,
            strange: HashSet::new(),
        };
        let mut away = false;
        let mut conn = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let result = timeout(PATIENCE, self.beat_once(&mut conn, &mut round)).await;
            let failed = match result {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("no answer".to_owned()),
            };
            if failed.is_some()
                && let Some(conn) = conn.take()
            {
                // Back in the pool it would be waited for: a connection may die without a word.
                conn.discard();
            }
            match (&failed, away) {
                (Some(error), false) => {
                    let server = self.pool.addresses();
                    tracing::error!(server, error, "Postgres is out of reach: claims and beats wait")
                }
                (None, true) => tracing::info!("Postgres is back"),
                _ => {}
            }
            away = failed.is_some();
        }
    }

    /// The connection is kept from round to round.
    async fn beat_once(&self, conn: &mut Option<Session>, round: &mut Round) -> Result<(), store::Error> {
        let conn = match conn {
            Some(conn) => conn,
            None => conn.insert(self.pool.acquire().await.map_err(store::Error::from)?),
        };
        let now = Instant::now();
        if now >= round.next_beat {
            self.node_lease.beat(conn).await?;
            round.next_beat = now + self.node_lease.timeout() / 5;
        }
        self.node_lease.resign_if_wanted(conn).await?;
        if now >= round.next_compare {
            round.next_compare = now + RECONCILE;
            self.reconcile(conn, round).await?;
        }
        self.tick(conn).await?;
        self.node_lease.answered();
        Ok(())
    }

    /// Wakes each lane in which something is due, and sets a timer for what falls due before the next tick.
    async fn tick(&self, conn: &mut Session) -> Result<(), store::Error> {
        let lanes: Vec<LaneId> = self.intakes.all().iter().map(|intake| intake.lane()).collect();
        if lanes.is_empty() {
            return Ok(());
        }
        let tick = store::jobs::read_due(conn, &lanes).await?;
        if let Some(in_ms) = tick.fan_out_in_ms {
            let fan_outs = Arc::clone(&self.fan_outs);
            self.after(in_ms, move || fan_outs.notify_one());
        }
        for due in tick.due {
            let Some(intake) = self.intakes.get(due.lane) else { continue };
            self.after(due.in_ms, move || intake.mark_waiting(due.class, due.priority));
        }
        Ok(())
    }

    fn after(&self, ms: u32, wake: impl FnOnce() + Send + 'static) {
        if ms == 0 {
            return wake();
        }
        self.tasks.spawn(async move {
            tokio::time::sleep(Duration::from_millis(ms.into())).await;
            wake();
        });
    }

    /// Releases what the table says we hold and we don't know of, in two comparisons running: a lost answer to a
    /// COMMIT, or a message lost in memory, can't strand a job on a living node.
    async fn reconcile(&self, conn: &mut Session, round: &mut Round) -> Result<(), store::Error> {
        let node = self.node_lease.id();
        let held = store::jobs::leased_by(conn, node).await?;
        let strange: HashSet<(JobId, i32)> =
            held.into_iter().filter(|(job, _)| !self.leases.has(*job)).collect();
        let mut stranded: Vec<(JobId, i32)> = strange.intersection(&round.strange).copied().collect();
        round.strange = strange;
        if stranded.is_empty() {
            return Ok(());
        }
        stranded.sort_unstable();
        let released = store::jobs::release(conn, node, &stranded).await?;
        tracing::warn!(
            jobs = released.len(),
            "released jobs that were leased to this node without its knowledge"
        );
        Ok(())
    }
}

/// What carries over from second to second.
#[derive(Debug)]
struct Round {
    next_beat: Instant,
    next_compare: Instant,
    strange: HashSet<(JobId, i32)>,
}
