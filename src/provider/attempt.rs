//! What a client is told of one attempt: the device, how long it counts, and whether it is still to be sent.

use std::fmt;

use chrono::{DateTime, Utc};
use tokio::time::Instant;
use uuid::Uuid;

use super::Expiry;
use crate::domain::DeviceToken;

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
