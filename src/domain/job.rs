//! Jobs: a list of devices of one notification in one lane. A job is what a node claims, leases and retries.

use bit_vec::BitVec;
use chrono::{DateTime, Utc};

use super::wire_enum::wire_enum;
use super::{DeviceId, JobId, LaneId, NotificationId, Priority, Reason, TraceContext};

/// Devices of one job.
pub const JOB_DEVICES_MAX: usize = 500;

/// With this many node deaths in a row, without a recorded outcome in between, a job may be the cause of the deaths. It
/// is then claimed alone and sent one device at a time (docs/queue.md#isolated-attempt).
pub const SUSPECT_NODE_DEATHS: i16 = 2;

/// The devices of a job that have an outcome: bit i belongs to `devices[i]`.
pub type DoneBits = BitVec;

wire_enum! {
    /// The class of a job. Each class has its own range of the claim index and its share of a lane
    /// (docs/queue.md#claim).
    Class {
        /// The job was made by a request.
        Direct = 0 "direct",
        /// The job repeats failed attempts.
        Retry = 1 "retry",
        /// The job was made by a fan-out.
        Bulk = 2 "bulk",
    }
}

/// A job as its leaseholder knows it.
#[derive(Clone, Debug)]
pub struct Job {
    /// The id of its row.
    pub id: JobId,
    /// The notification that is sent.
    pub notification: NotificationId,
    /// The lane that sends it.
    pub lane: LaneId,
    /// The order in which jobs are claimed.
    pub priority: Priority,
    /// The share of the lane that it belongs to.
    pub class: Class,
    /// The fence: it grows with each claim, release and partial record.
    pub version: i32,
    /// The number of the present attempt of its devices; 1 is the first.
    pub attempt: u16,
    /// Earlier attempts that may have been sent and had no answer.
    pub unanswered: u16,
    /// The present attempt may have been made already, by a node that died while it held the job.
    pub in_doubt: bool,
    /// How often a node died while it held the job, without a recorded outcome: see [`Suspicion`].
    pub node_deaths: u16,
    /// When it may be sent, by Postgres's clock.
    pub due_at: DateTime<Utc>,
    /// When no more attempts begin, by Postgres's clock.
    pub expires_at: DateTime<Utc>,
    /// The last reason that the provider gave for its devices.
    pub last_reason: Option<Reason>,
    /// Some: the job is an environment probe. An attempt that began at this time, by Postgres's clock, found its tokens
    /// bad, and they are tried once in the other APNs environment (docs/queue.md#environment-probe).
    pub environment_probe_since: Option<DateTime<Utc>>,
    /// The span that accepted the notification. None: the notification is not traced.
    pub trace: Option<TraceContext>,
    /// The devices, in ascending order.
    pub devices: Vec<DeviceId>,
    /// None: no device has an outcome.
    pub done: Option<DoneBits>,
}

/// Whether a job is suspected to be the cause of the deaths of its nodes, judged by the number of deaths.
///
/// | deaths | suspicion | how the number got there |
/// |---|---|---|
/// | 0, 1 | `None` | a node may die for any reason |
/// | 2, 3, 4 | `Isolated` | the next device is tried alone, up to three times |
/// | 5 | `NextDeviceIsCause` | nodes died in all three tries; the rejected device adds one |
/// | 6 | `Isolated` | the device after it is tried once |
/// | 7 | `NextDeviceIsCause` | a node died again; the rejected device adds one |
/// | 8 | `Isolated` | the third device is tried once |
/// | 9 and more | `AllDevicesAreCause` | nodes died with three devices |
///
/// An outcome of a device that was tried alone resets the number to [`SUSPECT_NODE_DEATHS`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Suspicion {
    /// The job is not suspected.
    None,
    /// The next device is sent to alone.
    Isolated,
    /// The last nodes died while they tried the next device: it is rejected without an attempt.
    NextDeviceIsCause,
    /// Nodes die with one device after the other, so the cause is what the devices share: all are rejected.
    AllDevicesAreCause,
}

impl Job {
    /// The number of attempts that may have been sent and had no answer, including the present one. If there is any, a
    /// device of the job ends `unknown` instead of `expired` or `cancelled`.
    pub fn attempts_in_doubt(&self) -> u16 {
        self.unanswered.saturating_add(u16::from(self.in_doubt))
    }

    /// Judges the job by the number of deaths.
    pub fn suspicion(&self) -> Suspicion {
        match self.node_deaths {
            0 | 1 => Suspicion::None,
            2..=4 | 6 | 8 => Suspicion::Isolated,
            5 | 7 => Suspicion::NextDeviceIsCause,
            9.. => Suspicion::AllDevicesAreCause,
        }
    }

    /// The positions of the devices without an outcome.
    pub fn open_positions(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.devices.len()).filter(|i| self.done.as_ref().is_none_or(|bits| bits.get(*i) != Some(true)))
    }
}
