//! The leader's figures about the whole database, for operators: what waits, what is late, what grows. They go to the metrics
//! of this node, and to the table `lane_figures`, which every node shows.
//!
//! They are read beside the other duties, on connections of their own: counting takes longer than any duty may be delayed,
//! and a duty that takes long must not make the figures old.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::HOUR;
use crate::domain::{AppId, FAILING_FAILURES, LaneId, Priority};
use crate::queue::node_lease::NodeLease;
use crate::store;
use crate::store::figures::{self, DeviceCount, FiguredLane, TableSize, WaitingFigures};
use crate::store::webhooks::{self, WebhookFigures};
use crate::store::{Session, SessionPool};
use crate::telemetry::metrics::{
    AppFigures, DatabaseFigures, DeviceFigure, LaneFigures, Metrics, WebhookFigure,
};

/// Between two readings. Alerts have `for` durations of a minute and more.
const PERIOD: Duration = Duration::from_secs(15);
/// From a failed reading to the next one.
const RETRY_PERIOD: Duration = Duration::from_secs(5);
/// How often a node looks whether it leads. It sends no statement for that.
const LEADERSHIP_PERIOD: Duration = Duration::from_millis(500);
/// Figures of lanes that stay the same, as those of an idle service, are stored this often.
const UNCHANGED_PERIOD: Duration = Duration::from_secs(60);
/// Figures that could not be read anew for this long are shown no more.
const AGE_MAX: Duration = Duration::from_secs(60);

/// What the reader of figures needs.
#[derive(Debug)]
pub struct FigureSettings {
    /// Connections of what operators are shown.
    pub pool: SessionPool,
    /// The lease of this node, which says whether the node leads.
    pub node_lease: Arc<NodeLease>,
    /// Where the figures are shown.
    pub metrics: Arc<Metrics>,
}

/// Reads the figures while this node leads, until told to stop.
pub async fn run(settings: FigureSettings, stop: CancellationToken) {
    let mut reader = FigureReader::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = reader.round(&settings) => {}
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = sleep(LEADERSHIP_PERIOD) => {}
        }
    }
    settings.metrics.database.withdraw();
}

/// What waits in each lane and priority that has anything.
type Waiting = BTreeMap<(LaneId, Priority), WaitingFigures>;

/// When what was read last, while this node leads.
#[derive(Debug, Default)]
struct FigureReader {
    /// None: the node does not lead, or has just begun to.
    next_reading: Option<Instant>,
    read_at: Option<Instant>,
    /// What waited when it was stored last, and when that was.
    stored: Option<(Instant, Waiting)>,
    sizes: Option<Sizes>,
    has_failed: bool,
}

/// What is read once an hour.
#[derive(Debug)]
struct Sizes {
    read_at: Instant,
    tables: Vec<TableSize>,
    devices: Vec<DeviceCount>,
}

impl FigureReader {
    async fn round(&mut self, settings: &FigureSettings) {
        if !settings.node_lease.leads() {
            if self.next_reading.is_some() {
                settings.metrics.database.withdraw();
                *self = Self::default();
            }
            return;
        }
        let now = Instant::now();
        if self.next_reading.is_some_and(|next| now < next) {
            return;
        }
        self.next_reading = Some(now + PERIOD);
        match self.read(settings).await {
            Ok(figures) => {
                let node_lease = Arc::clone(&settings.node_lease);
                settings.metrics.database.publish(figures, move || node_lease.leads());
                (self.read_at, self.has_failed) = (Some(now), false);
            }
            Err(error) => {
                self.next_reading = Some(now + RETRY_PERIOD);
                self.failed(settings, &error);
            }
        }
    }

    /// Logs the first failure in a row. During an outage of Postgres the heartbeat logs the outage.
    fn failed(&mut self, settings: &FigureSettings, error: &store::Error) {
        if self.has_failed || error.is_unavailable() {
            tracing::debug!(%error, "figures about the database are still not read");
        } else {
            let detail = "metrics and lanes show the figures of the last reading for a minute";
            tracing::warn!(%error, detail, "figures about the database are not read");
        }
        self.has_failed = true;
        if self.read_at.is_some_and(|at| at.elapsed() >= AGE_MAX) {
            settings.metrics.database.withdraw();
        }
    }

    async fn store(
        &mut self,
        conn: &mut Session,
        lanes: &[FiguredLane],
        waiting: &Waiting,
    ) -> Result<(), store::Error> {
        let is_stored =
            |(at, stored): &(Instant, Waiting)| at.elapsed() < UNCHANGED_PERIOD && stored == waiting;
        if self.stored.as_ref().is_none_or(|stored| !is_stored(stored)) {
            figures::store(conn, lanes, waiting).await?;
            self.stored = Some((Instant::now(), waiting.clone()));
        }
        Ok(())
    }

    async fn read(&mut self, settings: &FigureSettings) -> Result<DatabaseFigures, store::Error> {
        let mut conn = settings.pool.acquire().await.map_err(store::Error::from)?;
        let lanes = figures::lanes(&mut conn).await?;
        // This node ends what waited in lanes that it may not serve itself.
        lanes.iter().for_each(|lane| settings.pool.name_lane(lane.id, &lane.name()));
        let waiting = figures::waiting(&mut conn).await?;
        self.store(&mut conn, &lanes, &waiting).await?;
        let fan_outs = figures::fan_outs(&mut conn).await?;
        let state = figures::database(&mut conn).await?;
        let webhooks = webhooks::figures(&mut conn).await?;
        let names: BTreeMap<AppId, String> =
            lanes.iter().map(|lane| (lane.app, lane.app_name.clone())).collect();
        let sizes = self.sizes(&mut conn).await?;
        let mut apps = BTreeMap::new();
        for lane in &lanes {
            let fan_outs = fan_outs.get(&lane.app).copied().unwrap_or_default();
            let app = apps.entry(&lane.app_name).or_insert_with(|| AppFigures {
                app: lane.app_name.clone(),
                fan_outs: fan_outs.count,
                fan_out_oldest_seconds: fan_outs.oldest_seconds,
                devices: Vec::new(),
            });
            let platform = lane.key.platform().as_str();
            if app.devices.iter().all(|known| known.platform != platform) {
                app.devices.extend(sizes.device_figures(lane.app, lane));
            }
        }
        let lanes = lanes.iter().map(|lane| lane_figures(lane, &waiting)).collect();
        Ok(DatabaseFigures {
            lanes,
            apps: apps.into_values().collect(),
            oldest_transaction_seconds: state.oldest_transaction_seconds,
            tables: sizes.tables.iter().map(|size| (size.table.clone(), size.bytes)).collect(),
            partitions_ahead: state.partitions_ahead.into(),
            nodes: state.nodes.into(),
            webhooks: webhooks.into_iter().filter_map(|of| webhook_figure(of, &names)).collect(),
            oldest_fact_seconds: state.oldest_fact_seconds,
        })
    }

    /// The sizes, read anew once an hour.
    async fn sizes(&mut self, conn: &mut Session) -> Result<&Sizes, store::Error> {
        if self.sizes.as_ref().is_some_and(|sizes| sizes.read_at.elapsed() >= HOUR) {
            self.sizes = None;
        }
        match &mut self.sizes {
            Some(sizes) => Ok(sizes),
            none => {
                let tables = figures::tables(conn).await?;
                let devices = figures::devices(conn).await?;
                Ok(none.insert(Sizes { read_at: Instant::now(), tables, devices }))
            }
        }
    }
}

fn webhook_figure(of: WebhookFigures, apps: &BTreeMap<AppId, String>) -> Option<WebhookFigure> {
    let state = match &of {
        _ if of.is_disabled => "disabled",
        _ if of.is_paused => "paused",
        _ if of.failures >= FAILING_FAILURES => "failing",
        _ => "active",
    };
    Some(WebhookFigure {
        app: apps.get(&of.app)?.clone(),
        endpoint: of.name,
        state,
        lag_seconds: of.lag_seconds,
        set_aside: of.set_aside.into(),
    })
}

fn lane_figures(lane: &FiguredLane, waiting: &Waiting) -> LaneFigures {
    let mut figures =
        LaneFigures { lane: lane.name(), pruning_braked: lane.is_braked, ..LaneFigures::default() };
    for priority in Priority::DESCENDING {
        let of = waiting.get(&(lane.id, priority)).copied().unwrap_or_default();
        figures.due.push((priority, of.due_devices, of.oldest_seconds.unwrap_or_default()));
        figures.scheduled_devices += of.scheduled_devices;
        figures.backoff_devices += of.backoff_devices;
    }
    figures
}

impl Sizes {
    /// The devices of an app on the platform of one of its lanes.
    fn device_figures(&self, app: AppId, lane: &FiguredLane) -> [DeviceFigure; 2] {
        let platform = lane.key.platform();
        [("active", false), ("quarantined", true)].map(|(status, is_quarantined)| {
            let counts = self.devices.iter().filter(|count| {
                count.app == app && count.platform == platform && count.is_quarantined == is_quarantined
            });
            DeviceFigure {
                platform: platform.as_str(),
                status,
                count: counts.map(|count| count.devices).sum(),
            }
        })
    }
}
