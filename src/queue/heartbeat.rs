//! The node's heartbeat task, which runs on every node:
//! - each fifth of the node time-out it counts up the node's heartbeat;
//! - each second it asks which lanes have due jobs and whether facts wait for the event log, and wakes lanes and sequencer;
//! - every 10 s it compares the jobs that the table says are leased to this node with those in memory.
//!
//! It has a pool of its own, so that requests can't take its connection. An idle node makes 1.5 statements a second
//! here (docs/queue.md#idle-load).

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
use super::postgres_pace::PostgresPace;
use crate::domain::{JobId, LaneId};
use crate::store;
use crate::store::{Session, SessionPool};

/// A lane learns of a due job at most this late if the notification is lost.
const TICK: Duration = Duration::from_secs(1);
/// Two comparisons in a row must find a job before it is released, so a stranded job waits 10 s to 20 s.
const COMPARE_INTERVAL: Duration = Duration::from_secs(10);
/// A round that takes longer is given up together with its connection.
const ROUND_TIMEOUT: Duration = Duration::from_secs(5);

/// What the heartbeat task needs.
#[derive(Debug)]
pub struct Heartbeat {
    /// A pool that nothing else uses.
    pub pool: SessionPool,
    /// The lease that it renews.
    pub node_lease: Arc<NodeLease>,
    /// The jobs that this node has in memory.
    pub leases: Arc<Leases>,
    /// The lanes that it wakes.
    pub intakes: Arc<LaneIntakes>,
    /// Is notified when a fan-out is due.
    pub fan_outs: Arc<Notify>,
    /// Runs the timers of jobs that fall due before the next tick.
    pub tasks: TaskTracker,
}

impl Heartbeat {
    /// Runs until told to stop. An outage of Postgres is logged once, and outlasted.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut round = Round {
            next_beat: Instant::now(),
            next_compare: Instant::now() + COMPARE_INTERVAL,
            unknown_jobs: HashSet::new(),
            pace: PostgresPace::default(),
        };
        let mut is_away = false;
        let mut conn = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let result = timeout(ROUND_TIMEOUT, self.run_round(&mut conn, &mut round)).await;
            let failed = match result {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("no answer".to_owned()),
            };
            if failed.is_some()
                && let Some(conn) = conn.take()
            {
                // Not given back: the pool would wait for a connection that may never answer again.
                conn.discard();
            }
            match (&failed, is_away) {
                (Some(error), false) => {
                    let server = self.pool.addresses();
                    tracing::error!(server, error, "Postgres is out of reach: claims and heartbeats wait")
                }
                (None, true) => tracing::info!("Postgres is back"),
                _ => {}
            }
            is_away = failed.is_some();
        }
    }

    /// One round. The connection is kept from round to round.
    async fn run_round(&self, conn: &mut Option<Session>, round: &mut Round) -> Result<(), store::Error> {
        let conn = match conn {
            Some(conn) => conn,
            None => conn.insert(self.pool.acquire().await.map_err(store::Error::from)?),
        };
        let now = Instant::now();
        if now >= round.next_beat || self.node_lease.has_unstored_drain() {
            self.node_lease.beat(conn).await?;
            round.pace.note(now.elapsed());
            round.next_beat = now + self.node_lease.timeout() / 5;
        }
        self.node_lease.resign_if_asked(conn).await?;
        if now >= round.next_compare {
            round.next_compare = now + COMPARE_INTERVAL;
            self.release_unknown_jobs(conn, round).await?;
        }
        self.wake_due_lanes(conn).await?;
        self.node_lease.note_answer();
        Ok(())
    }

    /// Wakes the sequencer if facts wait, and each lane that has a due job, and sets a timer for jobs that fall due before the next tick.
    async fn wake_due_lanes(&self, conn: &mut Session) -> Result<(), store::Error> {
        let lanes: Vec<LaneId> = self.intakes.all().iter().map(|intake| intake.lane()).collect();
        if lanes.is_empty() && !self.pool.logs_events() {
            return Ok(());
        }
        let work = store::jobs::read_due(conn, &lanes).await?;
        if work.has_facts {
            self.pool.new_events().notify_one();
        }
        if let Some(in_ms) = work.fan_out_in_ms {
            let fan_outs = Arc::clone(&self.fan_outs);
            self.run_after(in_ms, move || fan_outs.notify_one());
        }
        for range in work.ranges {
            let Some(intake) = self.intakes.get(range.lane) else { continue };
            self.run_after(range.in_ms, move || intake.mark_waiting(range.class, range.priority));
        }
        Ok(())
    }

    fn run_after(&self, ms: u32, wake: impl FnOnce() + Send + 'static) {
        if ms == 0 {
            return wake();
        }
        self.tasks.spawn(async move {
            tokio::time::sleep(Duration::from_millis(ms.into())).await;
            wake();
        });
    }

    /// Releases jobs that are leased to this node in the table and not in its memory, if two comparisons in a row found
    /// them. So neither a lost answer to a COMMIT nor a fault in this process can strand a job on a living node.
    async fn release_unknown_jobs(&self, conn: &mut Session, round: &mut Round) -> Result<(), store::Error> {
        let node = self.node_lease.id();
        let leased = store::jobs::leased_by(conn, node).await?;
        let unknown: HashSet<(JobId, i32)> =
            leased.into_iter().filter(|(job, _)| !self.leases.has(*job)).collect();
        let mut stranded: Vec<(JobId, i32)> = unknown.intersection(&round.unknown_jobs).copied().collect();
        round.unknown_jobs = unknown;
        if stranded.is_empty() {
            return Ok(());
        }
        stranded.sort_unstable();
        let released = store::jobs::release(conn, node, &stranded).await?;
        tracing::warn!(
            jobs = released.len(),
            detail = "the answer to their claim was probably lost",
            "released jobs that were leased to this node without its knowledge"
        );
        Ok(())
    }
}

/// What is kept from round to round.
#[derive(Debug)]
struct Round {
    next_beat: Instant,
    next_compare: Instant,
    /// Jobs that the last comparison found in the table and not in memory.
    unknown_jobs: HashSet<(JobId, i32)>,
    pace: PostgresPace,
}
