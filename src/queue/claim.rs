//! Claims waiting jobs for a lane. Used by the lane's prefetcher.
//!
//! Each claim reads one range of the claim index: one class and one priority. It starts at the due time last reached
//! minus a second. Otherwise it would walk over the dead rows of earlier claims, which stay as long as any transaction
//! has an old snapshot. Every 5 s, and after a release, a claim starts from the beginning (docs/queue.md#claim).

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

use crate::domain::{Class, Job, LaneId, NodeId, Priority, Suspicion};
use crate::store;
use crate::store::SessionPool;
use crate::telemetry::metrics::Histogram;

/// Jobs that another transaction commits late, with an earlier due time, wait at most this long.
const RESTART_INTERVAL: Duration = Duration::from_secs(5);
/// Most jobs of one claim: enough jobs of one device to fill a lane, few enough to keep the statement short.
const JOBS_MAX: usize = 512;

/// Claims jobs for one lane, and remembers how far each range was read.
#[derive(Debug)]
pub struct Claimer {
    pool: SessionPool,
    lane: LaneId,
    ranges: [[Range; 3]; 3],
    restarted: Instant,
    seconds: Histogram,
}

/// What earlier claims of a range have shown.
#[derive(Debug, Default)]
struct Range {
    /// Due time of the last claimed job.
    reached: Option<DateTime<Utc>>,
    /// Devices per job in the last claim that took any.
    devices_per_job: usize,
    /// The last claim took all due jobs of the range.
    is_drained: bool,
}

impl Claimer {
    /// A claimer that has read nothing yet.
    pub fn new(pool: SessionPool, lane: LaneId) -> Self {
        let seconds = Histogram::quick();
        Self { pool, lane, ranges: Default::default(), restarted: Instant::now(), seconds }
    }

    /// Measures the time of each claim statement.
    pub fn measured_by(self, seconds: Histogram) -> Self {
        Self { seconds, ..self }
    }

    /// Makes the next claims start from the beginning: a job was released that may lie before the due time reached.
    pub fn restart(&mut self) {
        self.ranges.iter_mut().flatten().for_each(|range| (range.reached, range.is_drained) = (None, false));
        self.restarted = Instant::now();
    }

    /// Claims due jobs of one range for `room` devices; at least one job if any is due.
    ///
    /// # Errors
    /// Postgres is out of reach. If the claim was committed all the same, the heartbeat's comparison releases the jobs.
    pub async fn claim(
        &mut self,
        class: Class,
        priority: Priority,
        room: usize,
        node: NodeId,
    ) -> Result<Vec<Job>, store::Error> {
        if self.restarted.elapsed() >= RESTART_INTERVAL {
            self.restart();
        }
        let range = &mut self.ranges[row(class)][priority.rank()];
        let jobs_max = range.jobs_max(room);
        let claim = store::jobs::ClaimRequest {
            lane: self.lane,
            class,
            priority,
            room: i32::try_from(room).unwrap_or(i32::MAX),
            jobs_max: i32::try_from(jobs_max).unwrap_or(i32::MAX),
            since: range.reached.map(|at| at - TimeDelta::seconds(1)),
            node,
        };
        let mut conn = self.pool.acquire().await.map_err(store::Error::from)?;
        let began = Instant::now();
        let jobs = store::jobs::claim(&mut conn, claim).await?;
        self.seconds.observe(began.elapsed());
        let devices: usize = jobs.iter().map(|job| job.devices.len()).sum();
        if let Some(last) = jobs.last() {
            range.reached = Some(last.due_at);
            range.devices_per_job = devices / jobs.len();
        }
        // A suspect job is claimed alone, whatever waits behind it.
        let trusted = jobs.iter().all(|job| job.suspicion() == Suspicion::None);
        range.is_drained = trusted && devices < room && jobs.len() < jobs_max;
        Ok(jobs)
    }

    /// True if more jobs of the range may be due than the last claim took.
    pub fn may_have_left(&self, class: Class, priority: Priority) -> bool {
        !self.ranges[row(class)][priority.rank()].is_drained
    }
}

fn row(class: Class) -> usize {
    usize::from(class.code().cast_unsigned())
}

impl Range {
    /// Number of jobs to lock. A claim locks each job that it looks at, taken or not, and claims of other nodes skip
    /// it. So a claim looks at no more jobs than probably fit into the room.
    fn jobs_max(&self, room: usize) -> usize {
        room.div_ceil(self.devices_per_job.max(1)).clamp(1, JOBS_MAX)
    }
}
