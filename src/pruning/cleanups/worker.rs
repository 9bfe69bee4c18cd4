//! Carries clean-up runs out, batch by batch. Everything that a run has done is in its row, so any process goes on where
//! another one ended.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::{AppId, CleanupProblem, CleanupRunId, CleanupStatus, DeviceId};
use crate::store::cleanups::CleanupRun;
use crate::store::cleanups::batches::{self, CountedPage, DeviceBatch};
use crate::store::{self, Session};

/// Devices that a batch counts: a few milliseconds.
const COUNT_DEVICES: i64 = 5_000;
/// Devices that a batch looks at to quarantine those that match: at most 40 ms, if all of them match.
const QUARANTINE_DEVICES: i64 = 1_000;
/// Devices that a batch restores: about 40 ms.
const RESTORE_DEVICES: i64 = 1_000;
/// Devices that a run keeps as a sample.
const SAMPLE_DEVICES: usize = 100;
/// The wait after a batch, as a multiple of the time that the batch took. So runs take at most a third of one Postgres
/// core from requests and sending.
const PAUSE_RATIO: u32 = 2;
/// The longest wait after a batch: one batch may have been slow for a reason of its own.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// The wait for a device or a run that another transaction has locked.
const LOCKED_PAUSE: Duration = Duration::from_millis(50);
/// A device that stays locked for so many batches is passed over, because transactions of Pushpost are short.
const LOCKED_BATCHES_MAX: u32 = 200;

/// What a call of [`CleanupWorker::step`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CleanupStep {
    /// No run is under way.
    Idle,
    /// Other transactions hold every run that is under way.
    Locked,
    /// A batch was written. It should be followed by a pause of this length.
    Written(Duration),
}

/// Works on the runs of all apps in turn.
#[derive(Debug)]
pub struct CleanupWorker {
    last: CleanupRunId,
    /// The device that ended the batch before, and the batches that it has ended in a row.
    locked: Option<(CleanupRunId, DeviceId, u32)>,
    /// The names of apps, for the log.
    app_names: BTreeMap<AppId, String>,
}

impl Default for CleanupWorker {
    fn default() -> Self {
        Self { last: CleanupRunId(0), locked: None, app_names: BTreeMap::new() }
    }
}

impl CleanupStep {
    /// How long to wait before the next batch. None: there is nothing to do.
    pub fn pause(self) -> Option<Duration> {
        match self {
            Self::Idle => None,
            Self::Locked => Some(LOCKED_PAUSE),
            Self::Written(pause) => Some(pause),
        }
    }
}

impl CleanupWorker {
    /// Takes the name of an app, so that the log names it. A run of an app without a name is logged with its number.
    pub fn name_app(&mut self, app: AppId, name: &str) {
        if self.app_names.get(&app).is_none_or(|known| known != name) {
            self.app_names.insert(app, name.to_owned());
        }
    }

    /// Writes one batch of one run.
    ///
    /// # Errors
    /// Postgres is out of reach. Nothing of the batch is written then, except perhaps if the answer to its commit was lost.
    pub async fn step(&mut self, conn: &mut Session) -> Result<CleanupStep, store::Error> {
        if !store::cleanups::is_any_active(conn).await? {
            return Ok(CleanupStep::Idle);
        }
        let begun = Instant::now();
        let mut transaction = conn.begin().await?;
        let Some(mut run) = batches::lock_next(&mut transaction, self.last).await? else {
            transaction.rollback().await?;
            return Ok(CleanupStep::Locked);
        };
        self.last = run.id;
        let has_progress = match (run.status, run.is_counted) {
            (CleanupStatus::Restoring, _) => {
                let batch = batches::restore_page(&mut transaction, &run, RESTORE_DEVICES).await?;
                run.restored += batch.changed;
                self.advance(&mut run, batch, RESTORE_DEVICES, CleanupStatus::Restored)
            }
            (_, true) => {
                let batch = batches::quarantine_page(&mut transaction, &run, QUARANTINE_DEVICES).await?;
                run.quarantined += batch.changed;
                self.advance(&mut run, batch, QUARANTINE_DEVICES, CleanupStatus::Done)
            }
            (_, false) => {
                let wanted = (SAMPLE_DEVICES - run.sample.len().min(SAMPLE_DEVICES)) as i64;
                let page = batches::count_page(&mut transaction, &run, COUNT_DEVICES, wanted).await?;
                count(&mut run, page);
                true
            }
        };
        batches::save(&mut transaction, &run).await?;
        transaction.commit().await?;
        self.log_end(conn, &run).await?;
        let pause = (PAUSE_RATIO * begun.elapsed()).min(PAUSE_MAX);
        Ok(CleanupStep::Written(if has_progress { pause } else { pause.max(LOCKED_PAUSE) }))
    }

    /// Notes how far a batch has come, and that the run has come to its `end`. False: a locked device stopped the batch
    /// before it changed anything.
    fn advance(&mut self, run: &mut CleanupRun, batch: DeviceBatch, size: i64, end: CleanupStatus) -> bool {
        if let Some(device) = batch.locked {
            let before = self.locked.take().filter(|(id, locked, _)| (*id, *locked) == (run.id, device));
            let batches = before.map_or(0, |(_, _, batches)| batches) + 1;
            if batches < LOCKED_BATCHES_MAX {
                self.locked = Some((run.id, device, batches));
                run.reached = DeviceId(device.0 - 1);
                return batches == 1;
            }
            run.reached = device;
            return true;
        }
        run.reached = batch.last_seen.unwrap_or(run.last);
        if batch.seen < size {
            run.status = end;
        }
        true
    }

    async fn log_end(&self, conn: &mut Session, run: &CleanupRun) -> Result<(), store::Error> {
        if run.status.is_active() {
            return Ok(());
        }
        let id = store::apps::installation_key(conn).await?.cleanup_run_id(run.app, run.id);
        let app = self.app_names.get(&run.app).cloned().unwrap_or_else(|| run.app.0.to_string());
        let schedule = run.schedule.as_deref();
        let (matched, quarantined, restored) = (run.counts.matched, run.quarantined, run.restored);
        match run.status {
            CleanupStatus::Failed => {
                let (share, limit) = (run.counts.share(), run.criteria.max_share.as_fraction());
                tracing::warn!(
                    run = id,
                    app,
                    schedule,
                    matched,
                    share,
                    limit,
                    detail = "no device was quarantined",
                    hint = "look at the run with pushpost tokens show; a larger max_share allows it",
                    "clean-up run would quarantine too large a share of the devices"
                );
            }
            CleanupStatus::Done => {
                let is_dry_run = run.is_dry_run;
                tracing::info!(
                    run = id,
                    app,
                    schedule,
                    is_dry_run,
                    matched,
                    quarantined,
                    "clean-up run is done"
                );
            }
            CleanupStatus::Restored => {
                tracing::info!(run = id, app, restored, "devices of a clean-up run are restored");
            }
            CleanupStatus::Running | CleanupStatus::Restoring | CleanupStatus::Cancelled => {}
        }
        Ok(())
    }
}

/// Adds what was counted on a page, and decides after the last page how the run goes on.
fn count(run: &mut CleanupRun, page: CountedPage) {
    run.counts.scanned += page.counts.scanned;
    run.counts.matched += page.counts.matched;
    run.counts.recently_quarantined += page.counts.recently_quarantined;
    run.sample.extend(page.sample);
    run.reached = page.last_seen.unwrap_or(run.last);
    if page.seen == COUNT_DEVICES {
        return;
    }
    run.is_counted = true;
    run.reached = DeviceId(0);
    if run.criteria.max_share.is_exceeded(run.counts) {
        run.problem = Some(CleanupProblem::ShareExceeded);
    }
    run.status = match run.problem {
        Some(_) if !run.is_dry_run => CleanupStatus::Failed,
        None if !run.is_dry_run && run.counts.matched > 0 => CleanupStatus::Running,
        _ => CleanupStatus::Done,
    };
}
