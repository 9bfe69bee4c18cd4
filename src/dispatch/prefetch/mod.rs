//! A lane's supply: what was handed over, then what waits in the table, as far as there is room; tokens loaded ahead, so
//! that connections never wait for Postgres.

pub(super) mod load;
pub(super) mod queue;
mod revalidate;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::load::{JobLoader, OpenedJob};
use crate::dispatch::health::Admission;
use crate::dispatch::isolated_attempt;
use crate::dispatch::lane::Lane;
use crate::domain::{Class, Job, Priority, Suspicion};
use crate::queue::claim::Claimer;
use crate::queue::lane_intake::LeasedJob;
use crate::store;

/// After a failed statement, or while records are behind or the node's beat is late.
const BLOCKED: Duration = Duration::from_millis(100);
/// Most devices whose tokens are loaded in one statement.
const LOAD_AT_ONCE: usize = 2_000;

pub(in crate::dispatch) async fn run(lane: Arc<Lane>, stop: CancellationToken) {
    let mut feeder = Prefetcher {
        claimer: Claimer::new(lane.shared.pool.clone(), lane.intake.lane()),
        loader: JobLoader::default(),
        lane,
    };
    loop {
        let next = feeder
            .round(&stop)
            .await
            .at_last(feeder.lane.ready.oldest().map(|at| at + revalidate::STALENESS_MAX));
        let wait = async {
            match next {
                Next::Change => feeder.lane.intake.changed().await,
                Next::ChangeOr(at) => tokio::select! {
                    () = feeder.lane.intake.changed() => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                Next::Pause => tokio::time::sleep(BLOCKED).await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => break,
            () = wait => {}
        }
    }
    feeder.give_back(feeder.lane.intake.end());
}

/// When to go round again.
enum Next {
    /// When something changes.
    Change,
    /// When something changes, but not later than this.
    ChangeOr(Instant),
    /// After a pause, whatever happens: nothing can be taken now.
    Pause,
}

impl Next {
    /// Not later than this either.
    fn at_last(self, at: Option<Instant>) -> Self {
        match (self, at) {
            (Self::Change, Some(at)) => Self::ChangeOr(at),
            (Self::ChangeOr(other), Some(at)) => Self::ChangeOr(other.min(at)),
            (next, _) => next,
        }
    }
}

struct Prefetcher {
    lane: Arc<Lane>,
    claimer: Claimer,
    loader: JobLoader,
}

impl Prefetcher {
    /// Takes what there is and has room.
    async fn round(&mut self, stop: &CancellationToken) -> Next {
        match self.lane.gate.phase().0 {
            Admission::Wait(until) => {
                self.give_back_handed();
                self.lane.ready.clear();
                self.claimer.restart();
                return until.map_or(Next::Change, Next::ChangeOr);
            }
            Admission::Probe => {
                self.give_back_handed();
                return self.probe().await;
            }
            Admission::Send => {}
        }
        if let Err(error) = revalidate::revalidate(&self.lane).await {
            return self.blocked(&error);
        }
        if let Err(error) = self.take_handed().await {
            return self.blocked(&error);
        }
        loop {
            if stop.is_cancelled() {
                return Next::Change;
            }
            if !self.may_claim() {
                return Next::Pause;
            }
            match self.claim_next().await {
                Ok(true) => {
                    if let Err(error) = self.take_handed().await {
                        return self.blocked(&error);
                    }
                }
                Ok(false) => return Next::Change,
                Err(error) => return self.blocked(&error),
            }
            if self.lane.gate.phase().0 != Admission::Send {
                return Next::ChangeOr(Instant::now());
            }
        }
    }

    fn blocked(&mut self, error: &store::Error) -> Next {
        tracing::debug!(lane = self.lane.name, %error, "nothing taken");
        self.claimer.restart();
        self.lane.intake.mark_all_waiting();
        Next::Pause
    }

    fn may_claim(&self) -> bool {
        let node_lease = &self.lane.shared.node_lease;
        self.lane.shared.recorder.has_room() && node_lease.may_start(node_lease.id())
    }

    /// Claims from the first range that was hinted at and has room. False: there is none.
    async fn claim_next(&mut self) -> Result<bool, store::Error> {
        if self.lane.intake.take_released() {
            self.claimer.restart();
        }
        for priority in Priority::DESCENDING {
            for class in [Class::Direct, Class::Retry, Class::Bulk] {
                let room = self.lane.ready.room(class, priority).min(LOAD_AT_ONCE);
                if room == 0 {
                    continue;
                }
                let more = self.claimer.may_have_left(class, priority);
                let Some(looking) = self.lane.intake.begin_claim(class, priority, more) else { continue };
                let node = self.lane.shared.node_lease.id();
                let jobs = self.claimer.claim(class, priority, room, node).await?;
                if jobs.is_empty() {
                    continue;
                }
                // There may be more: whoever looks next finds out.
                self.lane.intake.mark_waiting(class, priority);
                drop(looking);
                let mut held =
                    jobs.into_iter().map(|job| LeasedJob { job, node, known: None }).collect::<Vec<_>>();
                match held.pop() {
                    Some(alone) if alone.job.suspicion() != Suspicion::None => {
                        isolated_attempt::try_one(&self.lane, &mut self.loader, alone).await?;
                    }
                    last => {
                        held.extend(last);
                        self.open_and_load(held, false).await?;
                    }
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// One device of one job.
    async fn probe(&mut self) -> Next {
        self.lane.ready.clear();
        if !self.may_claim() {
            return Next::Pause;
        }
        self.claimer.restart();
        let node = self.lane.shared.node_lease.id();
        for priority in Priority::DESCENDING {
            for class in [Class::Direct, Class::Retry, Class::Bulk] {
                // Only where something is known to wait: a lane that stays suspended asks nothing of its own.
                if self.lane.intake.begin_claim(class, priority, true).is_none() {
                    continue;
                }
                match self.claimer.claim(class, priority, 1, node).await {
                    Ok(jobs) if jobs.is_empty() => {}
                    Ok(jobs) => {
                        self.lane.intake.mark_waiting(class, priority);
                        for job in jobs {
                            let held = LeasedJob { job, node, known: None };
                            if let Err(error) =
                                isolated_attempt::try_one(&self.lane, &mut self.loader, held).await
                            {
                                return self.blocked(&error);
                            }
                        }
                        return Next::ChangeOr(Instant::now());
                    }
                    Err(error) => return self.blocked(&error),
                }
            }
        }
        // Nothing to probe with: the tick tells when there is.
        Next::Change
    }

    async fn take_handed(&mut self) -> Result<(), store::Error> {
        let handed = self.lane.intake.take_handed();
        if handed.is_empty() { Ok(()) } else { self.open_and_load(handed, true).await }
    }

    async fn open_and_load(&mut self, held: Vec<LeasedJob>, handed: bool) -> Result<(), store::Error> {
        if held.iter().any(|held| is_urgent(&held.job)) && self.lane.ready.holds(Class::Bulk) {
            self.lane.limit.urge();
        }
        let opened: Vec<OpenedJob> = held
            .into_iter()
            .map(|held| {
                let (held, tickets) = self.lane.shared.recorder.open(held);
                OpenedJob::new(held, tickets, handed)
            })
            .collect();
        let devices: usize = opened.iter().map(|opened| opened.tickets.len()).sum();
        match self.loader.load(&self.lane.shared, &self.lane.setup, opened).await {
            Ok(ready) => {
                self.lane.ready.push(ready);
                Ok(())
            }
            Err(error) => {
                if handed {
                    self.lane.intake.free(devices);
                }
                Err(error)
            }
        }
    }

    /// What was handed over to a lane that stopped: given back by way of the recorder.
    fn give_back_handed(&self) {
        self.give_back(self.lane.intake.take_handed());
    }

    fn give_back(&self, jobs: Vec<LeasedJob>) {
        for held in jobs {
            let (_, tickets) = self.lane.shared.recorder.open(held);
            self.lane.intake.free(tickets.len());
        }
    }
}

fn is_urgent(job: &Job) -> bool {
    job.class == Class::Direct && job.priority == Priority::High
}
