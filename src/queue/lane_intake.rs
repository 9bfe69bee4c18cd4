//! A lane's side towards the queue: what it may be handed without a claim, and where it should look.
//!
//! A slot is reserved *before* a job is inserted, and freed if the commit fails; only while the lane runs, has room, and
//! no direct job of the same or a higher priority is known to wait, so that fresh jobs never jump a queue
//! (docs/queue.md#hand-over).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::Notify;

use super::leases::JobLease;
use crate::domain::{Class, Content, Job, LaneId, NodeId, Priority};
use crate::store::tokens::LoadedDevices;

/// The intakes of the lanes that this node runs. A reload of the configuration adds lanes; none goes before a restart.
#[derive(Debug, Default)]
pub struct LaneIntakes(RwLock<HashMap<LaneId, Arc<LaneIntake>>>);

impl LaneIntakes {
    /// The intake of a lane; none: this node does not run it.
    pub fn get(&self, lane: LaneId) -> Option<Arc<LaneIntake>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&lane).map(Arc::clone)
    }

    /// This node runs the intake's lane from now on.
    pub fn add(&self, intake: Arc<LaneIntake>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(intake.lane(), intake);
    }

    /// All of them, as of now.
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

/// A job leased to this node, in its hands.
#[derive(Debug)]
pub struct LeasedJob {
    /// The job.
    pub job: Job,
    /// The id under which this node took it.
    pub node: NodeId,
    /// What it says, where that is known already.
    pub known: Option<HandoffPayload>,
}

impl LeasedJob {
    /// Which taking of the job this is.
    pub fn lease(&self) -> JobLease {
        JobLease { job: self.job.id, version: self.job.version }
    }
}

/// What a handed-over job brings along, so that it need not be read back.
#[derive(Clone, Debug)]
pub struct HandoffPayload {
    /// What it says.
    pub content: Arc<Content>,
    /// Now or never.
    pub once: bool,
    /// Some targets were addressed through a user.
    pub by_user: bool,
    /// Its devices as they were found, if they are few; each has the user through whom it was addressed.
    pub loaded: Option<Arc<LoadedDevices>>,
}

/// Something is known to wait.
const HINTED: u8 = 1;
/// Somebody looks where more is known to wait, and has not said yet what is left.
const LOOKING: u8 = 2;

/// One lane's intake.
#[derive(Debug)]
pub struct LaneIntake {
    lane: LaneId,
    open: AtomicBool,
    /// Devices that may still be handed over.
    room: AtomicI64,
    /// [`HINTED`] and [`LOOKING`], by class and priority.
    waiting: [[AtomicU8; 3]; 3],
    /// A job was given back behind what has been read.
    given_back: AtomicBool,
    handed: Mutex<Handed>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Handed {
    jobs: Vec<LeasedJob>,
    /// The lane has stopped for good.
    ended: bool,
}

impl LaneIntake {
    /// An intake that takes up to `room` devices at a time. Closed until the lane opens it.
    pub fn new(lane: LaneId, room: usize) -> Self {
        Self {
            lane,
            open: AtomicBool::new(false),
            room: AtomicI64::new(i64::try_from(room).unwrap_or(i64::MAX)),
            waiting: Default::default(),
            given_back: AtomicBool::new(false),
            handed: Mutex::default(),
            wake: Notify::new(),
        }
    }

    /// The lane.
    pub fn lane(&self) -> LaneId {
        self.lane
    }

    /// The lane takes, or stops taking, jobs without a claim.
    pub fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::Release);
        self.wake.notify_one();
    }

    /// Reserves a slot for a direct job of `devices` devices.
    pub fn reserve(self: &Arc<Self>, priority: Priority, devices: usize) -> Option<Reservation> {
        if !self.open.load(Ordering::Acquire) || self.direct_waits(priority) {
            return None;
        }
        let devices = i64::try_from(devices).ok()?;
        let taken = self.room.fetch_update(Ordering::AcqRel, Ordering::Acquire, |room| {
            (room >= devices).then_some(room - devices)
        });
        taken.ok().map(|_| Reservation { intake: Arc::clone(self), devices })
    }

    fn direct_waits(&self, priority: Priority) -> bool {
        let row = &self.waiting[usize::from(Class::Direct.code().cast_unsigned())];
        row[..=priority.rank()].iter().any(|flags| flags.load(Ordering::Acquire) != 0)
    }

    /// Something of this class and priority waits in the table.
    pub fn mark_waiting(&self, class: Class, priority: Priority) {
        self.flags(class, priority).fetch_or(HINTED, Ordering::AcqRel);
        self.wake.notify_one();
    }

    /// A job of this class and priority was given back: it waits where claims may have passed already.
    pub fn mark_released(&self, class: Class, priority: Priority) {
        self.given_back.store(true, Ordering::Release);
        self.mark_waiting(class, priority);
    }

    /// Was anything given back since this was last asked?
    pub fn take_released(&self) -> bool {
        self.given_back.swap(false, Ordering::AcqRel)
    }

    /// Anything may wait.
    pub fn mark_all_waiting(&self) {
        for class in Class::ALL {
            for priority in Priority::DESCENDING {
                self.flags(*class, priority).fetch_or(HINTED, Ordering::AcqRel);
            }
        }
        self.wake.notify_one();
    }

    /// Takes the hint, if there is one. The caller looks now, hints again if it leaves something, and drops what it got
    /// here only then. Where `more` is known to wait than was taken last, nothing is handed over ahead of it meanwhile;
    /// elsewhere the look may be for nothing, and whoever comes need not wait for its end.
    pub fn begin_claim(&self, class: Class, priority: Priority, more: bool) -> Option<ClaimGuard<'_>> {
        let (flags, looking) = (self.flags(class, priority), if more { LOOKING } else { 0 });
        let taken = flags
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |was| (was & HINTED != 0).then_some(looking));
        taken.ok().map(|_| ClaimGuard(flags))
    }

    fn flags(&self, class: Class, priority: Priority) -> &AtomicU8 {
        &self.waiting[usize::from(class.code().cast_unsigned())][priority.rank()]
    }

    /// Takes what was handed over. The caller gives the room back with [`Self::free`] once the devices have left its
    /// read-ahead.
    pub fn take_handed(&self) -> Vec<LeasedJob> {
        std::mem::take(&mut self.handed.lock().unwrap_or_else(PoisonError::into_inner).jobs)
    }

    /// The lane stops for good. Returns the jobs that were handed over last; a job whose commit ends later goes back to the
    /// caller of [`Reservation::hand_over`].
    pub fn end(&self) -> Vec<LeasedJob> {
        self.set_open(false);
        let mut handed = self.handed.lock().unwrap_or_else(PoisonError::into_inner);
        handed.ended = true;
        std::mem::take(&mut handed.jobs)
    }

    /// Room for `devices` more.
    pub fn free(&self, devices: usize) {
        self.room.fetch_add(i64::try_from(devices).unwrap_or_default(), Ordering::AcqRel);
    }

    /// Returns when something was handed over, hinted at, opened or closed since the last call returned.
    pub async fn changed(&self) {
        self.wake.notified().await;
    }

    /// Wakes the lane without a hint.
    pub fn wake(&self) {
        self.wake.notify_one();
    }
}

/// Somebody looks for what waits, until this is dropped.
#[derive(Debug)]
#[must_use]
pub struct ClaimGuard<'a>(&'a AtomicU8);

impl Drop for ClaimGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_and(!LOOKING, Ordering::AcqRel);
    }
}

/// Room for one job. Dropped unused, it gives its room back.
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
    /// The job: the lane stopped for good meanwhile. The caller gives the job back to the queue.
    pub fn hand_over(mut self, held: LeasedJob) -> Result<(), Box<LeasedJob>> {
        {
            let mut handed = self.intake.handed.lock().unwrap_or_else(PoisonError::into_inner);
            if handed.ended {
                return Err(Box::new(held));
            }
            handed.jobs.push(held);
        }
        self.devices = 0;
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
    fn a_closed_lane_takes_nothing() {
        let intake = Arc::new(LaneIntake::new(LaneId(1), 10));
        assert!(intake.reserve(Priority::High, 1).is_none());
    }

    #[test]
    fn an_unused_slot_gives_its_room_back() {
        let intake = open(10);
        let slot = intake.reserve(Priority::Normal, 10);
        assert!(slot.is_some());
        assert!(intake.reserve(Priority::Normal, 1).is_none());
        drop(slot);
        assert!(intake.reserve(Priority::Normal, 10).is_some());
    }

    #[test]
    fn fresh_jobs_do_not_jump_ahead_of_waiting_ones_of_their_priority_or_above() {
        let intake = open(10);
        intake.mark_waiting(Class::Direct, Priority::Normal);
        assert!(intake.reserve(Priority::High, 1).is_some(), "nothing above it waits");
        assert!(intake.reserve(Priority::Normal, 1).is_none());
        assert!(intake.reserve(Priority::Low, 1).is_none());
        drop(intake.begin_claim(Class::Direct, Priority::Normal, true));
        assert!(intake.reserve(Priority::Low, 1).is_some());
    }

    #[test]
    fn while_more_is_looked_for_nothing_overtakes_it() {
        let look = |intake: &Arc<LaneIntake>, more| {
            let looking = intake.begin_claim(Class::Direct, Priority::Normal, more);
            assert!(looking.is_some());
            let overtakes = intake.reserve(Priority::Normal, 1).is_some();
            assert!(intake.reserve(Priority::High, 1).is_some(), "nothing above it waits");
            overtakes
        };
        let intake = open(10);
        assert!(intake.begin_claim(Class::Direct, Priority::Normal, true).is_none(), "nothing to look for");
        intake.mark_waiting(Class::Direct, Priority::Normal);
        assert!(!look(&intake, true), "what is being claimed goes first");
        assert!(intake.reserve(Priority::Normal, 1).is_some(), "it left nothing");
        intake.mark_waiting(Class::Direct, Priority::Normal);
        assert!(look(&intake, false), "all that was known to wait was taken");
    }

    #[test]
    fn waiting_retries_do_not_stop_the_hand_over() {
        let intake = open(10);
        intake.mark_waiting(Class::Retry, Priority::High);
        assert!(intake.reserve(Priority::Normal, 1).is_some());
    }
}
