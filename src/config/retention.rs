//! `[retention]`: how long notifications, their contents and quarantined tokens are kept.

use crate::settings::Section;
use std::time::Duration;

/// The settings of the section `[retention]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RetentionSettings {
    /// Notifications and their deliveries, from their acceptance.
    pub notifications: Duration,
    /// Title, body, data and audience, from the time when the notification was done.
    pub content: Duration,
    /// Quarantined devices, from their quarantine.
    pub quarantine: Duration,
}

impl Default for RetentionSettings {
    fn default() -> Self {
        const DAY: u64 = 86_400;
        Self {
            notifications: Duration::from_secs(30 * DAY),
            content: Duration::from_secs(7 * DAY),
            quarantine: Duration::from_secs(90 * DAY),
        }
    }
}

impl RetentionSettings {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        const MIN: Duration = Duration::from_secs(1);
        let default = Self::default();
        let settings = Self {
            notifications: section.duration("notifications", MIN, default.notifications),
            content: section.duration("content", Duration::ZERO, default.content),
            quarantine: section.duration("quarantine", MIN, default.quarantine),
        };
        section.finish();
        settings
    }
}
