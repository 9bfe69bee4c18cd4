//! What a client is told of one attempt: the device, how long it counts, and whether it is still to be sent.

use std::fmt;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};
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
    /// Where the client notes the request and the status of its answer. None: the attempt belongs to no notification.
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

/// What a client noted of the requests of one attempt.
#[derive(Default, Debug)]
pub struct ExchangeNote {
    /// Number of the connection that the last request was written to; 0: no request was written.
    connection: AtomicU64,
    /// Status of the answer to the last request; 0: it has no answer.
    status: AtomicU16,
    sends: AtomicU32,
    /// What only the span of a traced attempt needs.
    traced: Option<Mutex<Option<RequestUrl>>>,
}

/// Where a request was sent to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestUrl {
    /// The provider's host and port.
    pub authority: Authority,
    /// The URL, without the token.
    pub url: String,
}

impl ExchangeNote {
    /// A note that also keeps the URL, for the span of the attempt.
    pub fn of_traced() -> Self {
        Self { traced: Some(Mutex::default()), ..Self::default() }
    }

    /// Whether the note is for the span of the attempt, too.
    pub fn is_traced(&self) -> bool {
        self.traced.is_some()
    }

    /// The number of the connection that the last request was written to, within this process. None: no request was written.
    pub fn connection(&self) -> Option<u64> {
        Some(self.connection.load(Ordering::Relaxed)).filter(|number| *number != 0)
    }

    /// The status of the answer to the last request. None: it has no answer.
    pub fn status(&self) -> Option<u16> {
        Some(self.status.load(Ordering::Relaxed)).filter(|status| *status != 0)
    }

    /// How often a request was written.
    pub fn sends(&self) -> u32 {
        self.sends.load(Ordering::Relaxed)
    }

    /// Where the last request was sent to. None: no request was written, or the attempt is not traced.
    pub fn url(&self) -> Option<RequestUrl> {
        self.traced.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Attempt<'_> {
    /// Notes that a request is written to a connection. `path` is the path of its URL without the token, which no span may
    /// contain: `REDACTED` stands in its place.
    pub fn note_request(&self, connection: u64, authority: &Authority, path: &str) {
        let Some(note) = self.exchange else { return };
        note.connection.store(connection, Ordering::Relaxed);
        note.status.store(0, Ordering::Relaxed);
        note.sends.fetch_add(1, Ordering::Relaxed);
        if let Some(traced) = &note.traced {
            let url = RequestUrl { authority: authority.clone(), url: format!("https://{authority}{path}") };
            *traced.lock().unwrap_or_else(PoisonError::into_inner) = Some(url);
        }
    }

    /// Notes the status of an answer.
    pub fn note_status(&self, status: StatusCode) {
        if let Some(note) = self.exchange {
            note.status.store(status.as_u16(), Ordering::Relaxed);
        }
    }

    /// How long the provider may keep the message.
    pub fn expiry(&self) -> Expiry {
        Expiry { now: self.now, expires_at: self.expires_at, once: self.once }
    }
}
