//! One opened job: which of its devices have ended, which outcomes are not recorded yet, and how they are written.

use std::collections::BTreeMap;
use std::sync::Arc;

use bit_vec::BitVec;
use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::Disposition;
use crate::domain::{
    DeliveryStatus, DeviceId, DoneBits, Finding, LaneId, NodeId, OutcomeByte, Reason, ReceiptReasons,
    storable_provider_id,
};
use crate::queue::lane_intake::LeasedJob;
use crate::store::record::{NewReceipt, NewRetryJob, RecordBatch};

/// A device that has ended and is not recorded yet.
#[derive(Debug)]
pub(super) struct EndedDevice {
    /// Its position in the job.
    pub(super) index: usize,
    pub(super) disposition: Disposition,
    pub(super) began: Instant,
    /// Boxed, because few devices have one.
    pub(super) finding: Option<Box<Finding>>,
    /// A statement with this outcome had no answer, so it may be on record already.
    pub(super) is_in_doubt: bool,
}

/// An opened job.
#[derive(Debug)]
pub(super) struct PendingJob {
    pub(super) leased_job: Arc<LeasedJob>,
    /// The job's version in the table, as far as this node knows.
    pub(super) version: i32,
    /// The job's done bits in the table, as far as this node knows.
    pub(super) recorded: DoneBits,
    /// Number of tickets that have not ended.
    pub(super) open_tickets: usize,
    /// The devices that have ended and wait to be recorded.
    pub(super) unrecorded: Vec<EndedDevice>,
    /// When the last device ended; known of traced jobs only.
    pub(super) last_ended: Option<Instant>,
    /// The table had another owner or version: outcomes take the slow path from now on.
    pub(super) is_lost: bool,
    /// The job is in the queue of ended jobs already.
    pub(super) is_queued: bool,
}

/// Owner and version that a job must have when its outcomes are recorded (docs/queue.md#fenced-record).
#[derive(Clone, Copy, Debug)]
pub(super) struct Fence {
    pub(super) node: Option<NodeId>,
    pub(super) version: i32,
}

impl PendingJob {
    pub(super) fn new(leased_job: Arc<LeasedJob>) -> Self {
        let job = &leased_job.job;
        let recorded = job.done.clone().unwrap_or_else(|| BitVec::from_elem(job.devices.len(), false));
        Self {
            version: job.version,
            recorded,
            open_tickets: job.open_positions().count(),
            leased_job,
            unrecorded: Vec::new(),
            last_ended: None,
            is_lost: false,
            is_queued: false,
        }
    }

    /// Takes the end of a ticket. Returns whether there is something to record: false if the device stays in the job or
    /// another node recorded it first.
    pub(super) fn end_device(&mut self, ended: EndedDevice) -> bool {
        self.open_tickets = self.open_tickets.saturating_sub(1);
        if self.leased_job.trace.is_some() {
            self.last_ended = Some(Instant::now());
        }
        let to_record =
            ended.disposition != Disposition::Returned && self.recorded.get(ended.index) != Some(true);
        if to_record {
            self.unrecorded.push(ended);
        }
        to_record
    }

    /// True once all tickets have ended.
    pub(super) fn has_ended(&self) -> bool {
        self.open_tickets == 0
    }

    pub(super) fn fence(&self) -> Fence {
        Fence { node: Some(self.leased_job.node), version: self.version }
    }

    /// Adds the outcomes of `ended` to a batch: its devices ascend, and none of them is in `recorded`.
    pub(super) fn write(
        &self,
        batch: &mut RecordBatch,
        fence: Fence,
        recorded: &DoneBits,
        ended: &[&EndedDevice],
    ) {
        let job = &self.leased_job.job;
        let devices: Vec<DeviceId> = ended.iter().map(|e| job.devices[e.index]).collect();
        let mut done = BitVec::from_elem(job.devices.len(), false);
        let mut counts = [0; 7];
        let mut outcomes = Vec::with_capacity(ended.len());
        let mut reasons = ReceiptReasons::default();
        let mut provider_ids = Vec::new();
        for e in ended {
            done.set(e.index, true);
            let (status, attempted, reason) = e.disposition.as_outcome();
            counts[column(status)] += 1;
            outcomes.push(OutcomeByte { status, attempted }.encode());
            reasons.push(reason);
            if let Disposition::Final { provider_id: Some(_), .. } = &e.disposition {
                provider_ids.resize(ended.len(), String::new());
            }
        }
        for (place, e) in provider_ids.iter_mut().zip(ended) {
            if let Disposition::Final { provider_id: Some(id), .. } = &e.disposition {
                *place = storable_provider_id(id);
            }
        }
        let done_count = recorded.iter().filter(|bit| *bit).count() + ended.len();
        batch.receipt(NewReceipt {
            job: job.id,
            notification: job.notification,
            node: fence.node,
            version: fence.version,
            finished: done_count == job.devices.len(),
            done,
            counts,
            devices: &devices,
            outcomes,
            reasons: reasons.texts,
            reason_indexes: reasons.positions,
            provider_ids,
            began_ms: ended.iter().map(|e| elapsed_ms(e.began)).max().unwrap_or_default(),
            progress: ended.iter().any(|e| !e.disposition.is_rejected_unsent()),
        });
        self.write_retries(batch, ended);
    }

    /// Devices with the same next lane, flags and reason share a retry job. It is due after the longest of their delays.
    /// The evidence of an environment probe is the earliest one, because the fewest registrations precede it.
    fn write_retries(&self, batch: &mut RecordBatch, ended: &[&EndedDevice]) {
        let mut groups: BTreeMap<RetryKey<'_>, RetryGroup> = BTreeMap::new();
        for e in ended {
            let (key, delay_ms, since) = match &e.disposition {
                Disposition::Retry { lane, delay, attempted, unanswered, reason } => {
                    let (attempted, unanswered) = (*attempted, *unanswered);
                    let reason = reason.as_ref().map(Reason::as_str);
                    let delay_ms = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
                    (RetryKey { lane: *lane, attempted, unanswered, is_probe: false, reason }, delay_ms, None)
                }
                Disposition::EnvironmentProbe { lane, since, reason } => {
                    let (lane, reason) = (Some(*lane), Some(reason.as_str()));
                    let key = RetryKey { lane, attempted: true, unanswered: false, is_probe: true, reason };
                    (key, 0, Some(*since))
                }
                Disposition::Final { .. } | Disposition::Returned => continue,
            };
            let group = groups.entry(key).or_default();
            group.delay_ms = group.delay_ms.max(delay_ms);
            group.environment_probe_since =
                [group.environment_probe_since, since].into_iter().flatten().min();
            group.devices.push(self.leased_job.job.devices[e.index]);
        }
        for (key, group) in &groups {
            batch.retry(NewRetryJob {
                parent: self.leased_job.job.id,
                lane: key.lane,
                delay_ms: group.delay_ms,
                step: i16::from(key.attempted),
                unanswered: i16::from(key.unanswered),
                reason: key.reason,
                environment_probe_since: group.environment_probe_since,
                devices: &group.devices,
            });
        }
    }
}

/// What devices have in common that go on in one job.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct RetryKey<'a> {
    lane: Option<LaneId>,
    attempted: bool,
    unanswered: bool,
    is_probe: bool,
    reason: Option<&'a str>,
}

/// The devices of one such job, and when it is due.
#[derive(Default)]
struct RetryGroup {
    delay_ms: i64,
    environment_probe_since: Option<DateTime<Utc>>,
    devices: Vec<DeviceId>,
}

impl Disposition {
    /// Status, whether there was an attempt, and the reason, as a receipt has them.
    fn as_outcome(&self) -> (DeliveryStatus, bool, Option<&Reason>) {
        match self {
            Self::Final { status, attempted, reason, .. } => (*status, *attempted, reason.as_ref()),
            Self::Retry { attempted, reason, .. } => (DeliveryStatus::Pending, *attempted, reason.as_ref()),
            Self::EnvironmentProbe { reason, .. } => (DeliveryStatus::Pending, true, Some(reason)),
            Self::Returned => (DeliveryStatus::Pending, false, None),
        }
    }

    /// True if Pushpost rejected the device without an attempt. That does not show whether an attempt would kill the
    /// process.
    fn is_rejected_unsent(&self) -> bool {
        matches!(self, Self::Final { status: DeliveryStatus::Rejected, attempted: false, .. })
    }

    /// The same disposition without any text that a provider wrote (docs/queue.md#poisoned-values).
    pub(super) fn without_provider_text(&self) -> Self {
        match self.clone() {
            Self::Final { status, attempted, .. } => {
                Self::Final { status, attempted, reason: None, provider_id: None }
            }
            Self::Retry { lane, delay, attempted, unanswered, .. } => {
                Self::Retry { lane, delay, attempted, unanswered, reason: None }
            }
            // The reason of a probe is ASCII, and is needed if the probe fails.
            Self::EnvironmentProbe { .. } | Self::Returned => self.clone(),
        }
    }
}

/// Position of a status in [`NewReceipt::counts`].
fn column(status: DeliveryStatus) -> usize {
    match status {
        DeliveryStatus::Accepted => 0,
        DeliveryStatus::Rejected => 1,
        DeliveryStatus::TokenDead => 2,
        DeliveryStatus::Expired => 3,
        DeliveryStatus::Cancelled => 4,
        DeliveryStatus::Unknown => 5,
        DeliveryStatus::Pending => 6,
    }
}

/// Milliseconds since an attempt began.
fn elapsed_ms(began: Instant) -> i32 {
    i32::try_from(began.elapsed().as_millis()).unwrap_or(i32::MAX)
}
