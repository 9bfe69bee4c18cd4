//! What runs for the views of a node: reads the figures of the apps that pages are open for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::figures::{Minutes, read_minutes, read_snapshot};
use super::snapshot::SnapshotContext;
use super::{DashboardLive, Figures, LiveFigures};
use crate::domain::{App, AppId, InstallationKey, ServedApps};
use crate::queue::node_lease::NodeLease;
use crate::store::nodes::ListedNode;
use crate::store::{self, Session, SessionPool};

/// Between two readings of an app.
const INTERVAL: Duration = Duration::from_secs(2);
/// After the end of a minute: by then every node has stored what it counted.
const MINUTE_LAG_SECS: i64 = 5;

/// What the worker needs.
#[derive(Debug)]
pub struct LiveSettings {
    /// The connections of what operators are shown.
    pub pool: SessionPool,
    /// The apps that there are.
    pub apps: Arc<ServedApps>,
    /// Has Postgres's time.
    pub node_lease: Arc<NodeLease>,
    /// Makes the public ids of webhooks.
    pub installation: InstallationKey,
    /// The configuration keeps no events.
    pub events_off: bool,
}

/// Reads figures for the views of a node.
#[derive(Debug)]
pub struct LiveWorker {
    live: DashboardLive,
    settings: LiveSettings,
}

/// What was read of an app while its pages are open.
#[derive(Debug)]
struct Known {
    read_at: Instant,
    /// The last minute that may be complete, when the minutes were read.
    minute: i64,
    minutes: Minutes,
    written: Bytes,
    number: u64,
}

impl LiveWorker {
    /// For the views of `live`.
    pub fn new(live: DashboardLive, settings: LiveSettings) -> Self {
        Self { live, settings }
    }

    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut known = HashMap::new();
        loop {
            let viewed = self.live.viewed();
            known.retain(|app, _| viewed.iter().any(|(viewed, _)| viewed == app));
            let now = Instant::now();
            let next = known.values().map(|known: &Known| known.read_at + INTERVAL).min();
            let is_due = |app: &AppId| known.get(app).is_none_or(|known| known.read_at + INTERVAL <= now);
            let due: Vec<_> = viewed.into_iter().filter(|(app, _)| is_due(app)).collect();
            if due.is_empty() {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = self.live.0.begun.notified() => {}
                    () = sleep_until(next.unwrap_or(now)), if next.is_some() => {}
                }
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.round(due, &mut known, now) => {}
            }
        }
    }

    async fn round(&self, due: Vec<(AppId, Figures)>, known: &mut HashMap<AppId, Known>, now: Instant) {
        for (app, _) in &due {
            // Also if it can't be read: it is tried again after the interval.
            match known.get_mut(app) {
                Some(known) => known.read_at = now,
                None => drop(known.insert(*app, Known::new(now))),
            }
        }
        if let Err(error) = self.read(&due, known).await {
            tracing::debug!(%error, "figures of the dashboard are not read");
        }
    }

    async fn read(
        &self,
        due: &[(AppId, Figures)],
        known: &mut HashMap<AppId, Known>,
    ) -> Result<(), store::Error> {
        let mut conn = self.settings.pool.acquire().await.map_err(store::Error::from)?;
        let nodes = store::nodes::list(&mut conn).await?;
        for (id, figures) in due {
            let (Some(app), Some(known)) = (self.settings.apps.get(*id), known.get_mut(id)) else { continue };
            let read = self.read_app(&mut conn, &app, &nodes, known).await?;
            figures.send_replace(Some(Arc::new(read)));
        }
        Ok(())
    }

    async fn read_app(
        &self,
        conn: &mut Session,
        app: &App,
        nodes: &[ListedNode],
        known: &mut Known,
    ) -> Result<LiveFigures, store::Error> {
        let now = self.settings.node_lease.clock().now();
        let minute = complete_minute(now);
        if minute != known.minute {
            let until = DateTime::from_timestamp((minute + 1) * 60, 0).unwrap_or(now);
            known.minutes = read_minutes(conn, app, until).await?;
            known.written = known.minutes.write(app);
            known.minute = minute;
            known.number += 1;
        }
        let snapshot = read_snapshot(conn, app, &known.minutes).await?;
        let installation = &self.settings.installation;
        let write = |is_admin| {
            let context = SnapshotContext { installation, app, nodes, now, is_admin };
            snapshot.write(context, self.settings.events_off)
        };
        Ok(LiveFigures {
            for_admins: write(true),
            for_readers: write(false),
            minutes: known.written.clone(),
            minutes_number: known.number,
        })
    }
}

impl Known {
    fn new(read_at: Instant) -> Self {
        Self { read_at, minute: i64::MIN, minutes: Minutes::default(), written: Bytes::new(), number: 0 }
    }
}

/// The last minute that every node has stored, in minutes since 1970.
fn complete_minute(now: DateTime<Utc>) -> i64 {
    (now.timestamp() - MINUTE_LAG_SECS).div_euclid(60) - 1
}
