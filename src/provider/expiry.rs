//! The end of a message, from which each provider makes the form that its requests have.

use chrono::{DateTime, Utc};

/// How long a provider may keep a message.
#[derive(Clone, Copy, Debug)]
pub struct Expiry {
    /// Postgres's time at the attempt.
    pub now: DateTime<Utc>,
    /// When the notification expires.
    pub expires_at: DateTime<Utc>,
    /// The provider must deliver at once or drop the message.
    pub once: bool,
}
