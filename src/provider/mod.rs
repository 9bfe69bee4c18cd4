//! The push providers behind one port, and the transport they share.
//!
//! [`port`] says what a provider must state. Each provider is a folder and one line in [`registry`]. [`Sender`] is what a
//! lane holds: it prepares a notification once and sends it to one device at a time.

pub mod apns;
pub mod fcm;
pub mod transport;

mod apple;
mod classification;
mod exchange;
#[cfg(test)]
mod fake;
mod members;
mod merge;
pub mod port;
pub mod proxy;
mod registry;
mod retry_after;
mod setup;

use std::fmt;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use uuid::Uuid;

use crate::domain::{DeviceToken, remaining_secs};

pub use classification::{Classification, ConnectionFate};
pub use port::{Provider, ProviderClient};
pub use proxy::PROXY_PORT;
pub use registry::{Prepared, Providers, Sender, built_in_platforms};
pub use setup::SetupError;
pub use transport::PoolStats;

/// SHA-256 over all that a lane's configuration says of its provider, credential, topic and endpoint: names what was
/// rejected, so that a node with something new goes on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Over parts of any length, each told apart from its neighbours.
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

/// One attempt at one device.
#[derive(Clone, Debug)]
pub struct Attempt<'a> {
    /// Where to.
    pub token: &'a DeviceToken,
    /// The same for every attempt at this device for this notification.
    pub message_id: Uuid,
    /// Postgres's time now: what remains of the life is counted from it.
    pub now: DateTime<Utc>,
    /// When nothing is tried any more.
    pub expires_at: DateTime<Utc>,
    /// Now or never: the provider is told not to store it.
    pub once: bool,
    /// By when the answer must be here.
    pub deadline: Instant,
    /// Whether it is still to be made.
    pub validity: Validity<'a>,
}

/// Whether an attempt is still to be made: asked right before its request is written, which may be seconds after it began
/// to wait for a place on a connection.
#[derive(Clone, Copy)]
pub struct Validity<'a>(pub &'a (dyn Fn() -> bool + Sync));

impl fmt::Debug for Validity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Validity")
    }
}

impl Attempt<'_> {
    /// What the provider is told of it.
    pub fn expiry(&self) -> Expiry {
        Expiry { now: self.now, expires_at: self.expires_at, once: self.once }
    }
}

/// No provider takes less than this many bytes of a message.
pub const PAYLOAD_LIMIT_MIN: usize = 4096;

/// FCM's longest `ttl`, in seconds: four weeks (docs/providers.md#fcm-message).
const FCM_TTL_MAX: u64 = 28 * 86_400;

/// How long a provider may keep a message, as each of them wants to be told.
#[derive(Clone, Copy, Debug)]
pub struct Expiry {
    /// Postgres's time now.
    pub now: DateTime<Utc>,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
    /// Now or never.
    pub once: bool,
}

impl Expiry {
    /// `apns-expiration`: a moment in UNIX seconds, rounded up and never past; 0 for now or never.
    ///
    /// It hangs on `expires_at` alone where it can, so that all devices of a notification get the same.
    fn apns_expiration(self) -> u64 {
        if self.once {
            return 0;
        }
        let end = self.expires_at.timestamp() + i64::from(self.expires_at.timestamp_subsec_nanos() > 0);
        u64::try_from(end.max(self.now.timestamp() + 1)).unwrap_or_default()
    }

    /// FCM's `ttl` in seconds, rounded up; 0 for now or never. Never above what FCM takes, which refuses the message
    /// otherwise: a node's idea of Postgres's time is a little behind, so right after the commit more remains than was
    /// asked for.
    fn ttl_secs(self) -> u64 {
        if self.once { 0 } else { remaining_secs(self.expires_at - self.now).min(FCM_TTL_MAX) }
    }
}
