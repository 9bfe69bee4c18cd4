//! Accepting notifications: durable before the answer, many requests to a commit.
//!
//! There is no timer: the next batch is what arrived during the previous commit. A job whose lane has room here is
//! inserted already leased to this node and handed over after the commit; the others wait in the table.

mod committer;
mod session;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::lane_intake::LaneIntakes;
use super::node_lease::NodeLease;
use super::notifier::Notifier;
use super::recorder::OutcomeRecorder;
use crate::domain::{App, Content, FanOut, NotificationId, Target, Ttl};
use crate::store::SessionPool;
use crate::store::tokens::LoadedDevices;

/// Most requests that wait for a commit; past it they are told to come again.
const MOST_WAITING: usize = 4_096;

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
    /// They as they were found, if they are few.
    pub loaded: Option<Arc<LoadedDevices>>,
    /// And for whom else, who are found later, page by page.
    pub fan_out: Option<FanOut>,
}

/// What a 202 says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AcceptedNotification {
    /// The notification.
    pub id: NotificationId,
    /// When (Postgres's clock).
    pub created_at: DateTime<Utc>,
}

/// Why a notification was not accepted. Nothing of it is stored, unless the outcome is unknown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database is out of reach or refuses work: try again.
    #[error("the database is out of reach")]
    Unavailable,
    /// The answer of the commit was lost, and it could not be found out whether the notification is stored.
    #[error("the outcome of the commit is unknown")]
    OutcomeUnknown,
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
pub struct Acceptor {
    requests: mpsc::Sender<Request>,
}

/// The part of an acceptor that runs: see [`Acceptor::new`].
#[derive(Debug)]
pub struct Committer {
    requests: mpsc::Receiver<Request>,
    pool: SessionPool,
    node_lease: Arc<NodeLease>,
    intakes: Arc<LaneIntakes>,
    recorder: Option<OutcomeRecorder>,
    notifier: Notifier,
}

#[derive(Debug)]
struct Request {
    new: NewNotification,
    reply: oneshot::Sender<Result<AcceptedNotification, Error>>,
}

impl Acceptor {
    /// An acceptor and the committer that somebody must [run](Committer::run). Without a recorder nothing is handed
    /// over: this node sends nothing.
    pub fn new(
        pool: SessionPool,
        node_lease: Arc<NodeLease>,
        intakes: Arc<LaneIntakes>,
        recorder: Option<OutcomeRecorder>,
        notifier: Notifier,
    ) -> (Self, Committer) {
        let (sender, requests) = mpsc::channel(MOST_WAITING);
        (Self { requests: sender }, Committer { requests, pool, node_lease, intakes, recorder, notifier })
    }

    /// One that nobody commits for: it answers as a node does that is shutting down.
    pub fn closed() -> Self {
        Self { requests: mpsc::channel(1).0 }
    }

    /// Returns after the commit that made it durable.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn accept(&self, new: NewNotification) -> Result<AcceptedNotification, Error> {
        let (reply, answer) = oneshot::channel();
        self.requests.try_send(Request { new, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::Full,
            mpsc::error::TrySendError::Closed(_) => Error::ShuttingDown,
        })?;
        answer.await.unwrap_or(Err(Error::ShuttingDown))
    }
}

impl Committer {
    /// Commits until told to stop; what was handed in until then is still committed.
    pub async fn run(self, stop: CancellationToken) {
        committer::run(self, stop).await;
    }
}
