//! What a client is told of one attempt: the device, how long it counts, and whether it is still to be sent.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use http::StatusCode;
use http::uri::Authority;
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
    /// Where the client notes the request and the status of its answer. None: the attempt is not traced.
    pub exchange: Option<&'a ExchangeNote>,
}

impl<'a> Attempt<'a> {
    /// An attempt that belongs to no notification: its answer says whether the provider takes the credential.
    pub fn of_credential(token: &'a DeviceToken, now: DateTime<Utc>, deadline: Instant) -> Self {
        Self {
            token,
            message_id: Uuid::nil(),
            now,
            expires_at: now + TimeDelta::minutes(1),
            once: true,
            deadline,
            validity: Validity(&|| true),
            exchange: None,
        }
    }
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

/// What a client noted of the request of one attempt, for its span.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Exchange {
    /// The provider's host and port. None: no request was written.
    pub authority: Option<Authority>,
    /// The URL, without the token.
    pub url: Option<String>,
    /// The status of the last answer. None: there was none.
    pub status: Option<u16>,
    /// How often a request was written.
    pub sends: usize,
}

/// Takes notes of one attempt.
#[derive(Default, Debug)]
pub struct ExchangeNote(Mutex<Exchange>);

impl ExchangeNote {
    /// What was noted since the last call.
    pub fn take(&self) -> Exchange {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Attempt<'_> {
    /// Notes that a request is written. `path` is the path of its URL without the token, which no span may contain:
    /// `REDACTED` stands in its place.
    pub fn note_request(&self, authority: &Authority, path: &str) {
        if let Some(ExchangeNote(noted)) = self.exchange {
            let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
            noted.sends += 1;
            noted.url = Some(format!("https://{authority}{path}"));
            noted.authority = Some(authority.clone());
        }
    }

    /// Notes the status of an answer.
    pub fn note_status(&self, status: StatusCode) {
        if let Some(ExchangeNote(noted)) = self.exchange {
            noted.lock().unwrap_or_else(PoisonError::into_inner).status = Some(status.as_u16());
        }
    }

    /// How long the provider may keep the message.
    pub fn expiry(&self) -> Expiry {
        Expiry { now: self.now, expires_at: self.expires_at, once: self.once }
    }
}
