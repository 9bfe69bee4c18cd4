//! Carries out clean-up runs, and starts those of schedules. Only the leader does, between its other duties: a batch takes
//! a few milliseconds, and waits for no lock.
//!
//! Nothing that the next leader needs is kept in memory: how far a run has come and which occurrence was started last
//! are in Postgres.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::{Instant, sleep_until};

use super::Settings;
use crate::domain::{App, AppId, CleanupSchedule};
use crate::pruning::cleanups::{CleanupWorker, OccurrenceStart, start_occurrence};
use crate::store;
use crate::store::Session;

/// How often the leader looks for new runs and for schedules that are due. An idle node asks Postgres little.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// From work that failed, or that another node does, to the next look.
const POSTPONED_INTERVAL: Duration = Duration::from_secs(3);

/// The runs of all apps.
#[derive(Debug)]
pub(super) struct Cleanups {
    worker: CleanupWorker,
    /// The occurrence of each schedule that was started last, as far as this node knows it.
    started: BTreeMap<(AppId, String), DateTime<Utc>>,
    next_look: Instant,
    next: Instant,
}

impl Cleanups {
    pub(super) fn new(now: Instant) -> Self {
        Self { worker: CleanupWorker::default(), started: BTreeMap::new(), next_look: now, next: now }
    }

    /// Waits until there may be something to do.
    pub(super) async fn due(&self) {
        sleep_until(self.next).await;
    }

    /// Puts the work off until the next look: this node does not lead, or the work failed.
    pub(super) fn postpone(&mut self) {
        self.next = Instant::now() + POSTPONED_INTERVAL;
    }

    /// Starts what is due, and writes one batch of one run.
    pub(super) async fn step(&mut self, settings: &Settings, conn: &mut Session) -> Result<(), store::Error> {
        if self.next_look <= Instant::now() {
            self.start_due(settings, conn).await?;
            self.next_look = Instant::now() + LOOK_INTERVAL;
        }
        let step = self.worker.step(conn).await?;
        self.next = Instant::now() + step.pause().unwrap_or(LOOK_INTERVAL);
        Ok(())
    }

    async fn start_due(&mut self, settings: &Settings, conn: &mut Session) -> Result<(), store::Error> {
        let now = settings.node_lease.clock().now();
        for app in settings.apps.all().values() {
            self.worker.name_app(app.id, &app.name);
            for schedule in &app.cleanups {
                let key = (app.id, schedule.name.clone());
                let Some(at) = schedule.schedule.due(self.started.get(&key).copied(), now) else { continue };
                let started = start_occurrence(conn, app.id, schedule, at).await?;
                self.started.insert(key, at);
                log_start(app, schedule, at, started);
            }
        }
        Ok(())
    }
}

fn log_start(app: &App, schedule: &CleanupSchedule, at: DateTime<Utc>, started: OccurrenceStart) {
    let (app, schedule, at) = (&app.name, &schedule.name, at.to_rfc3339());
    match started {
        OccurrenceStart::Started => tracing::info!(app, schedule, at, "scheduled clean-up run is started"),
        OccurrenceStart::Skipped => {
            let detail = "another clean-up run of the app, or its restoration, is under way";
            tracing::warn!(app, schedule, at, detail, "scheduled clean-up run is skipped");
        }
        OccurrenceStart::Taken => {}
    }
}
