//! Accepted notifications, and the devices found for them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::Histogram;
use super::families::AppLabel;
use super::label::label_words;
use super::names::Names;

label_words! {
    /// How the devices of a notification are found.
    AudienceKind {
        /// At once, while the request waits.
        Direct "direct",
        /// Page by page, after the answer.
        Broadcast "broadcast",
        /// When the notification is due.
        Scheduled "scheduled",
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct NotificationLabels {
    app: String,
    audience: &'static str,
}

/// Accepted notifications, and the devices found for them.
#[derive(Debug)]
pub struct AcceptMetrics {
    /// Time from the last byte of a request's body to the answer to its COMMIT.
    pub seconds: Histogram,
    /// Notifications that shared a COMMIT.
    pub batch_notifications: Histogram,
    notifications: Family<NotificationLabels, Counter>,
    fan_out_devices: Family<AppLabel, Counter>,
    apps: Mutex<HashMap<String, Arc<AppMetrics>>>,
}

/// The notifications of one app.
#[derive(Debug)]
pub struct AppMetrics {
    notifications: Vec<Counter>,
    /// Devices found by its fan-outs.
    pub fan_out_devices: Counter,
}

impl AcceptMetrics {
    pub(super) fn register(names: &mut Names) -> Self {
        let metrics = Self {
            seconds: Histogram::quick(),
            batch_notifications: Histogram::sizes(),
            notifications: Family::default(),
            fan_out_devices: Family::default(),
            apps: Mutex::default(),
        };
        let Self { seconds, batch_notifications, notifications, fan_out_devices, .. } = &metrics;
        names.add(
            "pushpost_accept_seconds",
            "Time from the last byte of a request's body to the answer to its COMMIT",
            seconds.clone(),
        );
        names.add(
            "pushpost_accept_batch_notifications",
            "Notifications that shared a COMMIT",
            batch_notifications.clone(),
        );
        names.add(
            "pushpost_notifications_total",
            "Accepted notifications, by how their devices are found",
            notifications.clone(),
        );
        names.add(
            "pushpost_fan_out_devices_total",
            "Devices found for audiences that are resolved after the answer",
            fan_out_devices.clone(),
        );
        metrics
    }

    /// The metrics of an app, by its name.
    pub fn app(&self, name: &str) -> Arc<AppMetrics> {
        let mut apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(app) = apps.get(name) {
            return Arc::clone(app);
        }
        let notifications = AudienceKind::ALL.iter().map(|audience| {
            let labels = NotificationLabels { app: name.to_owned(), audience: audience.as_str() };
            self.notifications.get_or_create_owned(&labels)
        });
        let app = Arc::new(AppMetrics {
            notifications: notifications.collect(),
            fan_out_devices: self.fan_out_devices.get_or_create_owned(&AppLabel { app: name.to_owned() }),
        });
        apps.insert(name.to_owned(), Arc::clone(&app));
        app
    }
}

impl AppMetrics {
    /// Accepted notifications with audiences of this kind.
    pub fn notifications(&self, audience: AudienceKind) -> &Counter {
        &self.notifications[audience as usize]
    }
}
