//! The push providers behind one port, and the transport they share.
//!
//! [`port`] has the traits that a provider implements; [`ProviderSettings`] is for its section of the configuration. Each
//! provider is a folder and one line in [`built_in`]. A lane holds a [`Sender`], which prepares a notification once and
//! sends it to one device at a time.

pub mod apns;
pub mod fcm;
pub mod transport;

mod apple;
mod attempt;
mod built_in;
mod classification;
mod expiry;
#[cfg(test)]
mod fake;
mod fingerprint;
mod members;
mod merge;
pub mod port;
mod provider_settings;
pub mod proxy;
mod resend;
mod retry_after;
#[cfg(test)]
mod section_folder;
mod sender_metrics;
mod setup;

pub use attempt::{Attempt, ExchangeNote, RequestUrl, Validity};
pub use built_in::{Prepared, Providers, Sender, built_in_platforms};
pub use classification::{Classification, ConnectionFate};
pub use expiry::Expiry;
pub use fingerprint::Fingerprint;
pub use port::{Preview, Provider, ProviderClient};
pub use provider_settings::{AnySettings, LaneOptions, ProviderSettings, SharedQuota};
pub use proxy::PROXY_PORT;
pub use resend::{exchange, unanswered};
pub use retry_after::retry_after;
pub use sender_metrics::SenderMetrics;
pub use setup::{SetupError, origin, pool_settings};
pub use transport::PoolStats;

/// Every provider takes messages of at least this many bytes.
pub const PAYLOAD_LIMIT_MIN: usize = 4096;
