//! Taking waiting jobs for a lane, range by range.
//!
//! A claim starts at the due time last reached minus a second, so that it does not walk over the dead rows of earlier
//! ones while somebody holds an old snapshot; every five seconds, and after a release, it starts from the beginning
//! (docs/queue.md#claim).

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

use crate::domain::{Class, Job, LaneId, NodeId, Priority, Suspicion};
use crate::store;
use crate::store::SessionPool;

const FROM_THE_START_EVERY: Duration = Duration::from_secs(5);
/// Most jobs in one claim: enough singles to fill a lane, few enough to keep the statement short.
const MOST_JOBS: usize = 512;

/// One lane's claims, with how far each range was read.
#[derive(Debug)]
pub struct Claimer {
    pool: SessionPool,
    lane: LaneId,
    ranges: [[Range; 3]; 3],
    restarted: Instant,
}

/// What earlier claims of a range have shown.
#[derive(Debug, Default)]
struct Range {
    reached: Option<DateTime<Utc>>,
    /// Devices per job in the last claim that took any.
    size: usize,
    /// The last claim took all that there was.
    drained: bool,
}

impl Claimer {
    /// Nothing read yet.
    pub fn new(pool: SessionPool, lane: LaneId) -> Self {
        Self { pool, lane, ranges: Default::default(), restarted: Instant::now() }
    }

    /// The next claims start from the beginning: something was given back behind them.
    pub fn restart(&mut self) {
        self.ranges.iter_mut().flatten().for_each(|range| (range.reached, range.drained) = (None, false));
        self.restarted = Instant::now();
    }

    /// Claims due jobs of one range for `room` devices, at least one job if any is due.
    ///
    /// # Errors
    /// Postgres is out of reach; what it may have committed all the same is released by the node's reconciliation.
    pub async fn claim(
        &mut self,
        class: Class,
        priority: Priority,
        room: usize,
        node: NodeId,
    ) -> Result<Vec<Job>, store::Error> {
        if self.restarted.elapsed() >= FROM_THE_START_EVERY {
            self.restart();
        }
        let range = &mut self.ranges[row(class)][priority.rank()];
        let most_jobs = range.most_jobs(room);
        let claim = store::jobs::ClaimRequest {
            lane: self.lane,
            class,
            priority,
            room: i32::try_from(room).unwrap_or(i32::MAX),
            most_jobs: i32::try_from(most_jobs).unwrap_or(i32::MAX),
            since: range.reached.map(|at| at - TimeDelta::seconds(1)),
            node,
        };
        let mut conn = self.pool.acquire().await.map_err(store::Error::from)?;
        let jobs = store::jobs::claim(&mut conn, claim).await?;
        let devices: usize = jobs.iter().map(|job| job.devices.len()).sum();
        if let Some(last) = jobs.last() {
            range.reached = Some(last.due_at);
            range.size = devices / jobs.len();
        }
        // One that is suspect is taken alone, whatever waits behind it.
        let trusted = jobs.iter().all(|job| job.suspicion() == Suspicion::None);
        range.drained = trusted && devices < room && jobs.len() < most_jobs;
        Ok(jobs)
    }

    /// May more of a range wait than the last claim took?
    pub fn may_have_left(&self, class: Class, priority: Priority) -> bool {
        !self.ranges[row(class)][priority.rank()].drained
    }
}

fn row(class: Class) -> usize {
    usize::from(class.code().cast_unsigned())
}

impl Range {
    /// Every job that a claim looks at is locked by it and invisible to other nodes' claims, whether it is taken or
    /// not: of lists, look at no more than there is room for.
    fn most_jobs(&self, room: usize) -> usize {
        room.div_ceil(self.size.max(1)).clamp(1, MOST_JOBS)
    }
}
