//! What the leader reads in the database for all nodes. Nodes that do not lead show nothing of it, so that `sum` and `max`
//! over all nodes agree.
//!
//! The leader [publishes](DatabaseMetrics::publish) all of it at once, so that a scrape never sees halves of two readings,
//! and of a lane that is gone nothing is left.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::families::{AppLabel, LaneLabel};
use super::names::{self, Names};
use crate::domain::Priority;

/// The figures of one reading.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct DatabaseFigures {
    /// Every lane that has a row.
    pub lanes: Vec<LaneFigures>,
    /// Every app that has a row.
    pub apps: Vec<AppFigures>,
    /// Age in seconds of the oldest transaction of any session; 0 if there is none.
    pub oldest_transaction_seconds: f64,
    /// Tables by name, in bytes with their indexes.
    pub tables: Vec<(String, u64)>,
    /// Days after today that have their partitions.
    pub partitions_ahead: u64,
    /// Nodes that were not declared dead.
    pub nodes: u64,
    /// Every webhook that is served.
    pub webhooks: Vec<WebhookFigure>,
    /// Age in seconds of the oldest fact that has no place in the event log; 0 if there is none.
    pub oldest_fact_seconds: f64,
}

/// The figures of one webhook.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct WebhookFigure {
    /// The name of its app in the configuration.
    pub app: String,
    /// The name of the webhook.
    pub endpoint: String,
    /// `active`, `failing`, `paused` or `disabled`.
    pub state: &'static str,
    /// Age of the oldest event that is not delivered, in seconds; 0 if there is none.
    pub lag_seconds: f64,
    /// Events that were set aside.
    pub set_aside: u64,
}

/// The figures of one lane.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct LaneFigures {
    /// The name, such as `shop/fcm`.
    pub lane: String,
    /// Devices that are due and have no outcome, leased ones included, and the seconds since the oldest of them was due (0
    /// if there is none).
    pub due: Vec<(Priority, u64, f64)>,
    /// Devices that are due later because they were scheduled.
    pub scheduled_devices: u64,
    /// Devices that are due later because they are tried again.
    pub backoff_devices: u64,
    /// Has the guard stopped the pruning of this lane's devices?
    pub pruning_braked: bool,
}

/// The figures of one app.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct AppFigures {
    /// The name in the configuration.
    pub app: String,
    /// Audiences that are still being found.
    pub fan_outs: u64,
    /// Seconds since the oldest of them was due; 0 if there is none.
    pub fan_out_oldest_seconds: f64,
    /// Devices by platform and status.
    pub devices: Vec<DeviceFigure>,
}

/// Devices of an app with one platform and status.
#[derive(Clone, PartialEq, Debug)]
pub struct DeviceFigure {
    /// The name of the platform.
    pub platform: &'static str,
    /// `active` or `quarantined`.
    pub status: &'static str,
    /// How many there are.
    pub count: u64,
}

/// Figures, and whether they may be shown still.
struct Published {
    figures: DatabaseFigures,
    is_valid: Box<dyn Fn() -> bool + Send + Sync>,
}

impl fmt::Debug for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Published").field("figures", &self.figures).finish_non_exhaustive()
    }
}

/// What the leader reads in the database for all nodes.
#[derive(Clone, Debug, Default)]
pub struct DatabaseMetrics(Arc<RwLock<Option<Published>>>);

impl DatabaseMetrics {
    pub(super) fn register(names: &mut Names) -> Self {
        let metrics = Self::default();
        names.add_collector(metrics.clone());
        metrics
    }

    /// Shows these figures in place of those before, as long as `is_valid`: each scrape asks whether this node still leads.
    pub fn publish(&self, figures: DatabaseFigures, is_valid: impl Fn() -> bool + Send + Sync + 'static) {
        let published = Published { figures, is_valid: Box::new(is_valid) };
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(published);
    }

    /// Shows nothing any more, because this node does not lead.
    pub fn withdraw(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Collector for DatabaseMetrics {
    fn encode(&self, encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let published = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match &*published {
            Some(published) if (published.is_valid)() => published.figures.encode(encoder),
            _ => Ok(()),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct DueLabels {
    lane: String,
    priority: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct LaterLabels {
    lane: String,
    cause: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct DeviceLabels {
    app: String,
    platform: &'static str,
    status: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct WebhookLabels {
    app: String,
    endpoint: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct WebhookStateLabels {
    app: String,
    endpoint: String,
    state: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct TableLabel {
    table: String,
}

impl DatabaseFigures {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        self.encode_apps(&mut encoder)?;
        self.encode_lanes(&mut encoder)?;
        self.encode_webhooks(&mut encoder)?;
        let oldest = self.oldest_transaction_seconds;
        let help = "Age of the oldest transaction of any session";
        one(&mut encoder, "pushpost_postgres_oldest_transaction_seconds", help, oldest)?;
        let tables = self.tables.iter().map(|(table, bytes)| (TableLabel { table: table.clone() }, *bytes));
        series(&mut encoder, "pushpost_table_bytes", "Size of a table with its indexes", tables)?;
        let help = "Days ahead of today that have their partitions";
        one(&mut encoder, "pushpost_partitions_ahead", help, self.partitions_ahead)?;
        one(&mut encoder, "pushpost_nodes", "Living nodes", self.nodes)?;
        let help = "Age of the oldest fact that has no place in the event log";
        one(&mut encoder, "pushpost_event_outbox_seconds", help, self.oldest_fact_seconds)
    }

    fn encode_webhooks(&self, encoder: &mut DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let label = |of: &WebhookFigure| WebhookLabels { app: of.app.clone(), endpoint: of.endpoint.clone() };
        let lag = self.webhooks.iter().map(|of| (label(of), of.lag_seconds));
        let help = "Age of the oldest event that a webhook has not got";
        series(encoder, "pushpost_webhook_lag_seconds", help, lag)?;
        let states = self.webhooks.iter().flat_map(|of| {
            WEBHOOK_STATES.map(|state| {
                let WebhookLabels { app, endpoint } = label(of);
                (WebhookStateLabels { app, endpoint, state }, u64::from(state == of.state))
            })
        });
        series(encoder, "pushpost_webhook_state", "1 for the state that a webhook is in, else 0", states)?;
        let set_aside = self.webhooks.iter().map(|of| (label(of), of.set_aside));
        series(
            encoder,
            "pushpost_webhook_set_aside",
            "Events that a webhook refuses and that were set aside",
            set_aside,
        )
    }

    fn encode_apps(&self, encoder: &mut DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let label = |app: &AppFigures| AppLabel { app: app.app.clone() };
        let fan_outs = self.apps.iter().map(|app| (label(app), app.fan_outs));
        series(encoder, "pushpost_fan_outs", "Audiences that are still being found", fan_outs)?;
        let oldest = self.apps.iter().map(|app| (label(app), app.fan_out_oldest_seconds));
        let help = "Time since the oldest audience that is still being found was due";
        series(encoder, "pushpost_fan_out_oldest_seconds", help, oldest)?;
        let devices = self.apps.iter().flat_map(|app| {
            app.devices.iter().map(|figure| {
                let DeviceFigure { platform, status, count } = *figure;
                (DeviceLabels { app: app.app.clone(), platform, status }, count)
            })
        });
        series(encoder, "pushpost_devices", "Registered devices", devices)
    }

    fn encode_lanes(&self, encoder: &mut DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let due = || {
            self.lanes.iter().flat_map(|lane| {
                lane.due.iter().map(|(priority, devices, oldest)| {
                    (DueLabels { lane: lane.lane.clone(), priority: priority.as_str() }, *devices, *oldest)
                })
            })
        };
        let devices = due().map(|(labels, devices, _)| (labels, devices));
        series(encoder, "pushpost_queue_devices", "Devices that are due and have no outcome", devices)?;
        let oldest = due().map(|(labels, _, oldest)| (labels, oldest));
        let help = "Time since the oldest device without an outcome was due";
        series(encoder, "pushpost_queue_oldest_seconds", help, oldest)?;
        let later = self.lanes.iter().flat_map(|lane| {
            let label = |cause| LaterLabels { lane: lane.lane.clone(), cause };
            [(label("scheduled"), lane.scheduled_devices), (label("backoff"), lane.backoff_devices)]
        });
        series(encoder, "pushpost_queue_later_devices", "Devices that are due later", later)?;
        let braked = self
            .lanes
            .iter()
            .map(|lane| (LaneLabel { lane: lane.lane.clone() }, u64::from(lane.pruning_braked)));
        let help = "1 while the guard has stopped the pruning of the lane's devices";
        series(encoder, "pushpost_pruning_braked", help, braked)
    }
}

/// States of a webhook, each of which is a series.
const WEBHOOK_STATES: [&str; 4] = ["active", "failing", "paused", "disabled"];

/// A gauge without labels.
fn one(
    encoder: &mut DescriptorEncoder,
    name: &'static str,
    help: &str,
    value: impl EncodeGaugeValue,
) -> Result<(), std::fmt::Error> {
    let (stem, unit) = names::split(name, MetricType::Gauge);
    let metric = encoder.encode_descriptor(stem, &format!("{help}."), unit.as_ref(), MetricType::Gauge)?;
    ConstGauge::new(value).encode(metric)
}

/// A gauge with a value for each label set. Nothing at all without any.
fn series<L: EncodeLabelSet, V: EncodeGaugeValue>(
    encoder: &mut DescriptorEncoder,
    name: &'static str,
    help: &str,
    values: impl Iterator<Item = (L, V)>,
) -> Result<(), std::fmt::Error> {
    let mut values = values.peekable();
    if values.peek().is_none() {
        return Ok(());
    }
    let (stem, unit) = names::split(name, MetricType::Gauge);
    let mut metric =
        encoder.encode_descriptor(stem, &format!("{help}."), unit.as_ref(), MetricType::Gauge)?;
    for (labels, value) in values {
        ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}
