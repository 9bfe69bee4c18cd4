//! A node without lanes: its acceptor and recorder run, and the test claims, sends and reports in the lanes' place.

use std::sync::Arc;
use std::time::Duration;

use pushpost::domain::{
    Class, DeliveryStatus, Finding, JobId, LaneId, NodeId, NotificationId, Priority, Reason,
};
use pushpost::queue::accept::{Acceptor, NewNotification};
use pushpost::queue::claim::Claimer;
use pushpost::queue::lane_intake::{LaneIntake, LaneIntakes, LeasedJob};
use pushpost::queue::leases::Leases;
use pushpost::queue::node_lease::NodeLease;
use pushpost::queue::notifier::Notifier;
use pushpost::queue::recorder::{DeviceTicket, Disposition, OutcomeRecorder};
use pushpost::store;
use pushpost::store::SessionPool;
use pushpost::store::nodes::NodeDescription;
use pushpost::telemetry::metrics::Metrics;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{TestQueue, queue_pool};
use crate::held_time::until;

/// As the service's default.
pub const TIMEOUT: Duration = Duration::from_secs(15);
/// Devices that each lane's intake takes.
pub const ROOM: usize = 1_000;

pub struct QueueNode {
    pub node_lease: Arc<NodeLease>,
    pub leases: Arc<Leases>,
    pub intakes: Arc<LaneIntakes>,
    pub recorder: OutcomeRecorder,
    pub acceptor: Acceptor,
    /// Kept open, so that the recorder can send.
    _verdicts: mpsc::Receiver<Vec<Finding>>,
    pool: SessionPool,
    /// Aborted when the node is dropped: that is a crash.
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl QueueNode {
    pub async fn enter(queue: &TestQueue) -> Self {
        Self::over(queue, queue_pool(queue.database.url().parse().unwrap())).await
    }

    /// A node with an acceptor and a recorder that use another pool.
    pub async fn over(queue: &TestQueue, pool: SessionPool) -> Self {
        let node_lease = NodeLease::register(&queue.pool, NodeDescription::of_this_program("test"), TIMEOUT)
            .await
            .unwrap();
        let node_lease = Arc::new(node_lease);
        let intake = |key| Arc::new(LaneIntake::new(queue.app.lane(key).id, ROOM));
        let intakes: Arc<LaneIntakes> =
            Arc::new(pushpost::provider::built_in_platforms().lanes().map(intake).collect());
        let leases = Arc::new(Leases::default());
        let notifier = Notifier::new(Arc::clone(&intakes), Arc::clone(&node_lease));
        let (verdicts_out, verdicts) = mpsc::channel(1_000);
        let metrics = Metrics::new();
        let (recorder, writer) = OutcomeRecorder::new(
            pool.clone(),
            Arc::clone(&leases),
            notifier.clone(),
            verdicts_out,
            Arc::clone(&metrics),
        );
        let (acceptor, committer) = Acceptor::new(
            pool.clone(),
            Arc::clone(&node_lease),
            Arc::clone(&intakes),
            Some(recorder.clone()),
            notifier,
            metrics,
        );
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        tasks.spawn(writer.run(stop.clone()));
        tasks.spawn(committer.run(stop.clone()));
        Self { node_lease, leases, intakes, recorder, acceptor, _verdicts: verdicts, pool, tasks, stop }
    }

    pub fn id(&self) -> NodeId {
        self.node_lease.id()
    }

    pub async fn accept(&self, new: NewNotification) -> NotificationId {
        self.acceptor.accept(new).await.unwrap().id
    }

    /// Its lanes take jobs without a claim.
    pub fn open_intakes(&self) {
        self.intakes.all().iter().for_each(|intake| intake.set_open(true));
    }

    /// Claims all due jobs of a lane; no ticket of them is taken yet.
    pub async fn claim(&self, lane: LaneId) -> Vec<LeasedJob> {
        let (mut claimer, lease) = (Claimer::new(self.pool.clone(), lane), self.id());
        let mut claimed = Vec::new();
        for class in Class::ALL {
            for priority in Priority::DESCENDING {
                loop {
                    let jobs = claimer.claim(*class, priority, 10_000, lease).await.unwrap();
                    if jobs.is_empty() {
                        break;
                    }
                    claimed.extend(jobs.into_iter().map(|job| LeasedJob::new(job, lease, None)));
                }
            }
        }
        claimed
    }

    /// Claims all that is due in a lane and takes it in hand: tickets in the order of jobs and devices.
    pub async fn take(&self, lane: LaneId) -> Vec<DeviceTicket> {
        let claimed = self.claim(lane).await;
        claimed.into_iter().flat_map(|held| self.recorder.open(held).1).collect()
    }

    /// Takes what was handed over in a lane in hand.
    pub fn take_handed(&self, lane: LaneId) -> Vec<DeviceTicket> {
        let intake = self.intakes.get(lane).unwrap();
        let handed = intake.take_handed();
        let tickets: Vec<DeviceTicket> =
            handed.into_iter().flat_map(|held| self.recorder.open(held).1).collect();
        intake.free(tickets.len());
        tickets
    }

    /// Releases what the table says it holds and it has not in hand, as its heartbeat does after two comparisons.
    pub async fn release_strangers(&self, queue: &TestQueue) {
        let mut conn = queue.pool.acquire().await.unwrap();
        let mut strange = store::jobs::leased_by(&mut conn, self.id()).await.unwrap();
        strange.retain(|(job, _)| !self.leases.has(*job));
        store::jobs::release(&mut conn, self.id(), &strange).await.unwrap();
    }

    /// Nothing of any intake's room is taken. The intakes are open and forget what they know to be waiting.
    pub fn has_all_room(&self) -> bool {
        self.open_intakes();
        self.intakes.all().iter().all(|intake| {
            Priority::DESCENDING.iter().for_each(|priority| {
                drop(intake.begin_claim(Class::Direct, *priority, false));
            });
            intake.reserve(Priority::Low, ROOM).is_some()
        })
    }

    /// Until nothing is in its hands: all is on record, or given back.
    pub async fn idle(&self) {
        until("the node lets go of all jobs", async || self.leases.is_empty()).await;
    }

    pub async fn lets_go(&self, job: JobId) {
        until("the node lets go of the job", async || !self.leases.has(job)).await;
    }

    /// Ends in the middle of whatever it is doing, and its connections with it.
    pub async fn crash(mut self) {
        self.tasks.shutdown().await;
        self.pool.close().await;
    }

    /// Ends as the service does: everything that was handed in is committed and on record.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        tokio::time::timeout(Duration::from_secs(60), ended).await.expect("it ends when all tickets have");
    }
}

pub fn accepted() -> Disposition {
    Disposition::Final { status: DeliveryStatus::Accepted, attempted: true, reason: None, provider_id: None }
}

pub fn rejected(word: &str) -> Disposition {
    Disposition::Final {
        status: DeliveryStatus::Rejected,
        attempted: true,
        reason: Some(Reason::new(word)),
        provider_id: None,
    }
}

/// Another attempt, due at once.
pub fn again(word: &str) -> Disposition {
    Disposition::Retry {
        lane: None,
        delay: Duration::ZERO,
        attempted: true,
        unanswered: false,
        reason: Some(Reason::new(word)),
    }
}

/// Ends a ticket now.
pub fn end(ticket: DeviceTicket, ending: Disposition) {
    ticket.end(ending, Instant::now(), None);
}

/// Ends them all alike.
pub fn end_all(tickets: impl IntoIterator<Item = DeviceTicket>, ending: &Disposition) {
    tickets.into_iter().for_each(|ticket| end(ticket, ending.clone()));
}
