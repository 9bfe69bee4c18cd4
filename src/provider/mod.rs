//! The push providers, and the transport they share.
//!
//! [`Sender`] is what a lane holds: it prepares a notification once and sends it to one device at a time. A new
//! provider is a new module beside [`apns`] and [`fcm`] and a new variant here.

pub mod apns;
pub mod fcm;
pub mod transport;

use std::fmt;

use chrono::{DateTime, Utc};
use tokio::time::Instant;
use uuid::Uuid;

use crate::domain::DeviceToken;

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
