//! Records the outcomes of devices, in batches.
//!
//! A lane that has leased a job calls [`OutcomeRecorder::open`] and gets one [`DeviceTicket`] per device that has no
//! outcome yet. Each ticket ends with exactly one [`Disposition`]. A ticket that is dropped counts as
//! [`Disposition::Returned`]: the lane has stopped, or could not load the device. Once all tickets of a job have ended,
//! the job is released if a device was returned. So no device is lost in silence.
//!
//! [`OutcomeWriter`] writes the outcomes of many jobs in one statement (docs/queue.md#receipt-flush):
//!
//! | outcomes of a job | are written |
//! |---|---|
//! | that has ended: all its tickets have | after 5 ms, which others share; after 20 ms while 16 or more jobs wait |
//! | with open tickets, 100 outcomes or more | 50 ms after the 100th |
//! | with open tickets, fewer outcomes | 250 ms after the oldest |
//!
//! While Postgres is away outcomes are kept in memory, and lanes claim nothing past [`UNRECORDED_MAX`].

mod flush_schedule;
mod pending_job;
mod traced;
mod writer;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::pending_job::EndedDevice;
use super::lane_intake::LeasedJob;
use super::leases::{JobLease, Leases};
use super::notifier::Notifier;
use crate::domain::{DeliveryStatus, DeviceId, Finding, LaneId, Reason};
use crate::store::SessionPool;
use crate::telemetry::metrics::{Metrics, RefreshGuard};
use crate::telemetry::trace::Tracer;

/// While this many outcomes are not recorded yet, lanes claim nothing more.
const UNRECORDED_MAX: usize = 20_000;

/// How a device leaves the lease of its job.
#[derive(Clone, PartialEq, Debug)]
pub enum Disposition {
    /// The device has its final outcome.
    Final {
        /// The outcome; never `pending`.
        status: DeliveryStatus,
        /// False if there was no attempt.
        attempted: bool,
        /// The provider's reason, or ours.
        reason: Option<Reason>,
        /// FCM's message name; APNs's ids are derived.
        provider_id: Option<String>,
    },
    /// The device goes on in another job.
    Retry {
        /// The lane of that job. None: the same lane.
        lane: Option<LaneId>,
        /// Time from now until that job is due.
        delay: Duration,
        /// True: an attempt was made, and that job is another attempt. False: it is the same attempt.
        attempted: bool,
        /// The attempt may have been sent, and had no answer.
        unanswered: bool,
        /// The provider's reason, or ours.
        reason: Option<Reason>,
    },
    /// The provider called the token bad: it is tried once, at once, in another lane (docs/queue.md#environment-probe).
    EnvironmentProbe {
        /// The lane of the other environment.
        lane: LaneId,
        /// When the attempt began that got the verdict (Postgres's clock).
        since: DateTime<Utc>,
        /// The verdict's reason, which stands unless the other environment accepts the token.
        reason: Reason,
    },
    /// Nothing happened to the device: it stays in its job, which is released.
    Returned,
}

/// What the writer is told.
#[derive(Debug)]
enum Event {
    Opened(Arc<LeasedJob>),
    Ended(JobLease, EndedDevice),
}

/// Takes outcomes of devices. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OutcomeRecorder {
    events: Arc<RecorderEvents>,
}

/// What recorder, tickets and writer share.
#[derive(Debug)]
struct RecorderEvents {
    /// Bounded by what lanes have leased: one event per job and one per device.
    waiting: Mutex<Vec<Event>>,
    is_filled: Notify,
    unrecorded: AtomicUsize,
    leases: Arc<Leases>,
}

/// One device of a leased job. Its owner must say how the device ended, once.
#[derive(Debug)]
pub struct DeviceTicket {
    events: Arc<RecorderEvents>,
    leased_job: Arc<LeasedJob>,
    index: usize,
    has_ended: bool,
}

/// The task that writes outcomes: see [`OutcomeRecorder::new`].
#[derive(Debug)]
pub struct OutcomeWriter {
    events: Arc<RecorderEvents>,
    pool: SessionPool,
    notifier: Notifier,
    findings: mpsc::Sender<Vec<Finding>>,
    metrics: Arc<Metrics>,
    tracer: Tracer,
    /// The number of unrecorded outcomes is in the metrics as long as this is held.
    _shown: RefreshGuard,
}

impl OutcomeRecorder {
    /// A recorder and its writer, which the caller must [run](OutcomeWriter::run). Findings about tokens are sent to
    /// `findings` once the receipts that they belong to are recorded. If the channel is full they are dropped: a later
    /// attempt finds them again.
    pub fn new(
        pool: SessionPool,
        leases: Arc<Leases>,
        notifier: Notifier,
        findings: mpsc::Sender<Vec<Finding>>,
        metrics: Arc<Metrics>,
    ) -> (Self, OutcomeWriter) {
        let events = Arc::new(RecorderEvents {
            waiting: Mutex::default(),
            is_filled: Notify::new(),
            unrecorded: AtomicUsize::new(0),
            leases,
        });
        let (shown_events, shown) = (Arc::clone(&events), Arc::clone(&metrics));
        let shown = metrics.before_scrape(move || {
            let unrecorded = shown_events.unrecorded.load(Ordering::Relaxed);
            shown.record.unrecorded_devices.set(i64::try_from(unrecorded).unwrap_or(i64::MAX));
        });
        let recorder = Self { events: Arc::clone(&events) };
        let tracer = Tracer::default();
        (recorder, OutcomeWriter { events, pool, notifier, findings, metrics, tracer, _shown: shown })
    }

    /// Notes a job that is on its way to a lane of this node, so that the heartbeat's comparison does not release it.
    pub fn expect(&self, leased_job: &LeasedJob) {
        self.events.leases.add(leased_job.lease());
    }

    /// Takes responsibility for a job. Returns one ticket per device that is still in it.
    pub fn open(&self, leased_job: LeasedJob) -> (Arc<LeasedJob>, Vec<DeviceTicket>) {
        let leased_job = Arc::new(leased_job);
        self.events.leases.add(leased_job.lease());
        self.events.push(Event::Opened(Arc::clone(&leased_job)));
        let tickets = leased_job
            .job
            .open_positions()
            .map(|index| DeviceTicket {
                events: Arc::clone(&self.events),
                leased_job: Arc::clone(&leased_job),
                index,
                has_ended: false,
            })
            .collect();
        (leased_job, tickets)
    }

    /// True if lanes may lease more jobs. False while [`UNRECORDED_MAX`] outcomes wait for Postgres.
    pub fn has_room(&self) -> bool {
        self.events.unrecorded.load(Ordering::Acquire) < UNRECORDED_MAX
    }
}

impl OutcomeWriter {
    /// With a tracer, which takes the spans of jobs and of their records.
    pub fn with_tracer(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    /// Writes until told to stop, and then until every opened job has ended and is recorded. The caller ends all
    /// tickets before it stops the writer.
    pub async fn run(self, stop: CancellationToken) {
        writer::run(self, stop).await;
    }
}

impl RecorderEvents {
    fn push(&self, event: Event) {
        if matches!(event, Event::Ended(..)) {
            self.unrecorded.fetch_add(1, Ordering::AcqRel);
        }
        let mut events = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = events.is_empty();
        events.push(event);
        drop(events);
        if is_first {
            self.is_filled.notify_one();
        }
    }

    /// Takes all events into an empty buffer. The buffer's memory is used for the next events.
    fn take(&self, into: &mut Vec<Event>) {
        std::mem::swap(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner), into);
    }
}

impl DeviceTicket {
    /// The leased job that the device belongs to.
    pub fn leased_job(&self) -> &LeasedJob {
        &self.leased_job
    }

    /// The id of the device.
    pub fn device(&self) -> DeviceId {
        self.leased_job.job.devices[self.index]
    }

    /// Ends the ticket. `began`: from when on the attempt's time is the provider's. `finding`: what the attempt showed about the token.
    pub fn end(mut self, disposition: Disposition, began: Instant, finding: Option<Finding>) {
        self.has_ended = true;
        self.push(disposition, began, finding);
    }

    fn push(&self, disposition: Disposition, began: Instant, finding: Option<Finding>) {
        let finding = finding.map(Box::new);
        let ended = EndedDevice { index: self.index, disposition, began, finding, is_in_doubt: false };
        self.events.push(Event::Ended(self.leased_job.lease(), ended));
    }
}

impl Drop for DeviceTicket {
    fn drop(&mut self) {
        if !self.has_ended {
            self.push(Disposition::Returned, Instant::now(), None);
        }
    }
}
