//! `[retention]`: how long notifications, their contents and quarantined tokens are kept.

use crate::settings::Section;
use std::time::Duration;

/// The longest retention: 36,500 days. Postgres can compute with the times of a century ago.
pub const RETENTION_MAX: Duration = Duration::from_secs(36_500 * 86_400);

/// The settings of the section `[retention]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RetentionSettings {
    /// Notifications and their deliveries, from their acceptance.
    pub notifications: Duration,
    /// Title, body, data and audience, from the time when the notification was done.
    pub content: Duration,
    /// Quarantined devices, from their quarantine.
    pub quarantine: Duration,
    /// The event log, by the day of its entries. Zero: there is none.
    pub events: Duration,
}

impl Default for RetentionSettings {
    fn default() -> Self {
        const DAY: u64 = 86_400;
        Self {
            notifications: Duration::from_secs(30 * DAY),
            content: Duration::from_secs(7 * DAY),
            quarantine: Duration::from_secs(90 * DAY),
            events: Duration::from_secs(7 * DAY),
        }
    }
}

impl RetentionSettings {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        const MIN: Duration = Duration::from_secs(1);
        let default = Self::default();
        let notifications = section.duration("notifications", MIN..=RETENTION_MAX, default.notifications);
        // What an event tells is rendered from its notification.
        let is_stated = section.has("events");
        let events = section.duration("events", Duration::ZERO..=RETENTION_MAX, default.events);
        if is_stated && events > notifications {
            section.fault("events", "must not be longer than retention.notifications");
        }
        let settings = Self {
            notifications,
            events: events.min(notifications),
            content: section.duration("content", Duration::ZERO..=RETENTION_MAX, default.content),
            quarantine: section.duration("quarantine", MIN..=RETENTION_MAX, default.quarantine),
        };
        section.finish();
        settings
    }
}
