//! Stores accepted notifications. The API answers 202 only after the commit; many requests share one commit.
//!
//! There is no timer: a batch is what arrived during the commit before. If a job's lane has room on this node, the job
//! is inserted as leased to this node, and handed over to the lane after the commit. The other jobs wait in the table.

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

/// Most requests that wait for a commit. Further ones are refused with [`Error::Full`].
const WAITING_MAX: usize = 4_096;

/// A validated request with its audience resolved.
#[derive(Clone, Debug)]
pub struct NewNotification {
    /// The app that sends it.
    pub app: Arc<App>,
    /// What is sent, before it is rendered per provider.
    pub content: Arc<Content>,
    /// How long it may be tried.
    pub ttl: Ttl,
    /// The sender's label, kept and returned.
    pub label: Option<String>,
    /// The sender's metadata, kept and returned: a JSON object of strings.
    pub metadata: Option<Vec<u8>>,
    /// Users and device ids without a target: the `unmatched` member of the answer as JSON. None: everything was found.
    pub unmatched: Option<Vec<u8>>,
    /// The target devices that are known already, each at most once.
    pub targets: Vec<Target>,
    /// The devices already loaded, when there are few.
    pub loaded: Option<Arc<LoadedDevices>>,
    /// The part of the audience that is resolved later, page by page.
    pub fan_out: Option<FanOut>,
}

/// The content of a 202 answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AcceptedNotification {
    /// The new notification's id.
    pub id: NotificationId,
    /// When it was accepted (Postgres's clock).
    pub created_at: DateTime<Utc>,
}

/// Why a notification was not accepted. Nothing of it is stored, except perhaps with [`Self::OutcomeUnknown`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database is out of reach or refuses work. A repetition may succeed.
    #[error("the database is out of reach")]
    Unavailable,
    /// The answer to the commit was lost, and whether the notification is stored could not be found out in time.
    #[error("the outcome of the commit is unknown")]
    OutcomeUnknown,
    /// Too many requests wait for a commit.
    #[error("the queue is full")]
    Full,
    /// The node is shutting down.
    #[error("shutting down")]
    ShuttingDown,
    /// Postgres refuses a value of this notification, with this SQLSTATE. A repetition would fail too.
    #[error("not storable: {0}")]
    Poisoned(String),
}

/// The side of the committer that requests use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Acceptor {
    requests: mpsc::Sender<Request>,
}

/// The task that commits: see [`Acceptor::new`].
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
    /// An acceptor and its committer, which the caller must [run](Committer::run). Without a recorder nothing is handed
    /// over: this node sends nothing.
    pub fn new(
        pool: SessionPool,
        node_lease: Arc<NodeLease>,
        intakes: Arc<LaneIntakes>,
        recorder: Option<OutcomeRecorder>,
        notifier: Notifier,
    ) -> (Self, Committer) {
        let (sender, requests) = mpsc::channel(WAITING_MAX);
        (Self { requests: sender }, Committer { requests, pool, node_lease, intakes, recorder, notifier })
    }

    /// An acceptor without a committer. It answers as a node that is shutting down.
    pub fn closed() -> Self {
        Self { requests: mpsc::channel(1).0 }
    }

    /// Returns after the commit that made the notification durable.
    ///
    /// # Errors
    /// The notification is not stored, or its outcome is unknown: see [`Error`].
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
    /// Commits until told to stop. What was handed in until then is still committed.
    pub async fn run(self, stop: CancellationToken) {
        committer::run(self, stop).await;
    }
}
