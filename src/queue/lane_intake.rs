//! The jobs that a lane of this node is handed without a claim, and what the lane knows of waiting jobs.
//!
//! The committer of new notifications hands jobs over, the lane's prefetcher takes them. Room is reserved *before* a
//! job is inserted, and freed if the commit fails. It is reserved only while the lane runs and has room, and no direct
//! job of the same or a higher priority is known to wait: new jobs never overtake waiting ones
//! (docs/queue.md#hand-over).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::Notify;

use super::attempt_tally::AttemptTally;
use super::leases::JobLease;
use crate::domain::{Class, Content, Job, LaneId, NodeId, Priority};
use crate::store::tokens::LoadedDevices;
use crate::telemetry::metrics::Counter;
use crate::telemetry::trace::{JobPath, JobTrace};

/// The intakes of the lanes that this node runs. A reload of the configuration adds lanes; only a restart removes them.
#[derive(Debug, Default)]
pub struct LaneIntakes(RwLock<HashMap<LaneId, Arc<LaneIntake>>>);

impl LaneIntakes {
    /// The intake of a lane. None: this node does not run the lane.
    pub fn get(&self, lane: LaneId) -> Option<Arc<LaneIntake>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&lane).map(Arc::clone)
    }

    /// Adds the intake of a lane that this node runs from now on.
    pub fn add(&self, intake: Arc<LaneIntake>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(intake.lane(), intake);
    }

    /// All intakes that there are at this moment.
    pub fn all(&self) -> Vec<Arc<LaneIntake>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect()
    }
}

impl FromIterator<Arc<LaneIntake>> for LaneIntakes {
    fn from_iter<T: IntoIterator<Item = Arc<LaneIntake>>>(intakes: T) -> Self {
        let by_lane = intakes.into_iter().map(|intake| (intake.lane(), intake)).collect();
        Self(RwLock::new(by_lane))
    }
}

/// A job that is leased to this node, in its memory.
#[derive(Debug)]
pub struct LeasedJob {
    /// The job as it was claimed or stored.
    pub job: Job,
    /// The id under which this node leased the job.
    pub node: NodeId,
    /// What the job says, if it was handed over and need not be read.
    pub payload: Option<HandoffPayload>,
    /// The span of this lease. None: the job is not traced, or its lane has not taken it yet.
    pub trace: Option<Box<JobTrace>>,
    /// Its attempts under this lease, for the log.
    pub attempts: AttemptTally,
}

impl LeasedJob {
    /// A job that its lane has not taken yet.
    pub fn new(job: Job, node: NodeId, payload: Option<HandoffPayload>) -> Self {
        Self { job, node, payload, trace: None, attempts: AttemptTally::default() }
    }

    /// Begins the span of the lease, if the job is traced. `lane` is the lane's name; `waited_seconds` is how long the job
    /// waited after it was due.
    pub fn begin_trace(&mut self, lane: &str, waited_seconds: impl FnOnce(&Job) -> f64) {
        let Some(send) = self.job.trace else { return };
        let path = if self.payload.is_some() { JobPath::HandOver } else { JobPath::Claim };
        self.trace = Some(Box::new(JobTrace::begin(send, lane, path, waited_seconds(&self.job))));
    }

    /// The lease: which claim of the job this is.
    pub fn lease(&self) -> JobLease {
        JobLease { job: self.job.id, version: self.job.version }
    }
}

/// What a job that is handed over brings along, so that the lane need not read it from the database.
#[derive(Clone, Debug)]
pub struct HandoffPayload {
    /// The notification's content.
    pub content: Arc<Content>,
    /// The request had a `ttl` of 0: one attempt, at once or never.
    pub once: bool,
    /// Some targets were addressed through a user.
    pub by_user: bool,
    /// The devices already loaded, if they are few, each with the user that it was addressed through.
    pub loaded: Option<Arc<LoadedDevices>>,
}

/// Flag: a job is known to wait.
const WAITING: u8 = 1;
/// Flag: a claim is in progress, and may leave jobs of its range waiting.
const CLAIMING: u8 = 2;

/// The intake of one lane.
#[derive(Debug)]
pub struct LaneIntake {
    lane: LaneId,
    is_open: AtomicBool,
    /// Number of devices that may still be handed over.
    room: AtomicI64,
    /// [`WAITING`] and [`CLAIMING`], by class and priority.
    flags: [[AtomicU8; 3]; 3],
    /// A job was released, which may lie before the due time that claims have reached.
    has_released: AtomicBool,
    handed: Mutex<HandedJobs>,
    wake: Notify,
    handovers: Counter,
}

#[derive(Debug, Default)]
struct HandedJobs {
    jobs: Vec<LeasedJob>,
    /// The lane has stopped for good.
    has_ended: bool,
}

impl LaneIntake {
    /// An intake with room for `room` devices. Closed until the lane opens it.
    pub fn new(lane: LaneId, room: usize) -> Self {
        Self {
            lane,
            is_open: AtomicBool::new(false),
            room: AtomicI64::new(i64::try_from(room).unwrap_or(i64::MAX)),
            flags: Default::default(),
            has_released: AtomicBool::new(false),
            handed: Mutex::default(),
            wake: Notify::new(),
            handovers: Counter::default(),
        }
    }

    /// Counts the jobs that are handed over.
    #[must_use]
    pub fn counting(self, handovers: Counter) -> Self {
        Self { handovers, ..self }
    }

    /// The lane that takes the jobs.
    pub fn lane(&self) -> LaneId {
        self.lane
    }

    /// Opens or closes the intake for jobs that are handed over.
    pub fn set_open(&self, open: bool) {
        self.is_open.store(open, Ordering::Release);
        self.wake.notify_one();
    }

    /// Reserves room for a direct job of `devices` devices. None: closed, full, or a direct job of this priority or a
    /// higher one waits.
    pub fn reserve(self: &Arc<Self>, priority: Priority, devices: usize) -> Option<Reservation> {
        if !self.is_open.load(Ordering::Acquire) || self.direct_job_waits(priority) {
            return None;
        }
        let devices = i64::try_from(devices).ok()?;
        let taken = self.room.fetch_update(Ordering::AcqRel, Ordering::Acquire, |room| {
            (room >= devices).then_some(room - devices)
        });
        taken.ok().map(|_| Reservation { intake: Arc::clone(self), devices })
    }

    fn direct_job_waits(&self, priority: Priority) -> bool {
        let row = &self.flags[usize::from(Class::Direct.code().cast_unsigned())];
        row[..=priority.rank()].iter().any(|flags| flags.load(Ordering::Acquire) != 0)
    }

    /// Notes that a job of this class and priority waits in the table, and wakes the lane.
    pub fn mark_waiting(&self, class: Class, priority: Priority) {
        self.flags(class, priority).fetch_or(WAITING, Ordering::AcqRel);
        self.wake.notify_one();
    }

    /// As [`Self::mark_waiting`], for a job that was released: claims may have passed its due time already.
    pub fn mark_released(&self, class: Class, priority: Priority) {
        self.has_released.store(true, Ordering::Release);
        self.mark_waiting(class, priority);
    }

    /// True if a job was released since the last call.
    pub fn take_released(&self) -> bool {
        self.has_released.swap(false, Ordering::AcqRel)
    }

    /// Notes that jobs of any class and priority may wait, and wakes the lane.
    pub fn mark_all_waiting(&self) {
        for class in Class::ALL {
            for priority in Priority::DESCENDING {
                self.flags(*class, priority).fetch_or(WAITING, Ordering::AcqRel);
            }
        }
        self.wake.notify_one();
    }

    /// Begins a claim of a range if a job of it is known to wait, and clears that mark. The caller claims now, marks
    /// the range again if the claim leaves jobs, and only then drops the guard.
    ///
    /// `more`: the claim before left jobs. Then no job is handed over while the guard lives, because it would overtake
    /// them. Otherwise the claim may find nothing, so hand-overs go on.
    pub fn begin_claim(&self, class: Class, priority: Priority, more: bool) -> Option<ClaimGuard<'_>> {
        let (flags, claiming) = (self.flags(class, priority), if more { CLAIMING } else { 0 });
        let taken = flags.fetch_update(Ordering::AcqRel, Ordering::Acquire, |was| {
            (was & WAITING != 0).then_some(claiming)
        });
        taken.ok().map(|_| ClaimGuard(flags))
    }

    fn flags(&self, class: Class, priority: Priority) -> &AtomicU8 {
        &self.flags[usize::from(class.code().cast_unsigned())][priority.rank()]
    }

    /// Takes the jobs that were handed over. The caller gives their room back with [`Self::free`] once the devices have
    /// left its queue.
    pub fn take_handed(&self) -> Vec<LeasedJob> {
        std::mem::take(&mut self.handed.lock().unwrap_or_else(PoisonError::into_inner).jobs)
    }

    /// Closes the intake for good, when the lane stops. Returns the jobs that were handed over last. If the commit
    /// of a job ends later, the job goes back to the caller of [`Reservation::hand_over`].
    pub fn end(&self) -> Vec<LeasedJob> {
        self.set_open(false);
        let mut handed = self.handed.lock().unwrap_or_else(PoisonError::into_inner);
        handed.has_ended = true;
        std::mem::take(&mut handed.jobs)
    }

    /// Gives back room for `devices` devices.
    pub fn free(&self, devices: usize) {
        self.room.fetch_add(i64::try_from(devices).unwrap_or_default(), Ordering::AcqRel);
    }

    /// Returns when a job was handed over or marked as waiting, or the intake opened, closed or woken, since the last
    /// call returned.
    pub async fn changed(&self) {
        self.wake.notified().await;
    }

    /// Wakes the lane without a mark.
    pub fn wake(&self) {
        self.wake.notify_one();
    }
}

/// A claim is under way until this is dropped. See [`LaneIntake::begin_claim`].
#[derive(Debug)]
#[must_use]
pub struct ClaimGuard<'a>(&'a AtomicU8);

impl Drop for ClaimGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_and(!CLAIMING, Ordering::AcqRel);
    }
}

/// Room for one job. If it is dropped unused, the room is free again.
#[derive(Debug)]
#[must_use]
pub struct Reservation {
    intake: Arc<LaneIntake>,
    devices: i64,
}

impl Reservation {
    /// Hands the job over, after its commit.
    ///
    /// # Errors
    /// The job, if the lane stopped for good meanwhile. The caller releases it.
    pub fn hand_over(mut self, leased_job: LeasedJob) -> Result<(), Box<LeasedJob>> {
        {
            let mut handed = self.intake.handed.lock().unwrap_or_else(PoisonError::into_inner);
            if handed.has_ended {
                return Err(Box::new(leased_job));
            }
            handed.jobs.push(leased_job);
        }
        self.devices = 0;
        self.intake.handovers.inc();
        self.intake.wake.notify_one();
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.devices > 0 {
            self.intake.room.fetch_add(self.devices, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(room: usize) -> Arc<LaneIntake> {
        let intake = Arc::new(LaneIntake::new(LaneId(1), room));
        intake.set_open(true);
        intake
    }

    #[test]
    fn a_closed_intake_reserves_nothing() {
        let intake = Arc::new(LaneIntake::new(LaneId(1), 10));
        assert!(intake.reserve(Priority::High, 1).is_none());
    }

    #[test]
    fn an_unused_reservation_frees_its_room() {
        let intake = open(10);
        let reservation = intake.reserve(Priority::Normal, 10);
        assert!(reservation.is_some());
        assert!(intake.reserve(Priority::Normal, 1).is_none());
        drop(reservation);
        assert!(intake.reserve(Priority::Normal, 10).is_some());
    }

    #[test]
    fn new_jobs_do_not_overtake_waiting_ones_of_the_same_or_a_higher_priority() {
        let intake = open(10);
        intake.mark_waiting(Class::Direct, Priority::Normal);
        assert!(intake.reserve(Priority::High, 1).is_some(), "nothing above it waits");
        assert!(intake.reserve(Priority::Normal, 1).is_none());
        assert!(intake.reserve(Priority::Low, 1).is_none());
        drop(intake.begin_claim(Class::Direct, Priority::Normal, true));
        assert!(intake.reserve(Priority::Low, 1).is_some());
    }

    #[test]
    fn new_jobs_do_not_overtake_those_that_are_being_claimed() {
        let overtakes_claim = |intake: &Arc<LaneIntake>, more| {
            let claim = intake.begin_claim(Class::Direct, Priority::Normal, more);
            assert!(claim.is_some());
            let overtakes = intake.reserve(Priority::Normal, 1).is_some();
            assert!(intake.reserve(Priority::High, 1).is_some(), "nothing above it waits");
            overtakes
        };
        let intake = open(10);
        assert!(intake.begin_claim(Class::Direct, Priority::Normal, true).is_none(), "nothing to claim");
        intake.mark_waiting(Class::Direct, Priority::Normal);
        assert!(!overtakes_claim(&intake, true), "the claim goes first");
        assert!(intake.reserve(Priority::Normal, 1).is_some(), "the claim left nothing");
        intake.mark_waiting(Class::Direct, Priority::Normal);
        assert!(overtakes_claim(&intake, false), "all that was known to wait was taken");
    }

    #[test]
    fn waiting_retries_do_not_stop_the_hand_over() {
        let intake = open(10);
        intake.mark_waiting(Class::Retry, Priority::High);
        assert!(intake.reserve(Priority::Normal, 1).is_some());
    }
}
