//! From a large audience to jobs: page by page, restartable, on as many nodes as there are.
//!
//! A page is one short transaction that locks the fan-out's row, so whoever dies in the middle of it leaves things as
//! they were before, and somebody else goes on from there. Each page goes to the most urgent fan-out, so a `high` one
//! waits for one page of a `low` one, not for all of it (docs/queue.md#fan-out).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::domain::{AppId, DeviceId, LaneId, LaneKey, NotificationId, Priority, ServedApps};
use crate::store;
use crate::store::fan_outs::{self, LockedFanOut};
use crate::store::{Session, SessionPool};

/// Devices that are looked at in one transaction.
const PAGE_DEVICES: i64 = 10_000;
/// While Postgres is away.
const UNAVAILABLE_PAUSE: Duration = Duration::from_secs(1);
/// After each page, twice as long as it took, but no longer than this: finding takes no more than a third of a core from
/// those who wait for an answer, and is several times faster than sending still.
const PAUSE_RATIO: u32 = 2;
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// A fan-out that failed lets the others go first for so long.
const FAILED_PAUSE: Duration = Duration::from_secs(10);

/// Told of each lane that got jobs.
pub type OnJobsAdded = Box<dyn Fn(LaneId, Priority) + Send + Sync>;

/// What finding audiences takes.
pub struct FanOutWorker {
    /// Connections set up for the queue's statements.
    pub pool: SessionPool,
    /// The apps that this node serves. Audiences of other apps are left to other nodes.
    pub apps: Arc<ServedApps>,
    /// Notified when there may be one to be found.
    pub wake: Arc<Notify>,
    /// Told of each lane that got jobs.
    pub on_jobs_added: OnJobsAdded,
}

impl std::fmt::Debug for FanOutWorker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FanOutWorker").finish_non_exhaustive()
    }
}

impl FanOutWorker {
    /// Finds audiences until told to stop. A page that is begun is ended first.
    pub async fn run(self, stop: CancellationToken) {
        let mut aside: Vec<(NotificationId, Instant)> = Vec::new();
        while !stop.is_cancelled() {
            aside.retain(|(_, since)| since.elapsed() < FAILED_PAUSE);
            let (mut at, begun) = (None, Instant::now());
            let wait = match self.page(&aside, &mut at).await {
                Ok(true) => Some((PAUSE_RATIO * begun.elapsed()).min(PAUSE_MAX)),
                Ok(false) => None,
                Err(error) => {
                    tracing::warn!(%error, notification = at.map(tracing::field::display), "no page of an audience found; it is tried again");
                    aside.extend(at.map(|id| (id, Instant::now())));
                    Some(UNAVAILABLE_PAUSE)
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.wake.notified(), if wait.is_none() => {}
                () = sleep(wait.unwrap_or_default()), if wait.is_some() => {}
            }
        }
    }

    /// One page of the most urgent fan-out; `at` tells which. False: there is none.
    async fn page(
        &self,
        aside: &[(NotificationId, Instant)],
        at: &mut Option<NotificationId>,
    ) -> Result<bool, store::Error> {
        let apps: Vec<AppId> = self.apps.all().keys().copied().collect();
        let aside: Vec<NotificationId> = aside.iter().map(|(id, _)| *id).collect();
        let mut conn = self.pool.acquire().await?;
        let mut tx = conn.begin().await?;
        let Some(fan_out) = fan_outs::lock_next(&mut tx, &apps, &aside).await? else {
            tx.rollback().await?;
            return Ok(false);
        };
        *at = Some(fan_out.id);
        let lanes = self.write(&mut tx, &fan_out).await?;
        tx.commit().await?;
        for lane in lanes {
            (self.on_jobs_added)(lane, fan_out.priority);
        }
        Ok(true)
    }

    /// Answers the lanes that got jobs.
    async fn write(&self, conn: &mut Session, fan_out: &LockedFanOut) -> Result<Vec<LaneId>, store::Error> {
        if fan_out.late {
            tracing::warn!(notification = %fan_out.id, "its time ran out before its whole audience was found");
            fan_outs::finish(conn, fan_out.id, 0).await?;
            return Ok(Vec::new());
        }
        let (Some(audience), Some(app)) = (&fan_out.audience, self.apps.get(fan_out.app)) else {
            tracing::error!(notification = %fan_out.id, "its audience can't be read: nobody else is found");
            fan_outs::finish(conn, fan_out.id, 0).await?;
            return Ok(Vec::new());
        };
        // The node that accepted it has said which platforms have lanes. This node may not know one of them yet, and others
        // send then.
        let lanes: Vec<(LaneKey, LaneId)> = app.lanes.iter().map(|(key, lane)| (*key, lane.id)).collect();
        let page = fan_outs::write_page(conn, fan_out, audience, &lanes, PAGE_DEVICES).await?;
        let reached = page.reached.unwrap_or(DeviceId(i64::MAX));
        if page.seen < PAGE_DEVICES || reached >= fan_out.last {
            fan_outs::finish(conn, fan_out.id, page.found).await?;
            tracing::debug!(notification = %fan_out.id, "its audience is found");
        } else {
            fan_outs::advance(conn, fan_out.id, reached, fan_out.last, page.found).await?;
        }
        Ok(page.lanes)
    }
}
