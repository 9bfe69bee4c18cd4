//! The recorder: what became of each device of the jobs in hand goes on record in batches.
//!
//! Whoever takes a job hands it to [`OutcomeRecorder::open`] and gets one [`DeviceTicket`] per device that is still in it. Each
//! ticket ends in exactly one [`Disposition`]; dropped without one (a panic, a shutdown), its device stays in the job, which
//! then is given back. So nothing is lost in silence, and nothing that was recorded is tried again.
//!
//! A job's outcomes are flushed when it ends, 50 ms after 100 wait, or when the oldest is 250 ms old; what ended waits up to
//! 5 ms for others to share its statement, and 20 where many do (docs/queue.md#receipt-flush). Without Postgres they
//! are kept, while back-pressure stops claims.

mod flush_schedule;
mod pending_job;
mod writer;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::lane_intake::LeasedJob;
use super::leases::{JobLease, Leases};
use super::notifier::Notifier;
use crate::domain::{DeliveryStatus, DeviceId, Finding, LaneId, Reason};
use crate::store::SessionPool;

/// Past so many outcomes that are not on record yet, lanes claim nothing more.
const MOST_UNRECORDED: usize = 20_000;

/// How a device leaves the hands of whoever took its job.
#[derive(Clone, PartialEq, Debug)]
pub enum Disposition {
    /// It has its outcome.
    Final {
        /// Which; never `pending`.
        status: DeliveryStatus,
        /// False if it came about without an attempt.
        attempted: bool,
        /// The provider's word, or ours.
        reason: Option<Reason>,
        /// FCM's message name.
        provider_id: Option<String>,
    },
    /// It goes on in another job.
    Retry {
        /// None: the same lane.
        lane: Option<LaneId>,
        /// From now on.
        delay: Duration,
        /// Another attempt, or the same one elsewhere?
        attempted: bool,
        /// May the attempt have been sent?
        unanswered: bool,
        /// The provider's word, or ours.
        reason: Option<Reason>,
    },
    /// Its token was called bad: it is tried once, at once, in another lane (docs/queue.md#environment-probe).
    EnvironmentProbe {
        /// The other lane.
        lane: LaneId,
        /// When the attempt began that drew the verdict (Postgres's clock).
        since: DateTime<Utc>,
        /// The verdict's word, which stands unless the other lane takes it.
        reason: Reason,
    },
    /// Nothing happened to it: it stays in its job, which is given back as it was.
    Returned,
}

/// What the recorder is told.
#[derive(Debug)]
enum Event {
    Open(Arc<LeasedJob>),
    /// Something is found about few tokens: it must not make every event large.
    Ended {
        lease: JobLease,
        index: usize,
        ending: Disposition,
        began: Instant,
        finding: Option<Box<Finding>>,
    },
}

/// Where outcomes go. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OutcomeRecorder {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Bounded by what lanes hold: one event per job and one per device in hand.
    events: Mutex<Vec<Event>>,
    some: Notify,
    unrecorded: AtomicUsize,
    leases: Arc<Leases>,
}

/// The right, and the duty, to say how one device of a job ended.
#[derive(Debug)]
pub struct DeviceTicket {
    shared: Arc<Shared>,
    held: Arc<LeasedJob>,
    index: usize,
    ended: bool,
}

/// The part of a recorder that runs: see [`OutcomeRecorder::new`].
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    pool: SessionPool,
    notifier: Notifier,
    findings: mpsc::Sender<Vec<Finding>>,
}

impl OutcomeRecorder {
    /// A recorder and the writer that somebody must [run](Writer::run). What was found about tokens goes out after the
    /// receipts that it belongs to are on record; where nobody takes it in time it is dropped, and found once more
    /// later.
    pub fn new(
        pool: SessionPool,
        leases: Arc<Leases>,
        notifier: Notifier,
        findings: mpsc::Sender<Vec<Finding>>,
    ) -> (Self, Writer) {
        let shared = Arc::new(Shared {
            events: Mutex::default(),
            some: Notify::new(),
            unrecorded: AtomicUsize::new(0),
            leases,
        });
        (Self { shared: Arc::clone(&shared) }, Writer { shared, pool, notifier, findings })
    }

    /// A job is on its way to a lane of this node: until it is opened it counts as in hand.
    pub fn expect(&self, held: &LeasedJob) {
        self.shared.leases.take(held.lease());
    }

    /// Takes responsibility for a job: one ticket per device that is still in it.
    pub fn open(&self, held: LeasedJob) -> (Arc<LeasedJob>, Vec<DeviceTicket>) {
        let held = Arc::new(held);
        self.shared.leases.take(held.lease());
        self.shared.push(Event::Open(Arc::clone(&held)));
        let tickets = held
            .job
            .open_positions()
            .map(|index| DeviceTicket {
                shared: Arc::clone(&self.shared),
                held: Arc::clone(&held),
                index,
                ended: false,
            })
            .collect();
        (held, tickets)
    }

    /// May lanes take more, or must Postgres catch up first?
    pub fn has_room(&self) -> bool {
        self.shared.unrecorded.load(Ordering::Acquire) < MOST_UNRECORDED
    }
}

impl Writer {
    /// Writes until told to stop, and then until every job that was opened has ended and is on record. Whoever stops
    /// it first ends all tickets.
    pub async fn run(self, stop: CancellationToken) {
        writer::run(self, stop).await;
    }
}

impl Shared {
    fn push(&self, event: Event) {
        if matches!(event, Event::Ended { .. }) {
            self.unrecorded.fetch_add(1, Ordering::AcqRel);
        }
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let first = events.is_empty();
        events.push(event);
        drop(events);
        if first {
            self.some.notify_one();
        }
    }

    /// Takes all that was reported into an empty buffer, whose room serves for what is reported next.
    fn take(&self, into: &mut Vec<Event>) {
        std::mem::swap(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner), into);
    }
}

impl DeviceTicket {
    /// The job.
    pub fn leased_job(&self) -> &LeasedJob {
        &self.held
    }

    /// The device.
    pub fn device(&self) -> DeviceId {
        self.held.job.devices[self.index]
    }

    /// Says how it ended. `began`: when the attempt did. `finding`: what it showed about the token.
    pub fn end(mut self, ending: Disposition, began: Instant, finding: Option<Finding>) {
        self.ended = true;
        self.push(ending, began, finding);
    }

    fn push(&self, ending: Disposition, began: Instant, finding: Option<Finding>) {
        let finding = finding.map(Box::new);
        let lease = self.held.lease();
        self.shared.push(Event::Ended { lease, index: self.index, ending, began, finding });
    }
}

impl Drop for DeviceTicket {
    fn drop(&mut self) {
        if !self.ended {
            self.push(Disposition::Returned, Instant::now(), None);
        }
    }
}
