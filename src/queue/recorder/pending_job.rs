//! One job in hand: which of its devices have ended, and what of that is not on record yet.

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

/// A device that has ended and is not on record yet.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) index: usize,
    pub(super) ending: Disposition,
    pub(super) began: Instant,
    pub(super) finding: Option<Box<Finding>>,
}

/// A job whose outcomes this recorder writes.
#[derive(Debug)]
pub(super) struct PendingJob {
    pub(super) held: Arc<LeasedJob>,
    /// As the table has it, as far as we know.
    pub(super) version: i32,
    /// What the table's bits are, as far as we know.
    pub(super) recorded: DoneBits,
    /// Tickets still out.
    pub(super) out: usize,
    /// Waiting to be recorded.
    pub(super) waiting: Vec<Ended>,
    /// The table didn't know it as ours: what comes now takes the slow path.
    pub(super) lost: bool,
    /// It stands in one of the writer's queues already.
    pub(super) queued: bool,
}

/// Who holds a job, and its version, as a record is to find them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fence {
    pub(super) node: Option<NodeId>,
    pub(super) version: i32,
}

impl PendingJob {
    pub(super) fn new(held: Arc<LeasedJob>) -> Self {
        let n = held.job.devices.len();
        let recorded = held.job.done.clone().unwrap_or_else(|| BitVec::from_elem(n, false));
        let out = held.job.open_positions().count();
        Self {
            version: held.job.version,
            held,
            recorded,
            out,
            waiting: Vec::new(),
            lost: false,
            queued: false,
        }
    }

    /// A ticket came back. Says whether there is something to record: not if its device stays, nor if somebody else
    /// has put an outcome of it on record, which stays.
    pub(super) fn end(&mut self, ended: Ended) -> bool {
        self.out = self.out.saturating_sub(1);
        let to_record = ended.ending != Disposition::Returned && self.recorded.get(ended.index) != Some(true);
        if to_record {
            self.waiting.push(ended);
        }
        to_record
    }

    /// All tickets are back?
    pub(super) fn is_over(&self) -> bool {
        self.out == 0
    }

    pub(super) fn fence(&self) -> Fence {
        Fence { node: Some(self.held.node), version: self.version }
    }

    /// Writes what waits (`ended`, ascending by index and none of them in `recorded`) into a batch.
    pub(super) fn write(&self, batch: &mut RecordBatch, fence: Fence, recorded: &DoneBits, ended: &[&Ended]) {
        let job = &self.held.job;
        let devices: Vec<DeviceId> = ended.iter().map(|e| job.devices[e.index]).collect();
        let mut done = BitVec::from_elem(job.devices.len(), false);
        let mut counts = [0; 7];
        let mut outcomes = Vec::with_capacity(ended.len());
        let mut reasons = ReceiptReasons::default();
        let mut provider_ids = Vec::new();
        for e in ended {
            done.set(e.index, true);
            let (status, attempted, reason) = e.ending.as_outcome();
            counts[column(status)] += 1;
            outcomes.push(OutcomeByte { status, attempted }.encode());
            reasons.push(reason);
            if let Disposition::Final { provider_id: Some(_), .. } = &e.ending {
                provider_ids.resize(ended.len(), String::new());
            }
        }
        for (slot, e) in provider_ids.iter_mut().zip(ended) {
            if let Disposition::Final { provider_id: Some(id), .. } = &e.ending {
                *slot = storable_provider_id(id);
            }
        }
        let left = recorded.iter().filter(|bit| *bit).count() + ended.len();
        batch.receipt(NewReceipt {
            job: job.id,
            notification: job.notification,
            node: fence.node,
            version: fence.version,
            finished: left == job.devices.len(),
            done,
            counts,
            devices: &devices,
            outcomes,
            reasons: reasons.texts,
            reason_indexes: reasons.positions,
            provider_ids,
            began_ms: ended.iter().map(|e| millis(e.began)).max().unwrap_or_default(),
            progress: ended.iter().any(|e| !e.ending.is_unseen()),
        });
        self.write_retries(batch, ended);
    }

    /// Devices that go on alike share a job: the longest of their delays, and of a trial the earliest evidence, which
    /// the fewest registrations precede.
    fn write_retries(&self, batch: &mut RecordBatch, ended: &[&Ended]) {
        let mut groups: BTreeMap<Alike<'_>, Group> = BTreeMap::new();
        for e in ended {
            let (key, delay_ms, since) = match &e.ending {
                Disposition::Retry { lane, delay, attempted, unanswered, reason } => {
                    let (attempted, unanswered) = (*attempted, *unanswered);
                    let reason = reason.as_ref().map(Reason::as_str);
                    let delay_ms = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
                    (Alike { lane: *lane, attempted, unanswered, trial: false, reason }, delay_ms, None)
                }
                Disposition::EnvironmentProbe { lane, since, reason } => {
                    let (lane, reason) = (Some(*lane), Some(reason.as_str()));
                    (Alike { lane, attempted: true, unanswered: false, trial: true, reason }, 0, Some(*since))
                }
                Disposition::Final { .. } | Disposition::Returned => continue,
            };
            let group = groups.entry(key).or_default();
            group.delay_ms = group.delay_ms.max(delay_ms);
            group.environment_probe_since =
                [group.environment_probe_since, since].into_iter().flatten().min();
            group.devices.push(self.held.job.devices[e.index]);
        }
        for (alike, group) in &groups {
            batch.retry(NewRetryJob {
                parent: self.held.job.id,
                lane: alike.lane,
                delay_ms: group.delay_ms,
                step: i16::from(alike.attempted),
                unanswered: i16::from(alike.unanswered),
                reason: alike.reason,
                environment_probe_since: group.environment_probe_since,
                devices: &group.devices,
            });
        }
    }
}

/// The devices of one other job, and when it is due.
#[derive(Default)]
struct Group {
    delay_ms: i64,
    environment_probe_since: Option<DateTime<Utc>>,
    devices: Vec<DeviceId>,
}

/// What devices of a job have in common that go on in one other job.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Alike<'a> {
    lane: Option<LaneId>,
    attempted: bool,
    unanswered: bool,
    trial: bool,
    reason: Option<&'a str>,
}

impl Disposition {
    fn as_outcome(&self) -> (DeliveryStatus, bool, Option<&Reason>) {
        match self {
            Self::Final { status, attempted, reason, .. } => (*status, *attempted, reason.as_ref()),
            Self::Retry { attempted, reason, .. } => (DeliveryStatus::Pending, *attempted, reason.as_ref()),
            Self::EnvironmentProbe { reason, .. } => (DeliveryStatus::Pending, true, Some(reason)),
            Self::Returned => (DeliveryStatus::Pending, false, None),
        }
    }

    /// Rejected by us without an attempt, which shows nothing about what an attempt would do.
    fn is_unseen(&self) -> bool {
        matches!(self, Self::Final { status: DeliveryStatus::Rejected, attempted: false, .. })
    }

    /// The same ending without anything that a provider wrote (docs/queue.md#poisoned-values).
    pub(super) fn without_words(&self) -> Self {
        match self.clone() {
            Self::Final { status, attempted, .. } => {
                Self::Final { status, attempted, reason: None, provider_id: None }
            }
            Self::Retry { lane, delay, attempted, unanswered, .. } => {
                Self::Retry { lane, delay, attempted, unanswered, reason: None }
            }
            // Its word is ASCII, and decides how it ends.
            Self::EnvironmentProbe { .. } | Self::Returned => self.clone(),
        }
    }
}

/// Position of a status in a receipt's counts.
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

fn millis(began: Instant) -> i32 {
    i32::try_from(began.elapsed().as_millis()).unwrap_or(i32::MAX)
}
