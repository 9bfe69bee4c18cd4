//! The push providers, and the transport they share.
//!
//! [`Sender`] is what a lane holds: it prepares a notification once and sends it to one device at a time. A new
//! provider is a new module beside [`apns`] and [`fcm`] and a new variant here.

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
pub mod proxy;
mod retry_after;
mod setup;

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use http::uri::Authority;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use uuid::Uuid;

use crate::domain::{
    Content, DeviceToken, NotificationId, Outcome, Platform, PushpostReason, Reason, remaining_secs,
};

pub use classification::{Classification, ConnectionFate};
pub use proxy::PROXY_PORT;
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
    pub apns_id: Uuid,
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

const HTTPS: u16 = 443;

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

/// A lane's way to its provider. Shared by all of the lane's attempts.
#[expect(clippy::large_enum_variant, reason = "there is one per lane, behind an Arc")]
pub enum Sender {
    /// APNs in one environment.
    Apns(apns::ApnsClient),
    /// FCM.
    Fcm(fcm::FcmClient),
}

/// A notification, ready to go to any device of one lane. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Prepared {
    /// For APNs.
    Apns(Arc<apns::ApnsMessage>),
    /// For FCM.
    Fcm(Arc<fcm::FcmMessage>),
}

impl Prepared {
    /// Did a header of the request's own take part in the topic or the key that it is sent with? Then its answer says
    /// nothing about the lane's (docs/queue.md#topic-override).
    pub fn is_overridden(&self) -> bool {
        match self {
            Self::Apns(prepared) => prepared.topic() != apns::TopicOrigin::Configured,
            Self::Fcm(prepared) => prepared.traits().overridden,
        }
    }
}

/// Is there anything to send to a device of this platform? An override may bring content for another platform alone.
pub fn has_something_to_send(platform: Platform, content: &Content) -> bool {
    match platform {
        Platform::Apns => apns::has_something_to_send(content),
        Platform::Fcm => fcm::has_something_to_send(content),
    }
}

impl Sender {
    /// Renders what all attempts at `content` in this lane share.
    pub fn prepare(&self, id: NotificationId, content: &Content) -> Prepared {
        match self {
            Self::Apns(client) => Prepared::Apns(Arc::new(client.prepare(id, content))),
            Self::Fcm(client) => Prepared::Fcm(Arc::new(client.prepare(id, content))),
        }
    }

    /// One attempt at one device, over by its deadline. Dropping the future resets the request.
    pub async fn send(&self, prepared: &Prepared, attempt: &Attempt<'_>) -> Outcome {
        match (self, prepared) {
            (Self::Apns(client), Prepared::Apns(prepared)) => client.send(prepared, attempt).await,
            (Self::Fcm(client), Prepared::Fcm(prepared)) => client.send(prepared, attempt).await,
            // Only a fault of ours could bring another provider's message here; the device is not to blame for it.
            _ => Outcome::Rejected { reason: Reason::from(PushpostReason::Internal) },
        }
    }

    /// Goes as far as it gets without a device: to an open connection and, for FCM, an access token.
    ///
    /// # Errors
    /// The outcome that an attempt would have had: [`Outcome::RetryLane`] or [`Outcome::Misconfigured`].
    pub async fn reach(&self, deadline: Instant) -> Result<(), Outcome> {
        match self {
            Self::Apns(client) => client.reach(deadline).await,
            Self::Fcm(client) => client.reach(deadline).await,
        }
    }

    /// Names the credential in use, and where it is used.
    pub fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::Apns(client) => client.fingerprint(),
            Self::Fcm(client) => client.fingerprint(),
        }
    }

    /// Does `other` send just as this one does? A subject token may be this node's own, so it is no part of the
    /// fingerprint, by which nodes agree about a lane.
    pub fn is_same(&self, other: &Self) -> bool {
        let subject_token = |sender: &Self| match sender {
            Self::Apns(_) => None,
            Self::Fcm(client) => client.subject_token(),
        };
        self.fingerprint() == other.fingerprint() && subject_token(self) == subject_token(other)
    }

    /// Do both reach the same place? Then what one answers, the other would.
    pub fn shares_place_with(&self, other: &Self) -> bool {
        let place = |sender: &Self| {
            let authority = sender.authority()?;
            Some((authority.host().to_ascii_lowercase(), authority.port_u16().unwrap_or(HTTPS)))
        };
        place(self) == place(other)
    }

    fn authority(&self) -> Option<&Authority> {
        match self {
            Self::Apns(client) => Some(client.authority()),
            Self::Fcm(client) => client.authority(),
        }
    }

    /// Connections and streams now.
    pub fn stats(&self) -> PoolStats {
        match self {
            Self::Apns(client) => client.stats(),
            Self::Fcm(client) => client.stats(),
        }
    }

    /// Lets what is on its way end (a request time-out at most), then closes the connections.
    pub async fn shutdown(&self) {
        match self {
            Self::Apns(client) => client.shutdown().await,
            Self::Fcm(client) => client.shutdown().await,
        }
    }
}
