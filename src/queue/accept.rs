//! Accepting notifications: durable before the answer, many requests to a commit.

use crate::domain::{App, Content, NotificationId, Target, Ttl};
use chrono::{DateTime, Utc};
use std::sync::Arc;

/// A validated request with its audience resolved.
#[derive(Clone, Debug)]
pub struct NewNotification {
    /// Whose.
    pub app: Arc<App>,
    /// What.
    pub content: Arc<Content>,
    /// How long.
    pub ttl: Ttl,
    /// Kept and returned.
    pub label: Option<String>,
    /// Kept and returned: JSON object of strings.
    pub metadata: Option<Vec<u8>>,
    /// Kept and returned: the `unmatched` member as JSON; none if nobody was.
    pub unmatched: Option<Vec<u8>>,
    /// For whom; a device at most once.
    pub targets: Vec<Target>,
}

/// What a 202 says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// The notification.
    pub id: NotificationId,
    /// When (Postgres's clock).
    pub created_at: DateTime<Utc>,
}

/// Why a notification was not accepted. Nothing of it is stored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database is out of reach or refuses work: try again.
    #[error("the database is out of reach")]
    Unavailable,
    /// Too much is waiting already.
    #[error("the queue is full")]
    Full,
    /// This node is shutting down.
    #[error("shutting down")]
    ShuttingDown,
    /// This one can't be stored, whatever it is that Postgres dislikes about it.
    #[error("not storable: {0}")]
    Poisoned(String),
}

/// Where requests hand in what they want accepted. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Acceptor {}

impl Acceptor {
    /// Returns after the commit that made it durable.
    ///
    /// # Errors
    /// See [`Error`]; after an error nothing is stored.
    pub async fn accept(&self, _new: NewNotification) -> Result<Accepted, Error> {
        Err(Error::Unavailable)
    }
}
