//! Stores accepted notifications. The API answers 202 only after the commit; many requests share one commit.
//!
//! There is no timer: a batch is what arrived during the commit before. If a job's lane has room on this node, the job
//! is inserted as leased to this node, and handed over to the lane after the commit. The other jobs wait in the table.
//!
//! Notifications with an idempotency key have batches and a connection of their own, because they may wait for another
//! node's transaction (docs/queue.md#idempotency-keys).

mod committer;
mod former_keys;
mod in_flight;
mod keyed;
mod session;
mod traced;
mod withdrawal;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::lane_intake::LaneIntakes;
use super::node_lease::NodeLease;
use super::notifier::Notifier;
use super::recorder::OutcomeRecorder;
use crate::domain::{
    App, Content, FanOut, Idempotency, NotificationId, RejectedToken, ScheduledAudience, SendTime, SpanId,
    Target, TraceContext, TraceId, Ttl,
};
use crate::store::idempotency::StoredAcceptance;
use crate::store::tokens::LoadedDevices;
use crate::store::{DatabaseTime, Purpose, SessionPool};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::trace::Tracer;
pub use former_keys::FormerKeys;
use in_flight::InFlightKeys;
use withdrawal::Withdrawal;

/// Most requests that wait for a commit; a batch of notifications counts as one. Further ones are refused with
/// [`Error::Full`].
const WAITING_MAX: usize = 4_096;
/// Longest wait of a request while another one of this node with the same idempotency key is under way. Another node's
/// is waited for as long ([`Purpose::AcceptKeyed`]).
const TWIN_TIMEOUT: Duration = Duration::from_secs(5);

/// What makes a new notification repeatable.
#[derive(Clone, Debug)]
pub struct KeyedRequest {
    /// The sender's key and the request that it was sent with.
    pub idempotency: Idempotency,
    /// What the request and its repeats are answered.
    pub acceptance: StoredAcceptance,
}

/// A validated request with its audience resolved, unless it is sent later.
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
    /// Tokens without a device, which are targets that are rejected.
    pub rejected_tokens: Vec<RejectedToken>,
    /// The devices already loaded, when there are few.
    pub loaded: Option<Arc<LoadedDevices>>,
    /// When it is to be sent.
    pub send_at: SendTime,
    /// The part of the audience that is resolved after the answer, page by page.
    pub fan_out: Option<FanOut>,
    /// The audience of a notification that is sent later. It is resolved when the notification is due.
    pub scheduled: Option<ScheduledAudience>,
    /// The trace that it is recorded in. None: it is not traced.
    pub trace: Option<SendTrace>,
    /// The idempotency key, with what it needs. Each notification of a batch may have one of its own.
    pub keyed: Option<KeyedRequest>,
}

impl NewNotification {
    /// A notification for no device, to be completed. Its label is that of the content.
    pub fn without_targets(app: &Arc<App>, content: Content, send_at: SendTime, ttl: Ttl) -> Self {
        Self {
            app: Arc::clone(app),
            label: content.label.clone(),
            content: Arc::new(content),
            send_at,
            ttl,
            metadata: None,
            unmatched: None,
            targets: Vec::new(),
            rejected_tokens: Vec::new(),
            loaded: None,
            fan_out: None,
            scheduled: None,
            trace: None,
            keyed: None,
        }
    }

    /// The number of targets that are known already.
    pub(super) fn known_target_count(&self) -> usize {
        self.targets.len() + self.rejected_tokens.len()
    }

    /// The number of targets. None: not all are found yet.
    pub(super) fn target_count(&self) -> Option<usize> {
        (self.fan_out.is_none() && self.scheduled.is_none()).then_some(self.known_target_count())
    }
}

/// The trace of a notification.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SendTrace {
    /// The span of the request.
    request: TraceContext,
}

impl SendTrace {
    /// The trace's id.
    pub(super) fn trace_id(&self) -> TraceId {
        self.request.trace_id()
    }

    /// The notification's own span, which its jobs belong to.
    pub(super) fn context(&self, notification: NotificationId) -> TraceContext {
        self.request.of_notification(notification)
    }

    /// The span of the request.
    pub(super) fn request(&self) -> SpanId {
        self.request.span_id()
    }

    /// The trace of a notification that a request with this span sends.
    pub fn of_request(request: TraceContext) -> Self {
        Self { request }
    }
}

/// The content of a 202 answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AcceptedNotification {
    /// The new notification's id.
    pub id: NotificationId,
    /// The first answer, if an earlier request with the same key was accepted: nothing new is stored.
    pub replayed: Option<StoredAcceptance>,
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
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// A request with the same idempotency key is under way, and had no answer in time.
    #[error("a request with the same idempotency key is under way")]
    KeyInUse,
}

/// The side of the committer that requests use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Acceptor {
    requests: mpsc::Sender<Vec<Request>>,
    keyed: mpsc::Sender<Vec<Request>>,
    in_flight: InFlightKeys,
}

/// The task that commits: see [`Acceptor::new`].
#[derive(Debug)]
pub struct Committer {
    requests: mpsc::Receiver<Vec<Request>>,
    keyed: mpsc::Receiver<Vec<Request>>,
    parts: CommitterParts,
}

/// What both loops of the committer use.
#[derive(Debug)]
struct CommitterParts {
    pool: SessionPool,
    /// The connection for notifications with a key.
    keyed_pool: SessionPool,
    former_keys: Arc<FormerKeys>,
    node_lease: Arc<NodeLease>,
    intakes: Arc<LaneIntakes>,
    recorder: Option<OutcomeRecorder>,
    notifier: Notifier,
    metrics: Arc<Metrics>,
    tracer: Tracer,
}

#[derive(Debug)]
struct Request {
    new: NewNotification,
    reply: oneshot::Sender<Result<AcceptedNotification, Error>>,
    withdrawal: Withdrawal,
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
        metrics: Arc<Metrics>,
    ) -> (Self, Committer) {
        let (sender, requests) = mpsc::channel(WAITING_MAX);
        let (keyed_sender, keyed) = mpsc::channel(WAITING_MAX);
        let keyed_pool = pool.sibling(Purpose::AcceptKeyed, 1);
        let parts = CommitterParts {
            pool,
            keyed_pool,
            former_keys: Arc::default(),
            node_lease,
            intakes,
            recorder,
            notifier,
            metrics,
            tracer: Tracer::default(),
        };
        let acceptor = Self { requests: sender, keyed: keyed_sender, in_flight: InFlightKeys::default() };
        (acceptor, Committer { requests, keyed, parts })
    }

    /// An acceptor without a committer. It answers as a node that is shutting down.
    pub fn closed() -> Self {
        let (requests, keyed) = (mpsc::channel(1).0, mpsc::channel(1).0);
        Self { requests, keyed, in_flight: InFlightKeys::default() }
    }

    /// Returns after the commit that made the notification durable. A notification with a key that an earlier one had is
    /// not stored again.
    ///
    /// # Errors
    /// The notification is not stored, or its outcome is unknown: see [`Error`].
    pub async fn accept(&self, new: NewNotification) -> Result<AcceptedNotification, Error> {
        self.accept_all(vec![new]).await.pop().unwrap_or(Err(Error::ShuttingDown))
    }

    /// As [`Self::accept`] for several notifications, each with a result of its own, in the order given. Those without
    /// keys share a commit, if it has room for them, and so do those with keys.
    pub async fn accept_all(&self, all: Vec<NewNotification>) -> Vec<Result<AcceptedNotification, Error>> {
        let twins_until = Instant::now() + TWIN_TIMEOUT;
        let (mut requests, mut keyed, mut pending) = (Vec::new(), Vec::new(), Vec::with_capacity(all.len()));
        for new in all {
            let (reply, answer) = oneshot::channel();
            let key = new.keyed.as_ref().map(|keyed| keyed.idempotency.key);
            let entry = key.map(|key| self.in_flight.enter(new.app.id, key));
            let group = if entry.is_some() { &mut keyed } else { &mut requests };
            let withdrawal = Withdrawal::default();
            group.push(Request { new, reply, withdrawal: withdrawal.clone() });
            pending.push((answer, entry, withdrawal));
        }
        submit(&self.requests, requests);
        submit(&self.keyed, keyed);
        let mut results = Vec::with_capacity(pending.len());
        let submitted_at = Instant::now();
        for (mut answer, entry, withdrawal) in pending {
            let is_twin = matches!(entry, Some(None));
            let answered = match is_twin.then(|| timeout_at(twins_until, &mut answer)) {
                None => Ok(answer.await),
                Some(in_time) => match in_time.await {
                    Ok(answer) => Ok(answer),
                    Err(_) if withdrawal.withdraw() => Err(Error::KeyInUse),
                    // The committer stores it already, and finds out whether its key was in use.
                    Err(_) => Ok(answer.await),
                },
            };
            results.push(answered.and_then(|answer| answer.unwrap_or(Err(Error::ShuttingDown))));
        }
        // Another task commits.
        DatabaseTime::add(submitted_at.elapsed());
        results
    }
}

/// Hands requests to the committer, which takes all of them at once. Those that it can't take are answered.
fn submit(committer: &mpsc::Sender<Vec<Request>>, requests: Vec<Request>) {
    if requests.is_empty() {
        return;
    }
    let (refused, error): (_, fn() -> Error) = match committer.try_send(requests) {
        Ok(()) => return,
        Err(mpsc::error::TrySendError::Full(refused)) => (refused, || Error::Full),
        Err(mpsc::error::TrySendError::Closed(refused)) => (refused, || Error::ShuttingDown),
    };
    for request in refused {
        // The caller waits for it.
        let _answered = request.reply.send(Err(error()));
    }
}

impl Committer {
    /// With a tracer, which takes the spans of stored notifications.
    pub fn with_tracer(mut self, tracer: Tracer) -> Self {
        self.parts.tracer = tracer;
        self
    }

    /// What it knows of the keys of the day before, which the caller should [run](FormerKeys::run).
    pub fn former_keys(&self) -> Arc<FormerKeys> {
        Arc::clone(&self.parts.former_keys)
    }

    /// Commits until told to stop. What was handed in until then is still committed.
    pub async fn run(self, stop: CancellationToken) {
        let Self { requests, keyed, parts } = self;
        tokio::join!(
            committer::run(&parts, requests, committer::commit, &stop),
            committer::run(&parts, keyed, keyed::commit, &stop),
        );
    }
}
