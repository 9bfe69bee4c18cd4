//! `[limits]`: limits of requests and of what is stored. An answer about a limit that was hit has its value.

use crate::settings::Section;

/// The settings of the section `[limits]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LimitSettings {
    /// Bytes of a request's body. Does not apply to imports, which are streams.
    pub body_bytes: usize,
    /// Devices, users, tokens and topics together in one `to`.
    pub targets: usize,
    /// Notifications in one batch.
    pub batch_items: usize,
    /// Topics with subscribers, per app.
    pub topics: u32,
    /// Devices that wait to be sent to, per app.
    pub max_pending: u64,
    /// Requests per second with one secret key, on each node. None: no limit.
    pub requests_per_second: Option<u32>,
    /// Requests per minute with a publishable key, for each client address and each device token, on each node. None:
    /// no limit.
    pub register_per_minute: Option<u32>,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            body_bytes: 8 << 20,
            targets: 10_000,
            batch_items: 1_000,
            topics: 100_000,
            max_pending: 50_000_000,
            requests_per_second: None,
            register_per_minute: Some(60),
        }
    }
}

impl LimitSettings {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        const RATES: std::ops::RangeInclusive<u64> = 0..=u32::MAX as u64;
        let default = Self::default();
        let rate = |number: u64| u32::try_from(number).ok().filter(|number| *number > 0);
        let unlimited = |limit: Option<u32>| limit.unwrap_or(0).into();
        let settings = Self {
            body_bytes: section.integer("body_bytes", 1..=1 << 30, default.body_bytes as u64) as usize,
            targets: section.integer("targets", 1..=1_000_000, default.targets as u64) as usize,
            batch_items: section.integer("batch_items", 1..=100_000, default.batch_items as u64) as usize,
            topics: u32::try_from(section.integer("topics", 1..=100_000_000, default.topics.into()))
                .unwrap_or(default.topics),
            max_pending: section.integer("max_pending", 1..=i64::MAX as u64, default.max_pending),
            requests_per_second: rate(section.integer(
                "requests_per_second",
                RATES,
                unlimited(default.requests_per_second),
            )),
            register_per_minute: rate(section.integer(
                "register_per_minute",
                RATES,
                unlimited(default.register_per_minute),
            )),
        };
        section.finish();
        settings
    }
}
