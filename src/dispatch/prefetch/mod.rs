//! Gets a lane's jobs and loads their devices ahead of sending, so that connections to the provider never wait for Postgres.
//!
//! Jobs are handed over by requests on this node, or claimed from the table as far as the queue has room. While the lane
//! has stopped, nothing is loaded ahead; when a probe is due, the prefetcher makes it ([`probe`]).

pub(super) mod judge;
pub(super) mod load;
mod probe;
pub(super) mod queue;
mod revalidate;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::judge::DeviceJudge;
use self::load::{JobLoader, OpenedJob};
use self::probe::ReachCheck;
use self::queue::ReadyQueue;
use self::revalidate::Revalidator;
use super::credentials::LaneCredentials;
use super::environment_probe::EnvironmentProbes;
use super::health::{Admission, LaneGate};
use super::isolated_attempt::IsolatedAttempts;
use super::limits::concurrency::ConcurrencyLimit;
use crate::domain::{Class, Job, Priority, Suspicion};
use crate::queue::claim::Claimer;
use crate::queue::lane_intake::{LaneIntake, LeasedJob};
use crate::queue::node_lease::NodeLease;
use crate::queue::recorder::OutcomeRecorder;
use crate::store;
use crate::store::SessionPool;
use crate::telemetry::metrics::Histogram;

/// Pause after a failed statement, or while records are behind or the node's heartbeat is late.
const BLOCKED_PAUSE: Duration = Duration::from_millis(100);
/// Most devices that are loaded in one statement.
const LOAD_MAX: usize = 2_000;

/// When to look for jobs again.
enum Next {
    /// When something changes.
    Change,
    /// When something changes, but not later than this.
    ChangeOr(Instant),
    /// After a pause, whatever happens: nothing can be taken now.
    Pause,
}

impl Next {
    fn not_later_than(self, at: Option<Instant>) -> Self {
        match (self, at) {
            (Self::Change, Some(at)) => Self::ChangeOr(at),
            (Self::ChangeOr(other), Some(at)) => Self::ChangeOr(other.min(at)),
            (next, _) => next,
        }
    }
}

/// Fills the queue of one lane.
#[derive(Debug)]
pub(super) struct Prefetcher {
    gate: Arc<LaneGate>,
    intake: Arc<LaneIntake>,
    queue: Arc<ReadyQueue>,
    limit: Arc<ConcurrencyLimit>,
    node_lease: Arc<NodeLease>,
    recorder: OutcomeRecorder,
    isolated: IsolatedAttempts,
    claimer: Claimer,
    loader: JobLoader,
    revalidator: Revalidator,
    credentials: Arc<LaneCredentials>,
    /// Under way while the lane has stopped and nothing waits for its probe.
    check: Option<ReachCheck>,
}

/// What a prefetcher shares with the other parts of its lane.
#[derive(Debug)]
pub(super) struct PrefetchParts {
    pub(super) gate: Arc<LaneGate>,
    pub(super) intake: Arc<LaneIntake>,
    pub(super) queue: Arc<ReadyQueue>,
    pub(super) limit: Arc<ConcurrencyLimit>,
    pub(super) node_lease: Arc<NodeLease>,
    pub(super) recorder: OutcomeRecorder,
    pub(super) isolated: IsolatedAttempts,
    pub(super) environments: Arc<EnvironmentProbes>,
    pub(super) judge: Arc<DeviceJudge>,
    pub(super) credentials: Arc<LaneCredentials>,
    pub(super) claim_seconds: Histogram,
}

impl Prefetcher {
    pub(super) fn new(pool: SessionPool, parts: PrefetchParts) -> Self {
        let PrefetchParts {
            gate,
            intake,
            queue,
            limit,
            node_lease,
            recorder,
            isolated,
            environments,
            judge,
            credentials,
            claim_seconds,
        } = parts;
        Self {
            claimer: Claimer::new(pool.clone(), intake.lane()).measured_by(claim_seconds),
            loader: JobLoader::new(pool.clone(), Arc::clone(&intake), Arc::clone(&judge)),
            revalidator: Revalidator {
                pool,
                queue: Arc::clone(&queue),
                node_lease: Arc::clone(&node_lease),
                judge,
                environments,
            },
            gate,
            intake,
            queue,
            limit,
            node_lease,
            recorder,
            isolated,
            credentials,
            check: None,
        }
    }

    /// Runs until told to stop.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            let next = self.round(&stop).await.not_later_than(self.revalidator.due_at());
            let wait = async {
                match next {
                    Next::Change => self.intake.changed().await,
                    Next::ChangeOr(at) => tokio::select! {
                        () = self.intake.changed() => {}
                        () = tokio::time::sleep_until(at) => {}
                    },
                    Next::Pause => tokio::time::sleep(BLOCKED_PAUSE).await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = wait => {}
                event = probe::ended(&mut self.check) => {
                    self.gate.on(event);
                }
            }
        }
        self.give_back(self.intake.end());
    }

    async fn round(&mut self, stop: &CancellationToken) -> Next {
        let (admission, generation) = self.gate.admission();
        self.check.take_if(|check| !check.is_of(generation));
        match admission {
            Admission::Wait(until) => {
                self.give_back_handed();
                self.queue.clear();
                self.claimer.restart();
                return until.map_or(Next::Change, Next::ChangeOr);
            }
            Admission::Probe => {
                self.give_back_handed();
                self.queue.clear();
                return self.probe(generation).await.unwrap_or_else(|error| self.blocked(&error));
            }
            Admission::Send => {}
        }
        self.fill(stop).await.unwrap_or_else(|error| self.blocked(&error))
    }

    /// Takes the jobs that there are, as far as the queue has room.
    async fn fill(&mut self, stop: &CancellationToken) -> Result<Next, store::Error> {
        self.revalidator.revalidate().await?;
        self.take_handed().await?;
        loop {
            if stop.is_cancelled() {
                return Ok(Next::Change);
            }
            if !self.may_claim() {
                return Ok(Next::Pause);
            }
            if !self.claim_next().await? {
                return Ok(Next::Change);
            }
            self.take_handed().await?;
            if self.gate.admission().0 != Admission::Send {
                return Ok(Next::ChangeOr(Instant::now()));
            }
        }
    }

    fn blocked(&mut self, error: &store::Error) -> Next {
        tracing::debug!(lane = self.gate.name(), %error, "no jobs taken");
        self.claimer.restart();
        self.intake.mark_all_waiting();
        Next::Pause
    }

    fn may_claim(&self) -> bool {
        self.recorder.has_room() && self.node_lease.may_start(self.node_lease.id())
    }

    /// Claims from the first range that is known to wait and has room. False: there is none.
    async fn claim_next(&mut self) -> Result<bool, store::Error> {
        if self.intake.take_released() {
            self.claimer.restart();
        }
        for (priority, class) in ranges() {
            let room = self.queue.room(class, priority).min(LOAD_MAX);
            if room == 0 {
                continue;
            }
            let more = self.claimer.may_have_left(class, priority);
            let Some(claiming) = self.intake.begin_claim(class, priority, more) else { continue };
            let node = self.node_lease.id();
            let jobs = self.claimer.claim(class, priority, room, node).await?;
            if jobs.is_empty() {
                continue;
            }
            // There may be more: the next claim finds out.
            self.intake.mark_waiting(class, priority);
            drop(claiming);
            let mut leased: Vec<LeasedJob> =
                jobs.into_iter().map(|job| LeasedJob::new(job, node, None)).collect();
            // A claim with a suspected job has no other job, so only the last one can be suspected.
            match leased.pop() {
                Some(suspect) if suspect.job.suspicion() != Suspicion::None => self.isolate(suspect).await?,
                last => {
                    leased.extend(last);
                    self.open_and_load(leased, false).await?;
                }
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Tries one device of the job, and gives back the others.
    async fn isolate(&mut self, mut leased: LeasedJob) -> Result<(), store::Error> {
        self.begin_trace(&mut leased);
        let Some((leased, tickets)) = self.isolated.open(leased) else { return Ok(()) };
        let devices = self.loader.load(vec![OpenedJob::new(leased, tickets, false)]).await?;
        self.isolated.attempt_one(devices).await;
        Ok(())
    }

    async fn take_handed(&mut self) -> Result<(), store::Error> {
        let handed = self.intake.take_handed();
        if handed.is_empty() { Ok(()) } else { self.open_and_load(handed, true).await }
    }

    async fn open_and_load(&mut self, leased: Vec<LeasedJob>, handed: bool) -> Result<(), store::Error> {
        if leased.iter().any(|leased| is_urgent(&leased.job)) && self.queue.has_class(Class::Bulk) {
            self.limit.note_urgent();
        }
        let open = |mut leased: LeasedJob| {
            self.begin_trace(&mut leased);
            let (leased, tickets) = self.recorder.open(leased);
            OpenedJob::new(leased, tickets, handed)
        };
        let opened: Vec<OpenedJob> = leased.into_iter().map(open).collect();
        let devices: usize = opened.iter().map(|opened| opened.tickets.len()).sum();
        match self.loader.load(opened).await {
            Ok(ready) => {
                self.queue.push(ready);
                Ok(())
            }
            Err(error) => {
                if handed {
                    self.intake.free(devices);
                }
                Err(error)
            }
        }
    }

    fn begin_trace(&self, leased: &mut LeasedJob) {
        leased.begin_trace(self.gate.name(), |job| {
            let waited = self.node_lease.clock().now() - job.due_at;
            waited.to_std().unwrap_or_default().as_secs_f64()
        });
    }

    fn give_back_handed(&self) {
        self.give_back(self.intake.take_handed());
    }

    /// Gives back jobs that were handed over to a lane that stopped: by way of the recorder.
    fn give_back(&self, jobs: Vec<LeasedJob>) {
        for leased in jobs {
            let (_, tickets) = self.recorder.open(leased);
            self.intake.free(tickets.len());
        }
    }
}

/// The ranges of a claim, the most urgent first.
fn ranges() -> impl Iterator<Item = (Priority, Class)> {
    let classes = [Class::Direct, Class::Retry, Class::Bulk];
    Priority::DESCENDING.into_iter().flat_map(move |priority| classes.map(|class| (priority, class)))
}

fn is_urgent(job: &Job) -> bool {
    job.class == Class::Direct && job.priority == Priority::High
}
