//! The push providers, and the transport they share.
//!
//! [`Sender`] is what a lane holds: it prepares a notification once and sends it to one device at a time. A new
//! provider is a new module beside [`apns`] and [`fcm`] and a new variant here.

pub mod apns;
pub mod fcm;
pub mod transport;

mod apple;
mod merge;
mod retry_after;
mod verdict;

use std::fmt;

use chrono::{DateTime, Utc};
use tokio::time::Instant;
use uuid::Uuid;

use crate::domain::{DeviceToken, remaining_secs};

pub use verdict::{Fate, Verdict};

/// SHA-256 over what makes a credential: names the rejected one, so that a node with a new one goes on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({:02x}{:02x}{:02x}{:02x})", self.0[0], self.0[1], self.0[2], self.0[3])
    }
}

/// One attempt at one device.
#[derive(Clone, Debug)]
pub struct Attempt<'a> {
    /// Where to.
    pub token: &'a DeviceToken,
    /// The same for every attempt at this device for this notification.
    pub apns_id: Uuid,
    /// Postgres's time now: what remains of the life is counted from it.
    pub now: DateTime<Utc>,
    /// When nothing is tried any more.
    pub expires_at: DateTime<Utc>,
    /// Now or never: the provider is told not to store it.
    pub once: bool,
    /// By when the answer must be here.
    pub deadline: Instant,
}

impl Attempt<'_> {
    /// What the provider is told of it.
    pub fn life(&self) -> Life {
        Life { now: self.now, expires_at: self.expires_at, once: self.once }
    }
}

/// How long a provider may keep a message, as each of them wants to be told.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// Postgres's time now.
    pub now: DateTime<Utc>,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
    /// Now or never.
    pub once: bool,
}

impl Life {
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

    /// FCM's `ttl` in seconds, rounded up; 0 for now or never.
    fn ttl_secs(self) -> u64 {
        if self.once { 0 } else { remaining_secs(self.expires_at - self.now) }
    }
}
// The seam that the lanes use until the clients land.
#[derive(Debug, Clone)]
/// x
pub struct Prepared;
#[derive(Debug)]
/// x
pub enum Sender {
    /// x
    Apns,
}
impl Sender {
    /// x
    pub fn prepare(&self, _id: crate::domain::NotificationId, _c: &crate::domain::Content) -> Prepared {
        Prepared
    }
    /// x
    pub async fn send(&self, _p: &Prepared, _a: &Attempt<'_>) -> crate::domain::Outcome {
        std::future::pending::<()>().await;
        crate::domain::Outcome::Unknown
    }
    /// x
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint([0; 32])
    }
    /// x
    pub async fn shutdown(&self) {
        std::future::pending::<()>().await
    }
}
