//! Fan-outs: the devices of a large audience are found page by page and become jobs. It can be interrupted at any page,
//! and all nodes share the work. The runtime starts one [`FanOutWorker`] per node.
//!
//! A page is one short transaction that locks the fan-out's row. If a node dies within a page, the page is rolled back
//! and another node repeats it. Each page goes to the most urgent fan-out: a `high` one waits for one page of a `low`
//! one, not for all its pages (docs/queue.md#fan-out).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::found::{Found, TracedPage};
use super::opening;
use super::page::{self, PageError, PageLimits};
use crate::domain::{AppId, Class, LaneId, LaneKey, NotificationId, Priority, ServedApps};
use crate::store;
use crate::store::fan_outs::{self, LockedFanOut};
use crate::store::{Session, SessionPool};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::trace::{ExpandSpan, Tracer};

/// The wait after an error: Postgres may be out of reach.
const ERROR_PAUSE: Duration = Duration::from_secs(1);
/// The wait after a page, as a multiple of the time that the page took. So fan-outs take at most a third of one
/// Postgres core from requests, and still find devices several times faster than lanes send.
const PAUSE_RATIO: u32 = 2;
/// The same after a page without targets, because a page that has some should come soon; and after scheduled notifications,
/// because what they name is sent at once otherwise.
const SHORT_PAUSE_RATIO: u32 = 1;
/// The longest wait after a page.
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// After a failed page a fan-out is left out for this long, so that others are not held up by it.
const FAILED_PAUSE: Duration = Duration::from_secs(10);

/// Called for each lane that got jobs, with their class and priority.
pub type OnJobsAdded = Box<dyn Fn(LaneId, Class, Priority) + Send + Sync>;

/// The most scheduled notifications that one transaction resolves.
const SCHEDULED_MAX: i64 = 500;

/// The task that finds the pages of fan-outs.
pub struct FanOutWorker {
    /// Connections set up for the queue's statements.
    pub pool: SessionPool,
    /// The apps that this node serves. Fan-outs of other apps are left to other nodes.
    pub apps: Arc<ServedApps>,
    /// Notified when there may be a new fan-out.
    pub wake: Arc<Notify>,
    /// Counts the devices that are found.
    pub metrics: Arc<Metrics>,
    /// Called after the commit of a page.
    pub on_jobs_added: OnJobsAdded,
    /// Takes the spans of pages.
    pub tracer: Tracer,
}

impl fmt::Debug for FanOutWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FanOutWorker").finish_non_exhaustive()
    }
}

impl FanOutWorker {
    /// Finds pages until told to stop. A page that has begun is completed first.
    pub async fn run(self, stop: CancellationToken) {
        let mut failed: Vec<(NotificationId, Instant)> = Vec::new();
        while !stop.is_cancelled() {
            failed.retain(|(_, at)| at.elapsed() < FAILED_PAUSE);
            let (mut current, begun) = (None, Instant::now());
            let pause = match self.process_page(&failed, &mut current).await {
                Ok(Some(ratio)) => Some((ratio * begun.elapsed()).min(PAUSE_MAX)),
                Ok(None) => None,
                Err(error) => {
                    let notification = current.map(tracing::field::display);
                    tracing::warn!(%error, notification, "a page of an audience was not found and will be tried again");
                    failed.extend(current.map(|id| (id, Instant::now())));
                    Some(ERROR_PAUSE)
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.wake.notified(), if pause.is_none() => {}
                () = sleep(pause.unwrap_or_default()), if pause.is_some() => {}
            }
        }
    }

    /// Finds one page of the most urgent fan-out that is not in `failed`, and stores its notification in `current`.
    /// Returns the wait after it, as a multiple of the time that it took. None: there is no fan-out.
    async fn process_page(
        &self,
        failed: &[(NotificationId, Instant)],
        current: &mut Option<NotificationId>,
    ) -> Result<Option<u32>, store::Error> {
        let apps: Vec<AppId> = self.apps.all().keys().copied().collect();
        let failed: Vec<NotificationId> = failed.iter().map(|(id, _)| *id).collect();
        let mut conn = self.pool.acquire().await?;
        let mut tx = conn.begin().await?;
        let Some(fan_out) = fan_outs::lock_next(&mut tx, &apps, &failed).await? else {
            tx.rollback().await?;
            return Ok(None);
        };
        *current = Some(fan_out.id);
        let began = Instant::now();
        let (class, Found { lanes, devices, traced }) = match fan_out.is_scheduled {
            true => (Class::Direct, self.open_scheduled(&mut tx, &fan_out, &failed).await?),
            false => (Class::Bulk, self.write_page(&mut tx, &fan_out).await?),
        };
        tx.commit().await?;
        if let Some(app) = self.apps.get(fan_out.app) {
            self.metrics.accept.app(&app.name).fan_out_devices.inc_by(devices);
            self.write_spans(&app.name, &traced, began);
        }
        let ratio = if fan_out.is_scheduled || lanes.is_empty() { SHORT_PAUSE_RATIO } else { PAUSE_RATIO };
        for lane in lanes {
            (self.on_jobs_added)(lane, class, fan_out.priority);
        }
        Ok(Some(ratio))
    }

    fn write_spans(&self, app: &str, traced: &[TracedPage], began: Instant) {
        for TracedPage { send, page, targets } in traced {
            let targets = i64::try_from(*targets).unwrap_or(i64::MAX);
            let ended = Instant::now();
            let span = |send| ExpandSpan { send, app, page: *page, targets, began, ended };
            self.tracer.write_in(Some(*send), span);
        }
    }

    /// Resolves the audiences of scheduled notifications: of the given one, and of others of its app and priority that are due.
    /// After an error they are resolved one by one, so that one of them does not hold up the others.
    async fn open_scheduled(
        &self,
        conn: &mut Session,
        first: &LockedFanOut,
        failed: &[NotificationId],
    ) -> Result<Found, store::Error> {
        let Some(app) = self.apps.get(first.app) else { return end_unreadable(conn, first).await };
        let limit = if failed.is_empty() { SCHEDULED_MAX } else { 1 };
        let due = store::scheduled::lock_due(conn, first.app, first.priority, failed, limit).await?;
        opening::open(conn, &app, first.priority, due).await
    }

    /// Writes the jobs of the next page, and ends the fan-out after its last page.
    async fn write_page(&self, conn: &mut Session, fan_out: &LockedFanOut) -> Result<Found, store::Error> {
        if fan_out.late {
            let detail = "devices that were not found get nothing";
            tracing::warn!(notification = %fan_out.id, detail, "the time to live ended before the whole audience was found");
            fan_outs::finish(conn, fan_out.id, 0).await?;
            return Ok(Found::default());
        }
        let (Some(audience), Some(app)) = (&fan_out.audience, self.apps.get(fan_out.app)) else {
            return end_unreadable(conn, fan_out).await;
        };
        // The accepting node has stored which platforms have lanes. Where this node does not know one of them yet, its
        // jobs are written all the same and other nodes send them.
        let lanes: Vec<(LaneKey, LaneId)> = app.lanes.iter().map(|(key, lane)| (*key, lane.id)).collect();
        let page = match page::write_page(conn, fan_out, audience, &lanes, PageLimits::DEFAULT).await {
            Ok(page) => page,
            Err(PageError::Store(error)) => return Err(error),
            Err(PageError::TooManyTopics) => return end_unreadable(conn, fan_out).await,
        };
        match page.reached {
            Some(reached) => fan_outs::advance(conn, fan_out.id, reached, fan_out.last, page.found).await?,
            None => {
                fan_outs::finish(conn, fan_out.id, page.found).await?;
                tracing::debug!(notification = %fan_out.id, "the whole audience is found");
            }
        }
        let targets = u64::try_from(page.found).unwrap_or_default();
        let number = i64::from(fan_out.page_count) + 1;
        let traced = fan_out.trace.map(|send| TracedPage { send, page: number, targets });
        Ok(Found { lanes: page.lanes, devices: targets, traced: traced.into_iter().collect() })
    }
}

/// Ends a fan-out with the targets that were found so far.
async fn end_unreadable(conn: &mut Session, fan_out: &LockedFanOut) -> Result<Found, store::Error> {
    let detail = "devices that were not found get nothing";
    tracing::error!(notification = %fan_out.id, detail, "the stored audience cannot be read");
    fan_outs::finish(conn, fan_out.id, 0).await?;
    Ok(Found::default())
}
