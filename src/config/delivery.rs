//! `[delivery]`: time to live, requests in flight, retries, and the time-outs of nodes.

use std::time::Duration;

use crate::domain::{RetryPolicy, Ttl};
use crate::settings::Section;

/// The settings of the section `[delivery]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeliverySettings {
    /// The time to live of notifications that state none.
    pub default_ttl: Ttl,
    /// Requests in flight at most, per lane and node.
    pub max_in_flight: u32,
    /// When a failed attempt is repeated.
    pub retry: RetryPolicy,
    /// A node without a heartbeat for this long is declared dead, and its jobs go to other nodes.
    pub node_timeout: Duration,
    /// How long a node that stops waits for requests in flight.
    pub drain_timeout: Duration,
}

impl Default for DeliverySettings {
    fn default() -> Self {
        Self {
            default_ttl: Ttl::MAX,
            max_in_flight: 2_000,
            retry: RetryPolicy {
                initial: Duration::from_secs(10),
                throttled: Duration::from_secs(60),
                max: Duration::from_secs(15 * 60),
            },
            node_timeout: Duration::from_secs(15),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

impl DeliverySettings {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        const MIN: Duration = Duration::from_millis(1);
        /// The longest time to live, after which no attempt begins.
        const RETRY_MAX: Duration = Duration::from_secs(28 * 86_400);
        const DAY: Duration = Duration::from_secs(86_400);
        let default = Self::default();
        let retry = RetryPolicy {
            initial: section.duration("retry_initial", MIN..=RETRY_MAX, default.retry.initial),
            throttled: section.duration("retry_throttled", MIN..=RETRY_MAX, default.retry.throttled),
            max: section.duration("retry_max", MIN..=RETRY_MAX, default.retry.max),
        };
        if retry.max < retry.initial {
            let key = if section.has("retry_max") { "retry_max" } else { "retry_initial" };
            section.fault(key, "retry_max must not be less than retry_initial");
        }
        let settings = Self {
            default_ttl: section.parsed("default_ttl", ttl).unwrap_or(default.default_ttl),
            max_in_flight: section.integer("max_in_flight", 1..=1_000_000, default.max_in_flight.into())
                as u32,
            retry,
            node_timeout: section.duration(
                "node_timeout",
                Duration::from_secs(1)..=DAY,
                default.node_timeout,
            ),
            drain_timeout: section.duration("drain_timeout", Duration::ZERO..=DAY, default.drain_timeout),
        };
        section.finish();
        settings
    }
}

fn ttl(text: &str) -> Result<Ttl, &'static str> {
    Ttl::parse(text).map_err(|_| "must be whole seconds, digits and one of s, m, h, d, w, and at most 28d")
}
