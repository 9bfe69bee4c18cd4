//! `[retention]`: when history goes.

use std::time::Duration;

use super::section::Section;

/// `[retention]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RetentionSettings {
    /// Of notifications and their deliveries, from when they were accepted.
    pub notifications: Duration,
    /// Of title, body, data and audience, from when the notification was done.
    pub content: Duration,
    /// Of quarantined tokens.
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
        const LEAST: Duration = Duration::from_secs(1);
        let default = Self::default();
        let settings = Self {
            notifications: section.duration("notifications", LEAST, default.notifications),
            content: section.duration("content", Duration::ZERO, default.content),
            quarantine: section.duration("quarantine", LEAST, default.quarantine),
        };
        section.finish();
        settings
    }
}
