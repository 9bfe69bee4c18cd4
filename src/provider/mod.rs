//! The push providers behind one port, and the transport they share.
//!
//! [`port`] has the traits that a provider implements; [`ProviderSettings`] is for its section of the configuration. Each
//! provider is a folder and one line in [`built_in`]. A lane holds a [`Sender`], which prepares a notification once and
//! sends it to one device at a time.

pub mod apns;
pub mod fcm;
pub mod transport;

mod apple;
mod built_in;
mod classification;
#[cfg(test)]
mod fake;
mod members;
mod merge;
pub mod port;
mod provider_settings;
pub mod proxy;
mod resend;
mod retry_after;
#[cfg(test)]
mod section_folder;
mod setup;

use std::fmt;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use uuid::Uuid;

use crate::domain::{DeviceToken, remaining_secs};

pub use built_in::{Prepared, Providers, Sender, built_in_platforms};
pub use classification::{Classification, ConnectionFate};
pub use port::{Provider, ProviderClient};
pub use provider_settings::{AnySettings, LaneOptions, ProviderSettings, SharedQuota};
pub use proxy::PROXY_PORT;
pub use resend::{exchange, unanswered};
pub use setup::{SetupError, origin, pool_settings};
pub use transport::PoolStats;

/// SHA-256 over a lane's provider, credential, topic and endpoint. Nodes compare it to learn whether a credential that
/// was refused is the one they use, so that a node with a new credential goes on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Hashes the parts with their lengths, so that moving a byte to the next part changes the result.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut digest = Sha256::new();
        for part in parts {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        Self(digest.finalize().into())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({})", hex::encode(&self.0[..4]))
    }
}

/// One attempt to send a notification to one device.
#[derive(Clone, Debug)]
pub struct Attempt<'a> {
    /// The token of the device.
    pub token: &'a DeviceToken,
    /// The id of the message: equal for all attempts of a notification at this device.
    pub message_id: Uuid,
    /// Postgres's time at the attempt. The remaining expiry is counted from it.
    pub now: DateTime<Utc>,
    /// When the notification expires. No attempt is made afterwards.
    pub expires_at: DateTime<Utc>,
    /// The provider must deliver at once or drop the message; it must not store it.
    pub once: bool,
    /// When waiting for the answer ends.
    pub deadline: Instant,
    /// Whether the attempt is still valid, asked before each send.
    pub validity: Validity<'a>,
}

/// Asks whether an attempt is still to be made. It is called right before the request is written, because the attempt
/// may have waited seconds for a stream.
#[derive(Clone, Copy)]
pub struct Validity<'a>(pub &'a (dyn Fn() -> bool + Sync));

impl fmt::Debug for Validity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Validity")
    }
}

impl Attempt<'_> {
    /// How long the provider may keep the message.
    pub fn expiry(&self) -> Expiry {
        Expiry { now: self.now, expires_at: self.expires_at, once: self.once }
    }
}

/// Every provider takes messages of at least this many bytes.
pub const PAYLOAD_LIMIT_MIN: usize = 4096;

/// FCM's longest `ttl`, in seconds: four weeks (docs/providers.md#fcm-message).
const FCM_TTL_MAX: u64 = 28 * 86_400;

/// How long a provider may keep a message. Converts to the form of each provider.
#[derive(Clone, Copy, Debug)]
pub struct Expiry {
    /// Postgres's time at the attempt.
    pub now: DateTime<Utc>,
    /// When the notification expires.
    pub expires_at: DateTime<Utc>,
    /// The provider must deliver at once or drop the message.
    pub once: bool,
}

impl Expiry {
    /// The `apns-expiration` in UNIX seconds, rounded up and never in the past. 0 means: deliver at once or drop.
    ///
    /// It depends on `expires_at` only, where possible, so that all devices of a notification get the same value.
    fn apns_expiration(self) -> u64 {
        if self.once {
            return 0;
        }
        let end = self.expires_at.timestamp() + i64::from(self.expires_at.timestamp_subsec_nanos() > 0);
        u64::try_from(end.max(self.now.timestamp() + 1)).unwrap_or_default()
    }

    /// FCM's `ttl` in seconds, rounded up. 0 means: deliver at once or drop.
    ///
    /// It is limited to FCM's maximum, because FCM refuses a message above it. A node's estimate of Postgres's time
    /// lags a little, so right after the commit the remaining time can exceed the requested time.
    fn ttl_secs(self) -> u64 {
        if self.once { 0 } else { remaining_secs(self.expires_at - self.now).min(FCM_TTL_MAX) }
    }
}
